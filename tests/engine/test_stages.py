"""A call says where its time went: every stage that it had, how often and with how many at once."""

import logging
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

from gemma4_block.contract import Answer, Choices, GenerationConfig, JsonSchema, Prompt, RgbImage
from gemma4_block.demo.scenes import draw_scene
from gemma4_block.engine.compat.gemma4_hf import Gemma4HF
from gemma4_block.engine.loading.checkpoint import LoadOptions, load_checkpoint
from gemma4_block.engine.profiling import Profile, StageClock, StageTime
from gemma4_block.engine.scheduler.request import Call
from gemma4_block.settings import Settings

from .conftest import DEMO_CHECKPOINT

SHORT = GenerationConfig(max_new_tokens=6)
COLORS = Choices(groups=(("red", "blue"),), schema=JsonSchema(text="{}"))
FREE: list[str] = ["preprocess", "vision", "prefill", "decode", "read"]
CUDA = torch.device("cuda")


def load(**settings: int) -> Gemma4HF:
    """Load an engine that has seen nothing yet, and begins when all prompts of a call are prepared."""
    checkpoint = load_checkpoint(DEMO_CHECKPOINT, LoadOptions(device=torch.device("cpu"), dtype="float32"))
    engine = Gemma4HF(checkpoint, settings=Settings(**settings))  # type: ignore[arg-type]
    scheduler = engine._service._scheduler
    really_run = scheduler.run

    def run(call: Call) -> None:
        wait_until(lambda: len(call.waiting) + len(call.outcomes) == call.count)
        really_run(call)

    scheduler.run = run  # type: ignore[method-assign]
    return engine


def wait_until(is_so: Callable[[], bool]) -> None:
    """Wait for other threads, but not for ever."""
    deadline = time.monotonic() + 30
    while not is_so():
        assert time.monotonic() < deadline, "others should have come by now"
        time.sleep(0.01)


def frames(count: int) -> list[RgbImage]:
    """Draw different scenes of one size."""
    return [draw_scene(np.random.default_rng(seed), shape_count=2).image for seed in range(count)]


def profile(engine: Gemma4HF, *prompts: Prompt, generation: GenerationConfig = SHORT) -> dict[str, StageTime]:
    """Answer, and return the stages in the order of their names' list."""
    answers, spent = engine.profile(prompts, generation)
    assert all(isinstance(answer, Answer) for answer in answers)
    return dict(spent.stages)


def test_a_written_answer_has_all_stages_but_scoring() -> None:
    """In whole batches: rows are prompts, and images where they are read."""
    prompts = [Prompt(text="Describe the image.", images=(frame,)) for frame in frames(3)]
    stages = profile(load(), *prompts)

    assert sorted(stages) == sorted(FREE)
    assert stages["preprocess"].passes == 3
    # A CPU gains nothing from several images at once, so each is a pass.
    assert (stages["vision"].passes, stages["vision"].most_rows) == (3, 1)
    assert (stages["prefill"].passes, stages["prefill"].most_rows) == (1, 3)
    assert stages["decode"].most_rows == 3
    assert (stages["read"].passes, stages["read"].most_rows) == (1, 3)
    assert all(stage.seconds > 0 for stage in stages.values())
    assert not any(stage.shared_passes for stage in stages.values())


def test_a_batch_is_never_larger_than_the_operator_allows() -> None:
    """`most_rows` is what the model worked on at once, not what the call asked for."""
    prompts = [Prompt(text="Describe the image.", images=(frame,)) for frame in frames(5)]
    stages = profile(load(max_batch_size=2), *prompts)

    assert (stages["prefill"].most_rows, stages["decode"].most_rows) == (2, 2)
    assert (stages["prefill"].passes, stages["read"].most_rows) == (3, 5)


def test_choices_are_scored_and_not_written() -> None:
    """Classification has `score` where a written answer has `decode`."""
    prompts = [Prompt(text="Which?", images=(frame,), constraint=COLORS) for frame in frames(2)]
    stages = profile(load(), *prompts)

    assert sorted(stages) == ["prefill", "preprocess", "read", "score", "vision"]
    assert stages["score"].most_rows == 2


