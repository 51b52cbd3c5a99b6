"""The benchmark's parts, for real on a miniature: what they print is complete and makes sense."""

import json
import math
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any

import pytest
import torch

from gemma4_block.contract import ImageSeqLength
from tests.benchmarks.callers import Shift, time_callers, work
from tests.benchmarks.child import Child
from tests.benchmarks.contestants import MAKERS, Contestant, Ours
from tests.benchmarks.endless import build_endless
from tests.benchmarks.floors import Floors, Reading
from tests.benchmarks.loading import measure
from tests.benchmarks.machine import Machine, measure_machine
from tests.benchmarks.reports import Goal, Report, Turns, time_in_turns
from tests.benchmarks.rows import (
    Bench,
    time_known_frame,
    time_many_crops,
    time_many_questions,
    time_one_question,
)
from tests.benchmarks.schema_cost import time_schema
from tests.benchmarks.serving import time_at_once, write_request
from tests.benchmarks.stream import time_stream
from tests.benchmarks.vllm_process import Vllm
from tests.benchmarks.workflow_step import time_workflow_step
from tests.benchmarks.workloads import (
    NEW_TOKENS,
    Step,
    another_question,
    many_crops,
    many_questions,
    many_requests,
    one_question,
)

if TYPE_CHECKING:
    from fastapi.testclient import TestClient

MACHINE = Machine(
    cpu="any", kind="avx2", threads=1, dtype="float32", gemm_flops=1e11, gemv_bytes=1e10, read_bytes=2e10
)
# Says how many bytes each image had, which it must have read to find the next request.
CHILD = """
import json, math, sys
print(json.dumps({"ready": True}), flush=True)
while line := sys.stdin.buffer.readline():
    request = json.loads(line)
    tokens = [len(sys.stdin.buffer.read(math.prod(shape))) for shape in request.get("shapes", [])]
    print(json.dumps({"tokens": tokens}), flush=True)
"""


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of E2B's shape."""
    return build_endless("e2b", tmp_path_factory.mktemp("benchmarks") / "e2b")


@pytest.fixture(scope="module")
def engines(directory: Path) -> dict[str, Contestant]:
    """All that run in this process."""
    return {name: make(directory) for name, make in MAKERS.items()}


@pytest.fixture(scope="module")
def ours(engines: dict[str, Contestant]) -> Ours:
    """Our engine."""
    engine = engines["ours"]
    assert isinstance(engine, Ours)
    return engine


@pytest.fixture(scope="module")
def floors(directory: Path) -> Floors:
    """Floors of the checkpoint on a made-up machine."""
    return Floors(directory, MACHINE)


def read_line(report: Report) -> dict[str, Any]:
    """Read what a row prints, and make sure of what all rows have in common."""
    line = report.to_line()
    assert "\n" not in line
    found: dict[str, Any] = json.loads(line)
    assert all(seconds > 0 for seconds in found["seconds"].values())
    assert found["floor_s"] > 0
    assert math.isfinite(found["over_floor"])
    return found


@pytest.mark.parametrize(
    ("row", "time_row", "names"),
    [
        ("W1", time_one_question, ["ours", "peer", "plain"]),
        ("W2", time_many_crops, ["ours"]),
        ("W3", time_many_questions, ["ours", "plain"]),
        ("W8", time_known_frame, ["ours", "peer"]),
    ],
)
def test_engines_take_turns(
    engines: dict[str, Contestant],
    floors: Floors,
    row: str,
    time_row: Callable[[Bench, ImageSeqLength], Report],
    names: list[str],
) -> None:
    """A row in turns tells seconds and ratios of all engines, and has a goal for the peer."""
    bench = Bench(
        engines={name: engines[name] for name in names}, floors=floors, kind="avx2", turns=Turns(most=1)
    )
    found = read_line(time_row(bench, 70))

    assert (found["row"], found["budget"]) == (row, 70)
    assert list(found["seconds"]) == names
    assert list(found["ratio"]) == names[1:]
    assert len(found["goals"]) == names.count("peer")
    stages = found["stages"]
    assert sum(stage["floor_s"] for stage in stages.values()) == pytest.approx(found["floor_s"], rel=0.01)
    # A frame that was seen does not go through the tower again.
    worked = {"prefill", "decode"} if row == "W8" else {"vision", "prefill", "decode"}
    assert {name for name, stage in stages.items() if stage["floor_s"] > 0} == worked
    assert all(stages[name]["seconds"] > 0 for name in worked)
    assert ("vision" in stages) == ("vision" in worked)


