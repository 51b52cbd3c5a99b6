"""The operator's limits hold for a step whatever engine runs its model, and that engine is not asked."""

from collections.abc import Callable, Iterator, Sequence
from threading import Event

import numpy as np
import pytest

from gemma4_block.cli.workflows import WorkflowRunner
from gemma4_block.contract import (
    Answer,
    Capabilities,
    Engine,
    GenerationConfig,
    LocalModel,
    Prompt,
)
from gemma4_block.engine.pool import load_local
from gemma4_block.errors import PromptError
from gemma4_block.settings import Settings, get_settings
from gemma4_block.testing import ScriptedEngine, ScriptedProvider
from tests.engine.conftest import DEMO_CHECKPOINT

IMAGE = np.zeros((20, 30, 3), dtype=np.uint8)


class Watched:
    """An engine that counts how often it is asked."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.times = 0

    @property
    def capabilities(self) -> Capabilities:
        """Those of the engine."""
        return self.engine.capabilities

    @property
    def nbytes(self) -> int:
        """That of the engine."""
        return self.engine.nbytes

    def answer(
        self,
        prompts: Sequence[Prompt],
        generation: GenerationConfig,
        *,
        deadline: float | None = None,
        cancelled: Event | None = None,
    ) -> list[Answer | PromptError]:
        """Ask the engine."""
        self.times += 1
        return self.engine.answer(prompts, generation, deadline=deadline, cancelled=cancelled)

    def close(self) -> None:
        """Close the engine."""
        self.engine.close()


@pytest.fixture(scope="module", params=["local", "scripted"])
def engine(request: pytest.FixtureRequest) -> Iterator[Engine]:
    """Both engines that come with the package."""
    if request.param == "scripted":
        yield ScriptedEngine(lambda _: "an answer")
        return
    local = load_local(LocalModel(directory=DEMO_CHECKPOINT, quantization="none"), Settings(device="cpu"))
    yield local
    local.close()


@pytest.fixture
def limit(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str, object], None]]:
    """Set a variable of the environment, as an operator does before the start."""

    def set_limit(name: str, value: object) -> None:
        monkeypatch.setenv(f"GEMMA4_BLOCK_{name.upper()}", str(value))
        get_settings.cache_clear()

    yield set_limit
    monkeypatch.undo()
    get_settings.cache_clear()


def run_step(engine: Engine, *, kind: str = "gemma4", **fields: object) -> list[dict[str, object]]:
    """Run a step whose fields come from inputs of the request."""
    inputs = [{"type": "WorkflowImage", "name": "image"}]
    inputs += [{"type": "WorkflowParameter", "name": name} for name in fields if name != "task_type"]
    step = {name: f"$inputs.{name}" for name in fields if name != "task_type"}
    outputs = ("output", "finish_reason", "error_message")
    specification = {
        "version": "1.0",
        "inputs": inputs,
        "steps": [
            {
                "type": f"gemma4_block/{kind}@v1",
                "name": "step",
                "images": "$inputs.image",
                "task_type": fields.get("task_type", "caption"),
                **step,
            }
        ],
        "outputs": [
            {"type": "JsonField", "name": name, "selector": f"$steps.step.{name}"} for name in outputs
        ],
    }
    provider = ScriptedProvider(engine)
    runner = WorkflowRunner(specification, init_parameters={"gemma4_block.engine_provider": provider})
    given = {name: value for name, value in fields.items() if name != "task_type"}
    images = [IMAGE] * 3 if kind == "gemma4_multi_image" else [IMAGE]
    return runner.run({"image": images, **given})


def _all_messages(error: BaseException | None) -> str:
    """Return what an error says, and what was wrong inside."""
    if error is None:
        return ""
    inner = getattr(error, "inner_error", None) or error.__cause__
    return f"{error} {_all_messages(inner)}"


@pytest.mark.parametrize(
    ("name", "value", "fields", "message"),
    [
        pytest.param(
            "max_classes",
            2,
            {"task_type": "classification", "classes": ["a", "b", "c"]},
            "There are 3 classes; this machine allows 2",
            id="classes",
        ),
        pytest.param(
            "max_prompt_characters",
            20,
            {"task_type": "unconstrained", "prompt": "What is in the picture?"},
            "The prompt has 23 characters; 20 are allowed",
            id="characters",
        ),
        pytest.param(
            "max_schema_characters",
            20,
            {"task_type": "structured-answering", "output_structure": {"type": "object", "properties": {}}},
            "The JSON Schema has",
            id="schema",
        ),
        pytest.param(
            "max_new_tokens",
            9,
            {"max_new_tokens": 10},
            "max_new_tokens is 10; this machine allows 9",
            id="tokens",
        ),
        pytest.param(
            "max_thinking_tokens",
            4,
            {"enable_thinking": True, "max_thinking_tokens": 5},
            "max_thinking_tokens is 5; this machine allows 4",
            id="thoughts",
        ),
        pytest.param("max_image_pixels", 599, {}, "30 x 20 pixels; 599 in all are allowed", id="pixels"),
        pytest.param(
            "max_images_per_prompt",
            2,
            {"kind": "gemma4_multi_image", "task_type": "unconstrained", "prompt": "Which?", "max_images": 3},
            "max_images is 3; this machine allows 1 to 2",
            id="images",
        ),
    ],
)
def test_what_is_above_a_limit_does_not_reach_an_engine(  # noqa: PLR0917 - a table and its fixtures
    engine: Engine,
    limit: Callable[[str, object], None],
    name: str,
    value: object,
    fields: dict[str, object],
    message: str,
) -> None:
    """The same words, as an error of the request or of its row, whatever runs the model."""
    limit(name, value)
    watched = Watched(engine)
    try:
        (row,) = run_step(watched, **fields)  # type: ignore[arg-type]
        said = str(row["error_message"])
    except Exception as error:  # noqa: BLE001 - the host's own
        said = _all_messages(error)

    assert message in said
    assert watched.times == 0


def test_the_time_of_the_operator_ends_the_answers_of_a_step(
    engine: Engine, limit: Callable[[str, object], None]
) -> None:
    """It is one limit for all answers of a step."""
    limit("max_seconds", 1e-9)
    (row,) = run_step(engine)

    assert row["finish_reason"] == "deadline"