@pytest.mark.parametrize("prefix_cache_bytes", [0, 10**9], ids=["prompt read again", "prompt kept"])
def test_a_picture_that_was_seen_is_not_looked_at_again(prefix_cache_bytes: int) -> None:
    """`vision` is missing then, until the engine forgets."""
    engine = load(prefix_cache_bytes=prefix_cache_bytes)
    (frame,) = frames(1)
    first = profile(engine, Prompt(text="Describe the image.", images=(frame,)))
    again = profile(engine, Prompt(text="How many shapes are there?", images=(frame,)))
    engine.forget()
    afresh = profile(engine, Prompt(text="How many shapes are there?", images=(frame,)))

    assert "vision" in first
    assert sorted(again) == ["decode", "prefill", "preprocess", "read"]
    assert "vision" in afresh


def test_a_text_has_no_vision() -> None:
    """Nothing is looked at where there is no image."""
    assert "vision" not in profile(load(), Prompt(text="Hello"))


def test_a_prompt_that_cannot_be_asked_is_only_looked_at_and_read() -> None:
    """What its refusal took is counted too, before the call returns."""
    answers, spent = load().profile([Prompt(text=" "), Prompt(text="")], SHORT)

    assert not any(isinstance(answer, Answer) for answer in answers)
    assert sorted(spent.stages) == ["preprocess", "read"]
    assert spent.stages["preprocess"].passes == 2


def test_preprocessing_is_the_sum_of_its_threads() -> None:
    """All of it is counted, whichever thread of the engine's own did it."""
    engine = load()
    preparer = engine._service._preparer
    really_prepare = preparer.prepare

    def prepare(*arguments: object, **options: object) -> object:
        time.sleep(0.05)
        return really_prepare(*arguments, **options)  # type: ignore[arg-type]

    preparer.prepare = prepare  # type: ignore[method-assign, assignment]
    stages = profile(engine, *[Prompt(text="Hello")] * 4)

    assert stages["preprocess"].passes == 4
    assert stages["preprocess"].seconds >= 0.2


def test_passes_that_also_worked_for_another_call_are_told() -> None:
    """Each of two calls counts the common steps in full, and says that it had company."""
    engine = load()
    scheduler = engine._service._scheduler
    endless = Prompt(
        text="Hello",
        constraint=JsonSchema(text='{"type": "array", "items": {"type": "integer"}, "minItems": 3000}'),
    )

    def wait_for_company(*_: object) -> None:
        hook.remove()
        wait_until(lambda: any(call.waiting for call in scheduler._calls))

    hook = engine._service._passes.model.register_forward_pre_hook(wait_for_company)
    with ThreadPoolExecutor(2) as threads:
        found = list(
            threads.map(
                lambda _: profile(engine, endless, generation=GenerationConfig(max_new_tokens=8)), range(2)
            )
        )

    for stages in found:
        assert stages["decode"].most_rows == 2
        assert 0 < stages["decode"].shared_passes <= stages["decode"].passes
        assert stages["prefill"].shared_passes == 0


@pytest.mark.parametrize(
    ("is_wanted", "waits"), [([False], 0), ([False, True], 2)], ids=["by nobody", "by one of two calls"]
)
def test_a_gpu_is_waited_for_where_somebody_wants_to_know(is_wanted: list[bool], waits: int) -> None:
    """At both ends of a stage; ordinary calls do not pay for it."""
    waited: list[torch.device] = []
    clock = StageClock(CUDA, wait_for=waited.append)
    with (
        clock.working_for([Profile(is_wanted=wanted) for wanted in is_wanted]),
        clock.measure("decode", 1),
    ):
        pass
    with clock.measure("decode", 1):
        pass

    assert waited == [CUDA] * waits


@pytest.fixture
def wanted(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Gemma4HF], list[bool]]]:
    """Tell of the calls of an engine whether somebody wants their profiles."""

    def watch(engine: Gemma4HF) -> list[bool]:
        seen: list[bool] = []
        really_run = engine._service._scheduler.run

        def run(call: object) -> None:
            seen.append(call.profile.is_wanted)  # type: ignore[attr-defined]
            really_run(call)  # type: ignore[arg-type]

        monkeypatch.setattr(engine._service._scheduler, "run", run)
        return seen

    return watch


def test_a_profile_is_wanted_by_whoever_asks_for_it_or_logs_it(
    wanted: Callable[[Gemma4HF], list[bool]], caplog: pytest.LogCaptureFixture
) -> None:
    """`profile` always, `answer` and `generate` while the debug log is on."""
    engine = load()
    seen = wanted(engine)
    prompts = [Prompt(text="Hello")]
    with caplog.at_level(logging.INFO, "gemma4_block"):
        engine.answer(prompts, SHORT)
        engine.profile(prompts, SHORT)
    with caplog.at_level(logging.DEBUG, "gemma4_block"):
        engine.answer(prompts, SHORT)
        engine.prompt(frames(1)[0], "Hello", max_new_tokens=2)

    assert seen == [False, True, True, True]


