"""The engine on tensors that say they are on a GPU: right answers, few waits, one graph a token, memory."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from pydantic import TypeAdapter

from tests.pretend_cuda.report import Report

_ROOT = Path(__file__).parents[2]
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
