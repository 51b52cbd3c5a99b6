"""One door before every engine: what the operator does not allow reaches none of them."""

import time
from collections.abc import Iterator
from pathlib import Path
from threading import Event

import numpy as np
import pytest

import gemma4_block.demo
from gemma4_block.contract import (
    IMAGE_SEQ_LENGTHS,
    Answer,
    Capabilities,
    Choices,
    Engine,
    GenerationConfig,
    JsonSchema,
    LocalModel,
    Prompt,
)
from gemma4_block.engine.pool import load_local
from gemma4_block.errors import ConfigurationError, EngineBusyError, PromptError
from gemma4_block.limits import Limits, ask
from gemma4_block.settings import Settings
from gemma4_block.testing import ScriptedEngine
from gemma4_block.waiting import PROMPTS

DEMO_CHECKPOINT = Path(gemma4_block.demo.__file__).parent / "checkpoint"
IMAGE = np.zeros((20, 30, 3), dtype=np.uint8)
LIMITS = Limits.of_requests(
    Settings(
        max_prompt_characters=30,
        max_schema_characters=30,
        max_image_pixels=600,
        max_images_per_prompt=2,
        max_new_tokens=9,
        max_thinking_tokens=5,
    )
)


@pytest.fixture(scope="module", params=["local", "scripted"])
def engine(request: pytest.FixtureRequest) -> Iterator[Engine]:
    """Both engines that come with the package."""
    if request.param == "scripted":
        yield ScriptedEngine(lambda _: "an answer")
        return
    local = load_local(LocalModel(directory=DEMO_CHECKPOINT, quantization="none"), Settings(device="cpu"))
    yield local
    local.close()


@pytest.mark.parametrize(
    ("prompt", "message"),
    [
        pytest.param(Prompt(text=" "), "The prompt is empty", id="empty"),
        pytest.param(Prompt(text="x" * 31), "The prompt has 31 characters; 30 are allowed", id="characters"),
        pytest.param(
            Prompt(text="x", system="y" * 31), "The system prompt has 31 characters; 30", id="system"
        ),
        pytest.param(Prompt(text="x \ud800"), "half a surrogate pair", id="no character"),
        pytest.param(
            Prompt(text="x", images=(IMAGE, np.zeros((20, 31, 3), np.uint8))),
            "The image is 31 x 20 pixels; 600 in all are allowed",
            id="pixels",
        ),
        pytest.param(
            Prompt(text="x", images=(IMAGE,) * 3), "has 3 images; this machine allows 2", id="images"
        ),
        pytest.param(
            Prompt(text="x", constraint=JsonSchema(text='{"type": "string", "minLength": 3}')),
            "The JSON Schema has 34 characters; 30 are allowed",
            id="schema length",
        ),
        pytest.param(
            Prompt(text="x", constraint=JsonSchema(text='{"type": "colour"}')),
            "The JSON Schema is none: at type, 'colour' is not valid",
            id="schema",
        ),
    ],
)
def test_a_prompt_above_a_limit_has_its_error_and_its_neighbours_are_answered(
    engine: Engine, prompt: Prompt, message: str
) -> None:
    """The same words, whatever runs the model."""
    good = Prompt(text="Hello", images=(IMAGE, IMAGE))
    refused, answered = ask(engine, [prompt, good], GenerationConfig(max_new_tokens=9), limits=LIMITS)

    assert isinstance(refused, PromptError)
    assert message in str(refused)
    assert isinstance(answered, Answer)


@pytest.mark.parametrize(
    ("generation", "message"),
    [
        pytest.param(
            GenerationConfig(max_new_tokens=10), "max_new_tokens is 10; this machine allows 9", id="tokens"
        ),
        pytest.param(
            GenerationConfig(max_new_tokens=9, enable_thinking=True, max_thinking_tokens=6),
            "max_thinking_tokens is 6; this machine allows 5",
            id="thoughts",
        ),
    ],
)
def test_a_generation_above_a_limit_is_refused_for_all(
    engine: Engine, generation: GenerationConfig, message: str
) -> None:
    """No prompt of the call can be answered so."""
    with pytest.raises(ConfigurationError, match=message):
        ask(engine, [Prompt(text="Hello")], generation, limits=LIMITS)


def test_the_time_of_the_operator_cannot_be_exceeded(engine: Engine) -> None:
    """Answers that are not ready by then end where they stand; a shorter time of the caller counts."""
    short = Limits.of_requests(Settings(max_seconds=1e-9))
    prompts = [Prompt(text="Hello")] * 3
    for limits, max_seconds in ((short, 60.0), (LIMITS, 1e-9)):
        answers = ask(
            engine, prompts, GenerationConfig(max_new_tokens=9), limits=limits, max_seconds=max_seconds
        )
        assert [one.finish_reason for one in answers if isinstance(one, Answer)] == ["deadline"] * 3


def test_what_is_cancelled_ends_where_it_stands(engine: Engine) -> None:
    """Somebody else says so."""
    cancelled = Event()
    cancelled.set()
    (answer,) = ask(
        engine,
        [Prompt(text="Hello")],
        GenerationConfig(max_new_tokens=9),
        limits=LIMITS,
        cancelled=cancelled,
    )

    assert isinstance(answer, Answer)
    assert answer.finish_reason == "cancelled"


def test_what_is_refused_is_not_asked() -> None:
    """An engine sees what is allowed, and is not called for nothing."""
    engine = ScriptedEngine(["yes"])
    refused = PromptError("no image")
    good = Prompt(text="Hello")
    generation = GenerationConfig(max_new_tokens=9)
    answers = ask(engine, [Prompt(text=""), good, refused], generation, limits=LIMITS)
    ask(engine, [Prompt(text="")], generation, limits=LIMITS)

    assert engine.prompts == (good,)
    assert len(engine.calls) == 1
    assert answers[2] is refused