STAGE = r"\d+\.\d{3} s in \d+ pass(?:es)? of up to \d+"


def test_the_debug_log_has_a_line_for_every_call(caplog: pytest.LogCaptureFixture) -> None:
    """How many prompts, how long from the first picture to the last text, and the stages in order."""
    engine = load()
    prompts = [Prompt(text="Describe the image.", images=(frame,)) for frame in frames(2)]
    with caplog.at_level(logging.DEBUG, "gemma4_block"):
        engine.answer(prompts, SHORT)
    (line,) = caplog.messages
    stages = "; ".join(f"{stage} {STAGE}" for stage in FREE)

    assert re.fullmatch(rf"Prompts answered: 2, in \d+\.\d{{3}} s: {stages}", line)
    (record,) = caplog.records
    assert record.args is not None
    _, seconds, spent = record.args
    assert isinstance(seconds, float)
    assert isinstance(spent, Profile)
    assert seconds > sum(spent.stages[stage].seconds for stage in ("vision", "prefill", "decode", "read"))


def test_the_logged_time_includes_preprocessing_of_a_single_prompt(caplog: pytest.LogCaptureFixture) -> None:
    """It is done in the calling thread, where it delays the answer."""
    engine = load()
    with caplog.at_level(logging.DEBUG, "gemma4_block"):
        engine.answer([Prompt(text="Describe the image.", images=(frames(1)[0],))], SHORT)
    (record,) = caplog.records
    assert record.args is not None
    _, seconds, spent = record.args
    assert isinstance(spent, Profile)
    assert sum(stage.seconds for stage in spent.stages.values()) < seconds


def test_the_stages_of_prompt_are_logged_without_texts(caplog: pytest.LogCaptureFixture) -> None:
    """`generate` begins with tensors, so the line begins with vision."""
    with caplog.at_level(logging.DEBUG, "gemma4_block"):
        load().prompt(frames(1)[0], "How many shapes are there?")
    (line,) = caplog.messages
    stages = "; ".join(f"{stage} {STAGE}" for stage in ("vision", "prefill", "decode"))

    assert re.fullmatch(rf"Prompts answered: 1, in \d+\.\d{{3}} s: {stages}", line)


def test_nothing_is_logged_above_debug(caplog: pytest.LogCaptureFixture) -> None:
    """Ordinary servers stay quiet."""
    with caplog.at_level(logging.INFO, "gemma4_block"):
        load().profile([Prompt(text="Hello")], SHORT)
    assert caplog.messages == []


def test_shared_passes_are_worded() -> None:
    """A reader of the log learns that the time was not this call's alone."""
    spent = Profile(is_wanted=True)
    spent.add("decode", 0.25, 3)
    spent.add("decode", 0.25, 4, calls=2)
    spent.add("preprocess", 0.125, 1)

    assert str(spent) == (
        "preprocess 0.125 s in 1 pass of up to 1; "
        "decode 0.500 s in 2 passes of up to 4, 1 shared with other calls"
    )


LOGGING = """
import logging
from gemma4_block.engine.pool.log_level import set_log_level
{before}
set_log_level("DEBUG")
set_log_level("DEBUG")
logging.getLogger("gemma4_block.engine.local").debug("Prompts answered: %d", 2)
logging.getLogger("another").debug("Nothing of this.")
"""


@pytest.mark.parametrize(
    ("before", "line"),
    [
        pytest.param("", r"[-\d]+ [:,\d]+ DEBUG gemma4_block\.engine\.service: ", id="no handler"),
        pytest.param("logging.basicConfig(format='own %(message)s')", "own ", id="a handler of its own"),
    ],
)
def test_the_line_is_written_once_in_any_host(before: str, line: str) -> None:
    """To stderr where the process has no handler, as the stock server; else where it writes its others."""
    done = subprocess.run(  # noqa: S603 - our own code
        [sys.executable, "-c", LOGGING.format(before=before)], capture_output=True, text=True, check=True
    )
    assert re.fullmatch(rf"{line}Prompts answered: 2\n", done.stderr)
