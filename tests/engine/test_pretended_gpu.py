"""The engine on tensors that say they are on a GPU: right answers, few waits, one graph a token, memory."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from pydantic import TypeAdapter

from tests.pretend_cuda.report import Report

_ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.slow
# Much more than the minute that it takes, for a busy machine.
_TIMEOUT_S = 900


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Report:
    """What a process of its own found, because torch is changed in it."""
    path = tmp_path_factory.mktemp("report") / "report.json"
    ended = subprocess.run(  # noqa: S603 - a module of our own
        [sys.executable, "-m", "tests.pretend_cuda", str(path)],
        cwd=_ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=_TIMEOUT_S,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr[-4000:]
    return TypeAdapter(Report).validate_json(path.read_text(encoding="utf-8"))


def test_every_answer_is_that_of_the_processor(report: Report) -> None:
    """With graphs and without, and no operation mixed the devices, which would have ended the process."""
    for name, use in report.uses.items():
        assert use.graphs.texts == use.cpu.texts, name
        assert use.plain.texts == use.cpu.texts, name
        for found in (use.graphs, use.plain):
            assert found.scores == pytest.approx(use.cpu.scores, abs=2e-3), name


def test_steps_of_one_token_are_replays(report: Report) -> None:
    """Whatever joins, leaves or is forced between them; choices alone have no steps, and nothing failed."""
    assert {name for name, use in report.uses.items() if use.replays == 0} == {"demo, choices"}
    assert report.warnings == []


def test_a_token_takes_one_wait_and_no_transfer(report: Report) -> None:
    """Where nothing changes between two steps; the host gives the device a graph and little else."""
    counts = report.counts["graphs, rows: 1"]
    assert (counts.waits, counts.copies) == (1, 0)
    assert counts.launches <= 6


def test_a_step_without_a_graph_takes_one_wait_and_one_transfer(report: Report) -> None:
    """However many rows there are."""
    for rows in (1, 3):
        counts = report.counts[f"plain, rows: {rows}"]
        assert (counts.waits, counts.copies) == (1, 1)
        assert counts.kernels <= 265


def test_a_step_is_the_same_for_100_tokens(report: Report) -> None:
    """The same operations of the same shapes, and what is written is written at the same addresses."""
    assert report.steps == 1
    assert report.operations > 100


@pytest.mark.parametrize(("stage", "tolerance"), [("load", 0.05), ("tower", 0.1), ("prefill", 0.1)])
def test_a_stage_takes_the_memory_that_was_estimated(report: Report, stage: str, tolerance: float) -> None:
    """Weights without a second copy, and all that is alive at once beside them."""
    peak = report.peaks[stage]
    assert peak.measured == pytest.approx(peak.estimated, rel=tolerance)


def test_an_answer_stays_within_what_was_admitted(report: Report) -> None:
    """The estimate is for a longer prompt and answer than these; a quarter of it may be left."""
    peak = report.peaks["an answer, all in all"]
    assert 0.75 * peak.estimated < peak.measured < peak.estimated


def test_scoring_holds_logits_once(report: Report) -> None:
    """The rest is masks and states, which weigh nothing beside a vocabulary larger than the demo's."""
    peak = report.peaks["scoring"]
    assert peak.measured < 1.7 * peak.estimated
