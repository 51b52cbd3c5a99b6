"""A run of the benchmark ends in time, fits a screen, and is kept in files that the pages show."""

import json
import math
from pathlib import Path
from typing import Any

import pytest

from tests.benchmarks.cpu_engines import CpuEngines
from tests.benchmarks.goals import PEER_OVER_OURS
from tests.benchmarks.processors import KINDS, ProcessorKind, kind_of
from tests.benchmarks.reports import Goal, Report, Turns, time_in_turns
from tests.benchmarks.results import read_saved, write_result
from tests.benchmarks.side_by_side import write_table
from tests.benchmarks.suite import Choice, Schedule, plan
from tests.benchmarks.summary import HEIGHT, WIDTH, summarize

ROOT = Path(__file__).parents[2]
HEAD = json.dumps(
    {
        "machine": {"cpu": "Some Processor", "kind": "amx", "threads": 1, "dtype": "bfloat16"},
        "versions": {"torch": "2.15.0", "transformers": "5.15.1", "inference-models": "0.39.5"},
    }
)


def write_line(row: str, budget: int, **figures: float) -> str:
    """Write a row in which ours takes 2 s and the peer 3 s."""
    return Report(
        row=row,
        budget=budget,
        times_s={"ours": [2.0], "peer": [3.0]},
        goals=[
            Goal(name="peer / ours, seconds", value=1.5, at_least=1.6),
            Goal(name="ms", value=1, at_most=5),
        ],
        floor_s=1.0,
        figures=figures,
    ).to_line()


@pytest.mark.parametrize(
    ("features", "kind"),
    [
        (("avx2", "avx512_f", "avx512_bf16", "amx_bf16"), "amx"),
        (("avx2", "avx512_f", "avx512_bf16"), "avx512_bf16"),
        (("avx2", "avx512_f"), "avx512"),
        (("avx2",), "avx2"),
        (("neon", "bf16"), "other"),
    ],
)
def test_a_processor_is_of_the_best_kind_that_it_can_be(
    features: tuple[str, ...], kind: ProcessorKind
) -> None:
    """One that has tiles has the vectors too."""
    assert kind_of(dict.fromkeys(features, True)) == kind


def test_every_kind_has_goals() -> None:
    """Whatever machine the benchmark runs on, its rows in turns are judged."""
    assert set(PEER_OVER_OURS) == set(KINDS)
    assert {len(goals) for goals in PEER_OVER_OURS.values()} == {8}


def test_patience_ends_turns_after_the_first() -> None:
    """A row that has used its share takes no further turn, and takes one in any case."""
    played: list[int] = []
    players = {"ours": played.append}

    time_in_turns(players, int, Turns(most=3, patience_s=0.0))
    time_in_turns(players, int, Turns(most=3, patience_s=math.inf))

    assert played == [0, 0, 1, 2]


def test_time_is_shared_among_what_is_left() -> None:
    """Of two cells the first gets half of the time, and the second all that is left then."""
    shares = [share for _, _, share in Schedule([("W1", 70), ("W1", 280)], 100)]

    assert shares == pytest.approx([50, 100], abs=1)


def test_what_there_is_no_time_for_is_named() -> None:
    """Rows that do not begin are no part of the result without a word."""
    schedule = Schedule([("W1", 70), ("W2", 280)], 0)

    assert list(schedule) == []
    assert schedule.left_out == ["W1 at 70", "W2 at 280"]


def test_a_row_that_fails_is_left_out_and_the_others_go_on(capsys: pytest.CaptureFixture[str]) -> None:
    """Its name says how, and stderr the rest."""
    schedule = Schedule([("W9", 70), ("W10", 70)], 100)
    begun = []
    for row, budget, _ in schedule:
        with schedule.going_on(row, budget):
            begun.append(row)
            if row == "W9":
                raise ValueError("no detector")

    assert begun == ["W9", "W10"]
    assert schedule.left_out == ["W9 at 70 (ValueError)"]
    assert "no detector" in capsys.readouterr().err


def test_rows_that_no_budget_changes_run_once() -> None:
    """Loading and callers are timed at the first budget alone, in order; and W11 needs an engine."""
    choice = Choice(
        rows=("W11", "W10", "W6", "W1"),
        budgets=(70, 280),
        engines=(),
        repeats=1,
        minutes=None,
        threads=1,
        dtype="auto",
        seconds=1,
        vllm_python=None,
        cpu_engines=CpuEngines(openvino_python=None, llama=None, precisions=(), converted=Path("unused")),
    )

    assert [(row, budget) for row, budget, _ in plan(choice)] == [
        ("W1", 70),
        ("W1", 280),
        ("W6", 70),
        ("W10", 70),
    ]


def test_the_summary_of_all_rows_fits_a_screen(tmp_path: Path) -> None:
    """Every row at every budget is on it, with the machine, the goals and what was left out."""
    callers = [
        write_line(
            "W10",
            70,
            callers=count,
            ours_answers_per_minute=20,
            ours_p95_s=3.5,
            vllm_answers_per_minute=15,
            vllm_p95_s=4.5,
        )
        for count in (1, 4, 16)
    ]
    rows = [
        write_line(f"W{number}", budget)
        for number in (1, 2, 3, 4, 5, 6, 7, 8, 9)
        for budget in (70, 280)
        if number not in (5, 6, 7) or budget == 70
    ]
    result = write_result([HEAD, *rows, *callers], ["W11 at 70"], tmp_path / "amx.json")
    lines = list(summarize(result))

    assert max(len(line) for line in lines) <= WIDTH
    assert len(lines) <= HEIGHT
    assert lines[0].startswith("amx · Some Processor · bfloat16 · 1 thread(s) · torch 2.15.0")
    assert lines[2].split() == ["W1", "70", "2", "2.00", "1.50", "<", "1.6", "-", "-"]
    assert "16 callers: ours 20.0 answers a minute, p95 3.5 s; vllm 15.0" in lines[19]
    assert lines[-2:] == ["18 of 36 goals reached", "left out: W11 at 70"]


def test_a_result_is_read_as_it_was_written(tmp_path: Path) -> None:
    """What a run printed is in its file, and the file gives the same result."""
    path = tmp_path / "new" / "amx.json"
    written = write_result([HEAD, write_line("W1", 70, most=5.0)], [], path)
    content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))

    assert content["machine"]["kind"] == written.kind == "amx"
    assert content["rows"][0]["seconds"] == {"ours": 2.0, "peer": 3.0}
    assert written.rows[0].figures == {"most": 5.0}
    assert written.rows[0].over_floor == 2.0


def test_saved_results_say_what_they_were_measured_on() -> None:
    """A file is named after its kind of processor, which it names, with the precision."""
    for result in read_saved():
        assert result.machine["cpu"]
        assert result.machine["dtype"] in {"float32", "bfloat16"}
    assert {"avx2", "avx512_bf16"} <= {result.kind for result in read_saved()}


def test_the_page_shows_the_saved_results() -> None:
    """The table of docs/measured.md is what `python -m tests.benchmarks.side_by_side` prints."""
    page = (ROOT / "docs" / "measured.md").read_text(encoding="utf-8")

    assert "\n".join(write_table(read_saved())) in page
