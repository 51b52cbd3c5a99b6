"""`gemma4-block bench`: how fast the user's model is on the user's pictures, and where the time goes."""

import json
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from threading import Event

import cv2
import numpy as np
import pytest
import torch
import typer

from gemma4_block.cli.bench import profile_table, read_peak_bytes
from gemma4_block.cli.timing import StepTimer, TimedCall, Timing
from gemma4_block.cli.workflows import terminal_manners
from gemma4_block.contract import Answer, Engine, GenerationConfig, KeepAlive, Prompt, Quantization
from gemma4_block.demo.scenes import draw_scene
from gemma4_block.engine.pool.pool import EnginePool
from gemma4_block.engine.profiling import Profile
from gemma4_block.errors import PromptError
from gemma4_block.settings import Settings
from gemma4_block.testing import ScriptedEngine, ScriptedProvider

from .conftest import Ended

PICTURE = np.zeros((64, 64, 3), np.uint8)
ASK = {"prompt": "Hello?", "model_version": "gemma-4-demo"}


@pytest.fixture
def pictures(tmp_path: Path) -> list[str]:
    """Save three scenes."""
    paths = [str(tmp_path / f"scene{seed}.png") for seed in range(3)]
    for seed, path in enumerate(paths):
        scene = draw_scene(np.random.default_rng(seed), shape_count=2)
        cv2.imwrite(path, scene.image[..., ::-1])
    return paths


@pytest.fixture
def measure(run: Callable[..., Ended]) -> Callable[..., dict[str, object]]:
    """Run `bench --json` once for each question, and return what it printed."""

    def run_bench(*arguments: str) -> dict[str, object]:
        result = run("bench", "--json", "--repeats", "1", *arguments)
        assert (result.exit_code, len(result.stdout.splitlines())) == (0, 1)
        report: dict[str, object] = json.loads(result.stdout)
        return report

    return run_bench


def table_of(stdout: str) -> dict[str, list[str]]:
    """Return the cells behind the name of each row of the table of stages."""
    lines = stdout.splitlines()
    start = next(index for index, line in enumerate(lines) if line.startswith("stage "))
    return {name: cells for name, *cells in (line.split() for line in lines[start + 1 :])}


def test_it_runs_with_nothing(run: Callable[..., Ended]) -> None:
    """A drawn scene is captioned by the demo model, and five calls are timed."""
    result = run("bench")
    head, *lines = result.stdout.splitlines()
    figures = {line[:14].strip(): line[14:].split() for line in lines}

    assert result.exit_code == 0
    assert head == "caption with gemma-4-demo, pictures in a call: 1, forgotten between calls"
    assert list(figures) == ["loading", "a call", "answers", "output tokens"]
    assert figures["a call"][-2:] == ["calls:", "5"]
    assert all(float(figure[0]) > 0 for name, figure in figures.items() if name != "loading")


def test_the_profile_says_where_all_of_the_time_goes(run: Callable[..., Ended], pictures: list[str]) -> None:
    """The stages of one picture, the rest of the engine and of the workflow add up to the call."""
    result = run("bench", pictures[0], "--repeats", "2", "--profile")
    table = table_of(result.stdout)

    assert list(table) == ["preprocess", "vision", "prefill", "decode", "read", "other", "workflow"]
    assert sum(float(share.rstrip("%")) for _, share, *_ in table.values()) == pytest.approx(100, abs=0.5)
    assert [cells[2:] for name, cells in table.items() if name not in {"decode", "other", "workflow"}] == [
        ["1", "1"]
    ] * 4
    assert float(table["workflow"][0]) > 0


def test_pictures_are_asked_about_in_one_call(run: Callable[..., Ended], pictures: list[str]) -> None:
    """Three pictures are three answers of one batch."""
    result = run("bench", *pictures, "--repeats", "1", "--profile")
    table = table_of(result.stdout)

    assert result.stdout.splitlines()[0].startswith("caption with gemma-4-demo, pictures in a call: 3,")
    assert table["preprocess"][2:] == ["3", "1"]
    assert table["read"][2:] == ["1", "3"]


def test_a_kept_picture_is_not_seen_again(run: Callable[..., Ended], pictures: list[str]) -> None:
    """`--keep` times another question about a picture that was asked about before."""
    result = run("bench", pictures[0], "--repeats", "1", "--keep", "--profile")

    assert result.stdout.splitlines()[0].endswith(", seen before")
    assert "vision" not in table_of(result.stdout)


def test_without_a_profile_nobody_looks_into_the_engine(
    run: Callable[..., Ended], measure: Callable[..., dict[str, object]]
) -> None:
    """Neither the table nor the line of JSON names a stage."""
    assert "decode" not in run("bench", "--repeats", "1").stdout
    assert "stages" not in measure()