def test_callers_ask_until_their_time_is_over(ours: Ours, floors: Floors) -> None:
    """W10 tells answers a minute, the mean and p95 for each number of callers, who get an answer at least."""
    bench = Bench(engines={"ours": ours}, floors=floors, kind="avx2", turns=Turns(most=1))
    reports = time_callers(
        bench, 70, Path("unused"), seconds=0.0, threads=1, vllm_python=None, callers=(1, 3)
    )
    for report, callers in zip(reports, (1, 3), strict=True):
        found = read_line(report)

        assert (found["row"], found["callers"], found["repeats"]) == ("W10", callers, callers)
        assert 0 < found["ours_mean_s"] <= found["ours_p95_s"] * 1.001
        assert found["ours_answers_per_minute"] > 0


def test_a_stream_is_described_by_the_shipped_workflow(
    engines: dict[str, Contestant], floors: Floors
) -> None:
    """W9 tells answers a minute, five for each frame, of ours by the workflow and of a peer by its crops."""
    bench = Bench(
        engines={name: engines[name] for name in ("ours", "plain")},
        floors=floors,
        kind="avx2",
        turns=Turns(most=1),
    )
    found = read_line(time_stream(bench, 70))

    assert list(found["seconds"]) == ["ours", "plain"]
    for name, seconds in found["seconds"].items():
        assert found[f"{name}_answers_per_minute"] == pytest.approx(60 * 5 / seconds, rel=0.01)


def test_answers_a_minute_are_those_of_all_callers() -> None:
    """However long each of them took."""
    assert Shift(latencies_s=(1.0, 1.0, 2.0), wall_s=2.0).answers_per_minute == 90


def test_no_two_callers_share_a_picture() -> None:
    """Nor do the questions of one; otherwise a frame that was seen would be timed."""
    asked: list[bytes] = []
    lock = Lock()

    def ask(step: Step) -> list[int]:
        with lock:
            asked.extend(image.tobytes() for image, _ in step)
        return [NEW_TOKENS]

    for callers in (1, 4):
        work(ask, callers, 0.05)

    # One of each caller for the warm-up, and one at least in its time.
    assert len(asked) >= 2 * 5
    assert len(set(asked)) == len(asked)


def test_turns_alternate_with_the_same_work() -> None:
    """A B A B, and both get what was drawn for the repeat."""
    seen: list[tuple[str, int]] = []
    players = {name: lambda work, name=name: seen.append((name, work)) for name in ("a", "b")}
    prepared: list[tuple[str, int]] = []
    times = time_in_turns(
        players, lambda repeat: 10 * repeat, Turns(most=2), prepare=lambda *turn: prepared.append(turn)
    )

    assert seen == [("a", 0), ("b", 0), ("a", 10), ("b", 10)]
    assert prepared == [("a", 0), ("b", 0), ("a", 1), ("b", 1)]
    assert {name: len(found) for name, found in times.items()} == {"a": 2, "b": 2}


def test_a_schema_is_timed_by_the_token(ours: Ours, floors: Floors) -> None:
    """W5 counts the tokens and the model's steps of what is held to the schema, and of what is not."""
    step = many_crops(0, 70)[:2]
    found = read_line(time_schema(ours.engine, floors, 70, Turns(most=1), step=step))

    assert list(found["seconds"]) == ["ours", "unconstrained"]
    # Two rows that are decoded together; without a schema nothing is skipped.
    assert 0 < found["steps"] < found["tokens_of_longest"] < found["tokens"]
    assert found["unconstrained_steps"] == pytest.approx(found["tokens"] / 2, abs=2)


def test_loading_is_measured(directory: Path) -> None:
    """W6 tells times and memory; what it tells in a process that has done all that is of no use."""
    found = measure("ours", directory, 70)

    size = sum(path.stat().st_size for path in directory.glob("*.safetensors"))
    assert found["weights_gb"] == pytest.approx(size / 1e9)
    assert all(found[name] > 0 for name in ("read_s", "load_s", "first_answer_s", "libraries_gb"))
    assert found["answer_peak_gb"] >= found["load_peak_gb"]


