"""`gemma4-block selftest`: whether a machine answers as it should, as a report for an issue."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from gemma4_block.cli.selftest import testing
from gemma4_block.cli.selftest.findings import Check, Findings, Memory, Speed
from gemma4_block.cli.selftest.report import write_report

from .conftest import Ended

Run = Callable[..., Ended]
EQUAL = Check(name="a batch", against="generate", compared=7, different=None)
DIFFERENT = Check(name="drawn", against="the CPU", compared=3, different=("a cat", "a|dog"))


def make_findings(*checks: Check) -> Findings:
    """Return findings with some checks."""
    speed = Speed(name="a text", answers_per_s=2.5, tokens_per_s=40.0, stages={"decode": 12.34})
    return Findings(
        machine=(("gpu", "none"), ("torch", "2.15")),
        checks=checks,
        speeds=(speed,),
        memory=Memory(estimated=1_500_000_000, measured=None),
        seconds=61.4,
    )


@pytest.mark.slow
def test_a_processor_is_tested_as_a_gpu_would_be(run: Run, tmp_path: Path) -> None:
    """Every mechanism gives the same answers, the file has what is printed, and the exit code is 0."""
    output = tmp_path / "report.md"
    ended = run("selftest", "--device", "cpu", "--quick", "--output", str(output))

    assert (ended.exit_code, output.read_text(encoding="utf-8")) == (0, ended.stdout), ended.stdout
    assert ended.stdout.startswith("### gemma4-block selftest: all answers are equal, in ")
    rows = [line.split(" | ") for line in ended.stdout.splitlines() if line.endswith("| yes |")]
    assert [row[0].removeprefix("| ") for row in rows] == [
        "one prompt after the other",
        "pictures that were seen before",
        "a batch that shrinks",
        "calls of many threads",
        "answers held to a JSON Schema",
        "choices that are scored",
        "thoughts",
        "tokens drawn by a seed",
        "penalised repeats",
        "an adapter that changes nothing",
    ]
    assert "| eight pictures |" in ended.stdout


def test_a_report_shows_the_first_answer_that_differs() -> None:
    """What was expected and what was found, below a table in which a bar is no column."""
    assert write_report(make_findings(EQUAL, DIFFERENT)) == (
        "### gemma4-block selftest: **some answers differ**, in 61 s\n"
        "\n"
        "| machine |  |\n"
        "|---|---|\n"
        "| gpu | none |\n"
        "| torch | 2.15 |\n"
        "\n"
        "| mechanism | compared with | answers | equal |\n"
        "|---|---|---|---|\n"
        "| a batch | generate | 7 | yes |\n"
        "| drawn | the CPU | 3 | **no** |\n"
        "\n"
        "- drawn: expected `a cat`, found `a|dog`\n"
        "\n"
        "| speed | answers/s | tokens/s | decode, ms |\n"
        "|---|---|---|---|\n"
        "| a text | 2.50 | 40.0 | 12.3 |\n"
        "\n"
        "| memory | estimated | measured |\n"
        "|---|---|---|\n"
        "| peak | 1.50 GB | - |\n"
    )


@pytest.mark.parametrize(("checks", "exit_code"), [((EQUAL,), 0), ((EQUAL, DIFFERENT), 1)])
def test_the_exit_code_says_whether_all_answers_are_equal(
    run: Run, monkeypatch: pytest.MonkeyPatch, checks: tuple[Check, ...], exit_code: int
) -> None:
    """So that a script knows without reading."""
    monkeypatch.setattr(testing, "run_selftest", lambda *_, **__: make_findings(*checks))
    assert run("selftest", "--device", "cpu").exit_code == exit_code


def test_a_gpu_that_is_not_there_is_refused(run: Run) -> None:
    """Before anything is loaded."""
    ended = run("selftest", "--device", "cuda:77")
    assert ended.exit_code == 1
    assert "cuda:77" in ended.stderr


@pytest.mark.gpu
def test_a_gpu_answers_as_it_should(run: Run) -> None:
    """The whole of it. Not run where there is no GPU."""
    if not torch.cuda.is_available():
        pytest.skip("needs a CUDA device")
    ended = run("selftest", "--device", "cuda")
    assert ended.exit_code == 0, ended.stdout