def test_json_is_one_line_of_figures_that_fit(measure: Callable[..., dict[str, object]]) -> None:
    """Rates are those of the call of median time, and what they depend on is told."""
    report = measure("--profile", "--repeats", "3")
    seconds = report["seconds"]
    assert isinstance(seconds, list)
    median = report["median_s"]
    assert isinstance(median, float)
    tokens = report["output_tokens"]
    assert isinstance(tokens, int)
    stages = report["stages"]
    assert isinstance(stages, dict)

    assert sorted(seconds)[1] == median
    assert report["answers_per_s"] == pytest.approx(1 / median)
    assert report["output_tokens_per_s"] == pytest.approx(tokens / median)
    assert (report["task_type"], report["repeats"], report["forgets"]) == ("caption", 3, True)
    assert (report["device"], report["gpu"], report["threads"]) == ("cpu", None, torch.get_num_threads())
    assert list(report["versions"]) == ["gemma4-block", "torch", "transformers", "inference"]  # type: ignore[call-overload]
    assert stages["decode"]["passes"] == tokens - 1
    assert list(stages["decode"]) == ["seconds", "passes", "most_rows", "shared_passes"]
    parts = [stage["seconds"] for stage in stages.values()] + [report["other_s"], report["workflow_s"]]
    assert sum(parts) == pytest.approx(median)


def test_the_question_is_the_users_own(
    measure: Callable[..., dict[str, object]], pictures: list[str]
) -> None:
    """With `--prompt` the answer is as short as the question makes it."""
    asked = measure(pictures[0], "--prompt", "How many shapes are there?")

    # The number, and the end of the turn.
    assert (asked["task_type"], asked["output_tokens"]) == ("unconstrained", 2)


def test_a_task_is_timed_as_the_block_does_it(
    measure: Callable[..., dict[str, object]], pictures: list[str]
) -> None:
    """Classes are scored, fields are written; each as in a workflow."""
    classified = measure(pictures[0], "--task-type", "classification", "--classes", "a, b", "--profile")
    answered = measure(
        pictures[0], "--task-type", "structured-answering", "--structure", '{"color": "color"}'
    )

    assert classified["classes"] == ["a", "b"]
    assert "score" in classified["stages"]  # type: ignore[operator]
    assert answered["task_type"] == "structured-answering"


def test_the_budgets_reach_the_model(measure: Callable[..., dict[str, object]], pictures: list[str]) -> None:
    """How closely it looks, and how much it writes."""
    small = measure(pictures[0], "--image-seq-length", "70", "--max-new-tokens", "2")
    large = measure(pictures[0], "--image-seq-length", "280", "--max-new-tokens", "3")

    assert (small["output_tokens"], large["output_tokens"]) == (2, 3)
    assert small["image_tokens"] <= 70 < large["image_tokens"]  # type: ignore[operator]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        pytest.param(["--model-version", "nonsense"], "'nonsense'", id="unknown model"),
        pytest.param(["--task-type", "unconstrained"], "needs --prompt", id="no question"),
        pytest.param(["--task-type", "counting"], "needs --classes", id="no classes"),
        pytest.param(["--structure", "no.json"], "nor a readable file", id="no structure file"),
        pytest.param(["--quantization", "nonsense"], "--quantization is", id="quantization"),
        pytest.param(["no.png"], "There is no image file no.png", id="no file"),
    ],
)
def test_a_refusal_is_one_line_and_exit_code_1(
    run: Callable[..., Ended], arguments: list[str], expected: str
) -> None:
    """What cannot be asked is not timed."""
    result = run("bench", *arguments)
    assert (result.exit_code, result.stdout, len(result.stderr.splitlines())) == (1, "", 1)
    assert expected in result.stderr


class CountingEngine(ScriptedEngine):
    """An engine that counts what is asked of it."""

    def __init__(self) -> None:
        super().__init__(lambda _: "Hello.")
        self.log: list[str] = []

    def answer(
        self,
        prompts: Sequence[Prompt],
        generation: GenerationConfig,
        *,
        deadline: float | None = None,
        cancelled: Event | None = None,
    ) -> list[Answer | PromptError]:
        """Count a call."""
        self.log.append("answer")
        return super().answer(prompts, generation, deadline=deadline, cancelled=cancelled)

    def profile(
        self, prompts: Sequence[Prompt], generation: GenerationConfig
    ) -> tuple[list[Answer | PromptError], Profile]:
        """Count a profile."""
        self.log.append("profile")
        return super().answer(prompts, generation), Profile(is_wanted=True)

    def forget(self) -> None:
        """Count it too."""
        self.log.append("forget")