def test_the_deadline_that_an_engine_gets_is_that_of_the_call() -> None:
    """In seconds of the monotonic clock, the shorter of two."""
    engine = ScriptedEngine(["yes"])
    before = time.monotonic()
    limits = Limits.of_requests(Settings(max_seconds=100))
    ask(engine, [Prompt(text="Hello")], GenerationConfig(), limits=limits, max_seconds=50)
    deadline = engine.calls[0].deadline

    assert deadline is not None
    assert before + 50 <= deadline <= time.monotonic() + 50


@pytest.mark.parametrize(
    ("settings", "of_requests", "of_process"),
    [
        pytest.param(Settings(), 600, None, id="by default requests only"),
        pytest.param(Settings(max_seconds=9), 9, 9, id="set"),
        pytest.param(Settings(max_seconds=0), None, None, id="lifted"),
    ],
)
def test_time_is_limited_for_requests_and_where_the_operator_says_so(
    settings: Settings, of_requests: float | None, of_process: float | None
) -> None:
    """A default must not cut off a program's own long work."""
    assert Limits.of_requests(settings).max_seconds == of_requests
    assert Limits.of_process(settings).max_seconds == of_process


def test_prompts_and_pixels_wait_while_they_are_answered(engine: Engine) -> None:
    """Those of all callers count, whatever engine answers them."""
    settings = Settings(max_waiting=2, max_waiting_bytes=2 * IMAGE.nbytes)
    limits, generation = Limits.of_requests(settings), GenerationConfig(max_new_tokens=2)
    two = [Prompt(text="x", images=(IMAGE,))] * 2
    assert len(ask(engine, two, generation, limits=limits)) == 2

    with PROMPTS.wait(1, 0, max_count=None, max_bytes=None):
        with pytest.raises(EngineBusyError, match="1 prompts wait already; 2 may"):
            ask(engine, two, generation, limits=limits)
        assert len(ask(engine, two[:1], generation, limits=limits)) == 1
        assert len(ask(engine, two, generation, limits=Limits.of_process(settings))) == 2
    with (
        PROMPTS.wait(0, IMAGE.nbytes, max_count=None, max_bytes=None),
        pytest.raises(EngineBusyError, match="1800 bytes of prompts wait already; 3600 may"),
    ):
        ask(engine, two, generation, limits=limits)
    with pytest.raises(ConfigurationError, match=r"3 prompts come at once.*GEMMA4_BLOCK_MAX_WAITING\."):
        ask(engine, [*two, two[0]], generation, limits=limits)


def test_a_program_may_ask_for_more_tokens_and_images_than_a_request() -> None:
    """What protects its memory holds for it as well."""
    settings = Settings(max_new_tokens=9, max_images_per_prompt=1, max_image_pixels=600)
    limits = Limits.of_process(settings)
    limits.check_generation(GenerationConfig(max_new_tokens=10))
    limits.check_prompt(Prompt(text="x", images=(IMAGE, IMAGE)))

    with pytest.raises(PromptError, match="600 in all"):
        limits.check_prompt(Prompt(text="x", images=(np.zeros((20, 31, 3), np.uint8),)))


@pytest.mark.parametrize(
    ("lacks", "prompt", "generation", "message"),
    [
        pytest.param(
            "has_seed",
            Prompt(text="x"),
            GenerationConfig(do_sample=True, seed=3),
            "seed is 3, and what runs this model cannot repeat a draw",
            id="seed",
        ),
        pytest.param(
            "has_thinking_allowance",
            Prompt(text="x"),
            GenerationConfig(enable_thinking=True, max_thinking_tokens=4),
            "max_thinking_tokens is 4, and what runs this model cannot limit thoughts",
            id="thoughts",
        ),
        pytest.param(
            "has_json_schema",
            Prompt(text="x", constraint=JsonSchema(text='{"type": "string"}')),
            GenerationConfig(),
            "cannot hold it to one",
            id="schema",
        ),
    ],
)
def test_what_an_engine_cannot_do_is_said_and_not_dropped(
    lacks: str, prompt: Prompt, generation: GenerationConfig, message: str
) -> None:
    """A field that would silently do nothing is refused, with the reason."""
    engine = ScriptedEngine(
        ["yes"],
        capabilities=Capabilities(image_seq_lengths=IMAGE_SEQ_LENGTHS, **{lacks: False}),  # type: ignore[arg-type]
    )
    limits = Limits.of_requests(Settings())
    try:
        (found,) = ask(engine, [prompt], generation, limits=limits)
    except ConfigurationError as error:
        found = PromptError(str(error))

    assert isinstance(found, PromptError)
    assert message in str(found)
    assert engine.calls == []


def test_choices_that_an_engine_cannot_score_are_held_to_their_schema_instead() -> None:
    """They are asked, unless it cannot do that either."""
    prompt = Prompt(
        text="x", constraint=Choices(groups=(("a", "b"),), schema=JsonSchema(text='{"enum": ["a", "b"]}'))
    )
    limits = Limits.of_requests(Settings())

    def engine(**can: bool) -> ScriptedEngine:
        return ScriptedEngine(
            ["a"],
            capabilities=Capabilities(image_seq_lengths=IMAGE_SEQ_LENGTHS, has_choices=False, **can),  # type: ignore[arg-type]
        )

    (answer,) = ask(engine(), [prompt], GenerationConfig(), limits=limits)
    (refused,) = ask(engine(has_json_schema=False), [prompt], GenerationConfig(), limits=limits)

    assert isinstance(answer, Answer)
    assert isinstance(refused, PromptError)