def test_a_step_is_timed_beside_the_bare_call(ours: Ours, floors: Floors) -> None:
    """W7 tells what the host and the block add, in milliseconds and as a share."""
    found = read_line(time_workflow_step({"e2b-width": ours.engine}, floors, 70, Turns(most=2)))

    assert list(found["seconds"]) == ["ours", "bare"]
    assert found["e2b-width_added_percent"] == pytest.approx(
        100 * found["e2b-width_added_ms"] / found["e2b-width_bare_ms"], rel=0.01
    )


def test_requests_are_workflows_that_answer(client: "TestClient") -> None:
    """What W4 sends is answered by the stock server with this plugin."""
    body = write_request(one_question(0), 70, model_version="gemma-4-demo")
    response = client.post("/workflows/run", json=body)

    assert response.status_code == 200
    ((row),) = response.json()["outputs"]
    assert isinstance(row["tokens"], int)


def test_requests_wait_at_once(engines: dict[str, Contestant]) -> None:
    """Eight threads ask about different images, and each waits for its own answer."""
    steps = many_requests(0)
    latencies = time_at_once(lambda step: engines["plain"].ask(step, 70), steps)

    assert len({step[0][0].tobytes() for step in steps}) == 8
    assert len(set(latencies)) == 8
    # All wait for their turn at the lock, and the last waits longest.
    assert max(latencies) > 2 * min(latencies)


def test_what_a_question_makes_the_model_read_is_counted(floors: Floors) -> None:
    """640x480 at 70 becomes 27 by 21 patches, nine to a token; at 280 it is 57 by 42."""
    found = [floors.read(one_question(0), budget)[0] for budget in (70, 280)]

    assert found == [
        Reading(patches=567, soft_tokens=63, prefix=69, length=79),
        Reading(patches=2394, soft_tokens=266, prefix=272, length=282),
    ]


def test_floors_know_what_is_shared(floors: Floors) -> None:
    """Four questions cost less about one frame than about four, and least about a frame that was seen."""
    new = floors.of_step(one_question(0), 70).total_s
    one_frame = floors.of_one_frame(many_questions(0), 70).total_s
    known = floors.of_known_frame(another_question(0), 70).total_s

    assert 0 < known < new < one_frame < 4 * new


def test_the_floor_of_decoding_is_that_of_reading_the_weights(floors: Floors) -> None:
    """One row reads every weight of the text model once a step; the tables of embeddings are not read."""
    reading = Reading(patches=0, soft_tokens=0, prefix=0, length=1)
    layer = 64 * (64 + 64) + 3 * 64 * 128 + 2 * 64 * 16
    assert floors.of_decoding([reading], 2) > 4 * 10 * layer / MACHINE.read_bytes


def test_the_machine_is_measured() -> None:
    """All rates are above nothing, and are printed in units of 10**9."""
    machine = measure_machine(torch.float32, scale=64)

    assert min(machine.gemm_flops, machine.gemv_bytes, machine.read_bytes) > 0
    assert list(machine.to_json()) == [
        "cpu",
        "kind",
        "threads",
        "dtype",
        "gemm_gflops",
        "gemv_gb_s",
        "read_gb_s",
    ]


@pytest.mark.parametrize(
    ("goal", "is_reached"),
    [
        pytest.param(Goal(name="ratio", value=1.3, at_least=1.3), True, id="just high enough"),
        pytest.param(Goal(name="ratio", value=1.2, at_least=1.3), False, id="too low"),
        pytest.param(Goal(name="ms", value=5.1, at_most=5), False, id="too high"),
    ],
)
def test_goals_are_judged(goal: Goal, is_reached: bool) -> None:  # noqa: FBT001 - an expected value
    """A bound belongs to what reaches the goal."""
    assert goal.is_reached is is_reached


@pytest.fixture
def child() -> Iterator["subprocess.Popen[bytes]"]:
    """A process that speaks as vLLM's does, without a model."""
    command = [sys.executable, "-c", CHILD]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)  # noqa: S603
    with process:
        yield process
        process.kill()


def test_vllm_gets_all_pixels(child: "subprocess.Popen[bytes]") -> None:
    """Images of different sizes arrive whole, in one step and in many, and between forgetting."""
    vllm = Vllm(Child(child))
    crops = many_crops(0, 70)[:3]
    expected = [64 * 64 * 3, 128 * 96 * 3, 320 * 240 * 3]
    asked = vllm.ask(crops, 70)
    vllm.forget()

    assert asked == expected
    assert vllm.ask_at_once([[crop] for crop in crops], 70) == expected