@pytest.mark.parametrize(
    ("forgets", "profiles", "expected"),
    [
        pytest.param(True, False, ["answer", "forget", "answer", "forget", "answer"], id="forget"),
        pytest.param(False, False, ["answer", "answer", "answer"], id="keep"),
        pytest.param(False, True, ["answer", "profile", "profile"], id="profile"),
    ],
)
def test_the_first_call_is_not_counted(
    forgets: bool,  # noqa: FBT001 - a case
    profiles: bool,  # noqa: FBT001
    expected: list[str],
) -> None:
    """It loads the model; then the engine forgets before every call that is."""
    engine = CountingEngine()
    timer = StepTimer(ASK, [PICTURE], ScriptedProvider(engine))
    timing = timer.measure(repeats=2, forgets=forgets, profiles=profiles)

    assert engine.log == expected
    assert len(timing.calls) == 2
    assert all(0 < call.engine_seconds < call.seconds for call in timing.calls)


def test_loading_is_timed_once_and_apart() -> None:
    """It is no part of any call."""

    class SlowProvider(ScriptedProvider):
        @contextmanager
        def lease(
            self, model_version: str, quantization: Quantization, *, keep_alive: KeepAlive | None = None
        ) -> Iterator[Engine]:
            if not self.requests:
                time.sleep(0.3)
            with super().lease(model_version, quantization, keep_alive=keep_alive):
                yield engine

    engine = CountingEngine()
    provider = SlowProvider(engine)
    timing = StepTimer(ASK, [PICTURE], provider).measure(repeats=2, forgets=True, profiles=False)

    assert provider.requests == [("gemma-4-demo", "auto")] * 3
    assert timing.load_seconds >= 0.3
    assert all(call.seconds < 0.3 for call in timing.calls)


def test_an_engine_that_cannot_say_where_its_time_goes_is_refused_by_name(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The message names the engine and what can be timed instead."""
    timer = StepTimer(ASK, [PICTURE], ScriptedProvider(ScriptedEngine(["Hello."])))
    with pytest.raises(typer.Exit), terminal_manners():
        timer.run()
    assert capsys.readouterr().err == (
        "gemma-4-demo runs in a ScriptedEngine, which cannot say where its time goes. Time a model that runs "
        "in this process.\n"
    )


def test_a_picture_that_cannot_be_asked_about_is_named(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """An answer that was refused would look fast."""
    settings = Settings(max_image_pixels=5000)
    monkeypatch.setattr("gemma4_block.blocks.model_step.get_settings", lambda: settings)
    timer = StepTimer(ASK, [PICTURE, np.zeros((99, 99, 3), np.uint8)], EnginePool(settings))
    with pytest.raises(typer.Exit), terminal_manners():
        timer.run()
    # A bar of the loading weights may be above it.
    line = capsys.readouterr().err.splitlines()[-1]
    assert line.startswith("Picture 2 of 2: The image is 99 x 99 pixels; ")


def call_of(seconds: float, *, answers: int = 1) -> TimedCall:
    """Make up a call whose engine took all but 0.25 s, half of a second of that in its stages."""
    answer = Answer(
        text="", thinking="", finish_reason="stop", input_tokens=9, output_tokens=4, image_tokens=5
    )
    profile = Profile(is_wanted=True)
    profile.add("preprocess", 0.125, 1)
    profile.add("decode", 0.375, 2)
    return TimedCall(
        seconds=seconds, engine_seconds=seconds - 0.25, answers=(answer,) * answers, profile=profile
    )


def test_rates_are_those_of_the_call_of_median_time() -> None:
    """Of two in the middle the faster one, so that stages and total belong to one call."""
    timing = Timing(load_seconds=0, calls=tuple(call_of(seconds, answers=3) for seconds in (4, 1, 2, 9)))

    assert timing.typical.seconds == 2
    assert (timing.answers_per_second, timing.output_tokens_per_second) == (1.5, 6)


@pytest.mark.parametrize(("answers", "other_s"), [(1, 0.25), (2, 0.375)], ids=["one", "several"])
def test_what_is_preprocessed_beside_the_model_is_not_counted_twice(answers: int, other_s: float) -> None:
    """A single picture is preprocessed before the model works; of several, waiting for them is `other`."""
    call = call_of(1, answers=answers)
    assert call.profile is not None
    table = profile_table(call, call.profile)

    assert call.find_other_seconds(call.profile) == other_s
    assert list(table.columns[0].cells) == ["preprocess", "decode", "other", "workflow"]
    assert list(table.columns[1].cells) == ["0.1250", "0.3750", f"{other_s:.4f}", "0.2500"]
    assert list(table.columns[2].cells) == ["12.5%", "37.5%", f"{other_s:.1%}", "25.0%"]


def test_the_peak_of_memory_is_the_kernels(tmp_path: Path) -> None:
    """Linux counts it in units of 1024 bytes; elsewhere nobody knows."""
    assert read_peak_bytes(tmp_path) is None
    (tmp_path / "proc" / "self").mkdir(parents=True)
    (tmp_path / "proc" / "self" / "status").write_text("Name:\tpython\nVmHWM:\t    2048 kB\nVmRSS:\t 9 kB\n")
    assert read_peak_bytes(tmp_path) == 2_097_152
