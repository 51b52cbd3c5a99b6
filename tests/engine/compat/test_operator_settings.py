"""The operator's variables hold in Python where a call says nothing, or docs/python.md says which do not."""

import logging
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from gemma4_block.contract import Answer, GenerationConfig, JsonSchema, Prompt
from gemma4_block.engine.compat import Gemma4HF
from gemma4_block.errors import ConfigurationError, PromptError
from gemma4_block.settings import Settings, get_settings
from tests.engine.conftest import DEMO_CHECKPOINT

ROOT = Path(__file__).parents[3]
IMAGE = np.full((60, 60, 3), 200, np.uint8)
Load = Callable[..., Gemma4HF]


@pytest.fixture
def load(monkeypatch: pytest.MonkeyPatch) -> Iterator[Load]:
    """Load the demo under variables, given without their prefix."""
    loaded: list[Gemma4HF] = []

    def call(
        name: str | Path = DEMO_CHECKPOINT, /, options: dict[str, str] | None = None, **variables: str
    ) -> Gemma4HF:
        for variable, value in variables.items():
            monkeypatch.setenv(f"GEMMA4_BLOCK_{variable}", value)
        get_settings.cache_clear()
        loaded.append(Gemma4HF.from_pretrained(name, **(options or {})))  # type: ignore[arg-type]
        return loaded[-1]

    yield call
    for model in loaded:
        model.engine.close()
    get_settings.cache_clear()


def _answer(model: Gemma4HF, prompt: Prompt, **options: object) -> Answer | PromptError:
    generation = GenerationConfig(**({"max_new_tokens": 3} | options))  # type: ignore[arg-type]
    (answer,) = model.answer([prompt], generation)
    return answer


def _dtype(model: Gemma4HF) -> torch.dtype:
    dtype: torch.dtype = model.engine.checkpoint.model.module.dtype
    return dtype


def test_the_device_is_the_operator_s_where_the_call_names_none(load: Load) -> None:
    """There is no 78th GPU, which only a call without a device asks for."""
    with pytest.raises(ConfigurationError, match="cuda:77"):
        load(DEVICE="cuda:77")
    # It is refused before a model is looked for, and perhaps downloaded.
    with pytest.raises(ConfigurationError, match="cuda:77"):
        load("nobody/has-this", DEVICE="cuda:77")
    assert load(options={"device": "cpu"}, DEVICE="cuda:77").engine.checkpoint.model.device.type == "cpu"


@pytest.mark.parametrize(("dtype", "other"), [("float32", "bfloat16"), ("bfloat16", "float32")])
def test_the_dtype_is_the_operator_s_where_the_call_names_none(load: Load, dtype: str, other: str) -> None:
    """Both precisions, so that it is not the checkpoint's own that is seen."""
    assert str(_dtype(load(DTYPE=dtype))) == f"torch.{dtype}"
    assert str(_dtype(load(options={"dtype": other}, DTYPE=dtype))) == f"torch.{other}"


def test_ids_are_looked_for_under_the_operator_s_roots(load: Load, tmp_path: Path) -> None:
    """The id of a variant means the directory of that name."""
    shutil.copytree(DEMO_CHECKPOINT, tmp_path / "gemma-4-e2b-it")
    model = load("gemma-4-e2b-it", MODEL_ROOTS=str(tmp_path))
    assert model.engine.checkpoint.context_tokens == 8192


def test_the_batch_is_bounded(load: Load) -> None:
    """By as many sequences as the operator says."""
    model = load(MAX_BATCH_SIZE="3")
    assert model.engine._scheduler._loop._admission._max_sequences == 3


@pytest.mark.parametrize(
    ("variable", "cache"), [("VISION_CACHE_BYTES", "_features"), ("PREFIX_CACHE_BYTES", "_prefixes")]
)
def test_caches_are_bounded(load: Load, variable: str, cache: str) -> None:
    """With 0 nothing of a picture is kept, and by default something is."""
    for value, is_kept in (("0", False), ("100000000", True)):
        model = load(**{variable: value})
        assert isinstance(_answer(model, Prompt(text="What?", images=(IMAGE,))), Answer)
        assert (getattr(model.engine, cache).nbytes > 0) == is_kept


@pytest.mark.parametrize(
    ("variable", "value", "prompt"),
    [
        pytest.param("MAX_PROMPT_CHARACTERS", "3", Prompt(text="four"), id="text"),
        pytest.param("MAX_IMAGE_PIXELS", "3599", Prompt(text="a", images=(IMAGE,)), id="image"),
        pytest.param(
            "MAX_SCHEMA_CHARACTERS",
            "9",
            Prompt(text="a", constraint=JsonSchema(text='{"type": "integer"}')),
            id="schema",
        ),
    ],
)
def test_a_prompt_is_held_to_the_operator_s_limits(
    load: Load, variable: str, value: str, prompt: Prompt
) -> None:
    """It fails in its own place, and the message names the variable."""
    answer = _answer(load(**{variable: value}), prompt)
    assert isinstance(answer, PromptError)
    assert f"GEMMA4_BLOCK_{variable}" in str(answer)


def test_answers_end_after_the_operator_s_seconds(load: Load) -> None:
    """As those of a step do."""
    answer = _answer(load(MAX_SECONDS="0.000001"), Prompt(text="What?"))
    assert isinstance(answer, Answer)
    assert answer.finish_reason == "deadline"


def test_the_log_level_is_set_by_loading(load: Load) -> None:
    """The package's logger takes it; the root's stays."""
    logger = logging.getLogger("gemma4_block")
    before = logger.level
    try:
        load(LOG_LEVEL="ERROR")
        assert logger.level == logging.ERROR
    finally:
        logger.setLevel(before)


def test_limits_of_requests_do_not_hold(load: Load) -> None:
    """A program of one's own may ask for longer answers, longer thoughts and more images than a request."""
    model = load(MAX_NEW_TOKENS="1", MAX_THINKING_TOKENS="1", MAX_IMAGES_PER_PROMPT="1", MAX_CLASSES="1")
    answer = _answer(model, Prompt(text="Describe both.", images=(IMAGE, IMAGE)))
    assert isinstance(answer, Answer)
    thought = _answer(model, Prompt(text="Describe."), enable_thinking=True, max_thinking_tokens=2)
    assert isinstance(thought, Answer)


def test_the_page_says_of_every_variable_whether_it_holds() -> None:
    """The table of docs/python.md names all of them, and which are for requests only."""
    page = (ROOT / "docs" / "python.md").read_text(encoding="utf-8")
    rows = dict(re.findall(r"^\| `GEMMA4_BLOCK_([A-Z_]+)` \| (.*) \|$", page, re.MULTILINE))
    assert set(rows) == {name.upper() for name in Settings.model_fields}
    assert sorted(name for name, words in rows.items() if words.startswith("For requests only")) == [
        "ALLOW_DOWNLOADS",
        "KEEP_ALIVE",
        "MAX_ADAPTERS",
        "MAX_CLASSES",
        "MAX_IMAGES_PER_PROMPT",
        "MAX_LOADING_SECONDS",
        "MAX_NEW_TOKENS",
        "MAX_REQUESTS",
        "MAX_REQUEST_BYTES",
        "MAX_THINKING_TOKENS",
        "MAX_WAITING",
        "MAX_WAITING_BYTES",
        "SERVERS",
        "TOKEN",
    ]
