"""Whatever is damaged in a checkpoint: it is refused by file and key, or answers as before.

`python -m tests.engine.loading.sweep` tries every row of the table; here is a sample that is always the same.
"""

import json
import random
import shutil
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from gemma4_block.contract import Answer
from gemma4_block.engine.gemma4.template_proof import prove_template
from gemma4_block.errors import CheckpointError, PromptError
from tests.engine.conftest import DEMO_CHECKPOINT
from tests.engine.loading.damage import (
    JSON_FILES,
    Damage,
    JsonPath,
    Value,
    damage_json,
    list_adapter_damages,
    list_damages,
    walk,
)
from tests.engine.loading.sweep import ask, judge, save_adapter

_ALL = {damage.name: damage for damage in list_damages(DEMO_CHECKPOINT)}
_OF_EVERY_RUN = ("weights:", "chat_template.jinja:")
# These broke through once.
_BROKE_THROUGH = (
    "config.json:audio_config:nested",
    "config.json:deep",
    "config.json:text_config.vocab_size:huge",
    "generation_config.json:a list",
    "generation_config.json:pad_token_id:wrong type",
    "processor_config.json:image_processor.do_rescale:null",
    "processor_config.json:image_processor.resample:null",
    "processor_config.json:processor_class:empty",
    "tokenizer.json:model.vocab.<pad>:huge",
    "tokenizer.json:added_tokens.0.id:huge",
    "tokenizer_config.json:image_token:other text",
    "tokenizer_config.json:unk_token:empty",
)


def _sample() -> list[Damage]:
    """Return all damages of weights and templates, those that broke through, and a draw of the others."""
    always = [name for name in _ALL if name.startswith(_OF_EVERY_RUN)] + list(_BROKE_THROUGH)
    others = random.Random(11).sample(sorted(_ALL.keys() - set(always)), 50)  # noqa: S311 - a fixed draw
    return [_ALL[name] for name in dict.fromkeys(always + others)]


@pytest.fixture(scope="module")
def expected() -> list[Answer | PromptError]:
    """What the whole checkpoint answers."""
    return ask(DEMO_CHECKPOINT)


@pytest.mark.parametrize("damage", _sample(), ids=lambda damage: damage.name)
def test_a_damage_is_refused_by_name_or_changes_nothing(
    tmp_path: Path, damage: Damage, expected: list[Answer | PromptError]
) -> None:
    """No foreign exception, no other answer, and the message names the file and a key on the way."""
    assert judge(DEMO_CHECKPOINT, damage, tmp_path, expected) == ""


def test_a_damaged_adapter_is_refused_by_name_or_changes_nothing(tmp_path: Path) -> None:
    """Its own files are held to the same."""
    adapter = save_adapter(tmp_path / "adapter")
    expected = ask(adapter)
    draw = random.Random(11).sample(list_adapter_damages(adapter), 25)  # noqa: S311 - a fixed draw
    problems = {}
    for place, damage in enumerate(draw):
        folder = tmp_path / str(place)
        problems[damage.name] = judge(adapter, damage, folder, expected)
        shutil.rmtree(folder)
    assert {name: problem for name, problem in problems.items() if problem} == {}


def _places() -> list[tuple[str, JsonPath]]:
    contents = {name: json.loads((DEMO_CHECKPOINT / name).read_text(encoding="utf-8")) for name in JSON_FILES}
    return [(name, place) for name, content in contents.items() for place, _ in walk(content)]


_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@settings(max_examples=40, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
@given(where=st.sampled_from(_places()), value=_VALUES)
@example(where=("tokenizer_config.json", ("unk_token",)), value="")
@example(where=("tokenizer_config.json", ("model_max_length",)), value=float("nan"))
@example(where=("processor_config.json", ("processor_class",)), value="GemmaTokenizer")
@example(where=("processor_config.json", ("feature_extractor", "feature_size")), value=10**9)
@example(where=("processor_config.json", ("feature_extractor", "sampling_rate")), value=10**12)
@example(where=("tokenizer.json", ("added_tokens", 0, "id")), value=10**9)
@example(where=("tokenizer.json", ("model", "vocab", "<pad>")), value=2**24 - 1)
@example(where=("config.json", ("text_config", "num_hidden_layers")), value=1000)
@example(where=("config.json", ("text_config", "hidden_size")), value=2**20)
@example(where=("generation_config.json", ("eos_token_id",)), value=[])
def test_any_value_anywhere_ends_in_an_answer_or_a_refusal(where: tuple[str, JsonPath], value: Value) -> None:
    """A value may be another that is allowed; what it never does is end in somebody else's exception."""
    file, place = where
    with tempfile.TemporaryDirectory() as folder:
        directory = Path(folder) / "checkpoint"
        shutil.copytree(DEMO_CHECKPOINT, directory)
        damage_json(directory / file, place, lambda _: value)
        try:
            answers = ask(directory)
        except CheckpointError as error:
            assert file in str(error)  # noqa: PT017 - it may also load
        else:
            assert all(isinstance(answer, Answer) for answer in answers)


@pytest.mark.parametrize("kind", ["model.vocab.<pad>:huge", "added_tokens.0.id:huge"])
def test_an_id_of_a_thousand_million_takes_no_table_of_that_length(
    tmp_path: Path, kind: str, capfd: pytest.CaptureFixture[str]
) -> None:
    """It is refused before the tokenizers library fills and prints the holes."""
    shutil.copytree(DEMO_CHECKPOINT, tmp_path / "checkpoint")
    _ALL[f"tokenizer.json:{kind}"].apply(tmp_path / "checkpoint")
    with pytest.raises(CheckpointError, match=r"tokenizer\.json"):
        ask(tmp_path / "checkpoint")
    assert len(capfd.readouterr().out) < 1000


def test_a_template_is_proved_without_disturbing_the_thread_that_loads() -> None:
    """The steps are counted in a thread of their own, which is gone afterwards."""
    import sys
    import threading

    from transformers import AutoProcessor

    from gemma4_block.engine.gemma4.template import Gemma4Template

    before, tracer = threading.active_count(), sys.gettrace()
    prove_template(Gemma4Template(AutoProcessor.from_pretrained(DEMO_CHECKPOINT)))
    assert (threading.active_count(), sys.gettrace()) == (before, tracer)
