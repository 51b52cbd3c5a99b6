"""The engine on tensors that say they are on a GPU: right answers, few waits, one graph a token, memory."""

import os
import re
import subprocess
import sys
from itertools import product
from pathlib import Path
from typing import Final

import pytest
from pydantic import TypeAdapter

from tests.pretend_cuda.report import Counts, FourBits, Report

_ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.slow
# Much more than the minute that it takes, for a busy machine.
_TIMEOUT_S = 900


_ROW: Final = r"^\| (.+?) \| ([\d, ]+) \| ([onf, ]+) \|" + 4 * r" (\d+) \|" + "$"
COUNTS: Final = {
    "demo, plain, rows: 1": Counts(kernels=341, launches=342, waits=1, copies=1, replays=0),
    "demo, plain, rows: 3": Counts(kernels=359, launches=360, waits=1, copies=1, replays=0),
    "demo, plain, rows: 5": Counts(kernels=359, launches=360, waits=1, copies=1, replays=0),
    "demo, graphs, rows: 1": Counts(kernels=353, launches=5, waits=1, copies=0, replays=1),
    "demo, graphs, rows: 3": Counts(kernels=353, launches=5, waits=1, copies=0, replays=1),
    "demo, graphs, rows: 5": Counts(kernels=353, launches=5, waits=1, copies=0, replays=1),
    "demo in 4 bits, plain, rows: 1": Counts(kernels=455, launches=456, waits=1, copies=1, replays=0),
    "demo in 4 bits, plain, rows: 3": Counts(kernels=473, launches=474, waits=1, copies=1, replays=0),
    "demo in 4 bits, plain, rows: 5": Counts(kernels=473, launches=474, waits=1, copies=1, replays=0),
    "demo in 4 bits, graphs, rows: 1": Counts(kernels=467, launches=5, waits=1, copies=0, replays=1),
    "demo in 4 bits, graphs, rows: 3": Counts(kernels=467, launches=5, waits=1, copies=0, replays=1),
    "demo in 4 bits, graphs, rows: 5": Counts(kernels=467, launches=5, waits=1, copies=0, replays=1),
    "26b-a4b, plain, rows: 1": Counts(kernels=360, launches=361, waits=1, copies=1, replays=0),
    "26b-a4b, plain, rows: 3": Counts(kernels=378, launches=379, waits=1, copies=1, replays=0),
    "26b-a4b, plain, rows: 5": Counts(kernels=444, launches=445, waits=13, copies=1, replays=0),
    "26b-a4b, graphs, rows: 1": Counts(kernels=372, launches=5, waits=1, copies=0, replays=1),
    "26b-a4b, graphs, rows: 3": Counts(kernels=372, launches=5, waits=1, copies=0, replays=1),
    "26b-a4b, graphs, rows: 5": Counts(kernels=444, launches=445, waits=13, copies=1, replays=0),
}


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
    # Random weights may choose numbers after which all else is forced, and of eight rows that shrink there
    # may be too many for experts in a graph up to the last step.
    may_have_none = {"12b, grammar", "26b-a4b, grammar", "26b-a4b, batch that shrinks"}
    without = {name for name, use in report.uses.items() if use.replays == 0}
    assert without - may_have_none == {"demo, choices", "26b-a4b, choices"}
    assert report.warnings == []


def test_a_step_takes_so_much(report: Report) -> None:
    """One wait, for the tokens; one transfer where nothing is fixed in a graph; and these kernels.

    Each layer of 4 bits takes two more, which round to bfloat16 and back. With experts a graph has up to four
    rows of the miniature: of more, each of six layers waits twice, as a GPU does in float32.
    """
    assert report.counts == COUNTS


def test_the_page_has_these_counts() -> None:
    """The table of docs/gpu.md, whose rows may stand for several."""
    page = (_ROOT / "docs" / "gpu.md").read_text(encoding="utf-8")
    found = {}
    for model, rows, graphs, *numbers in re.findall(_ROW, page, re.MULTILINE):
        kernels, launches, waits, copies = map(int, numbers)
        for count, switch in product(rows.split(", "), graphs.split(", ")):
            name = f"{model}, {'graphs' if switch == 'on' else 'plain'}, rows: {count}"
            found[name] = Counts(
                kernels=kernels,
                launches=launches,
                waits=waits,
                copies=copies,
                replays=int(launches < kernels),
            )
    assert found == COUNTS


def test_4_bits_are_the_layers_of_the_language_model(report: Report) -> None:
    """As far as a machine without a GPU can show it: what is rounded, where it is and in what it multiplies.

    The answers of `demo in 4 bits` and the counts above are those of bitsandbytes' layers on the device; no
    step moves a weight. What its own kernels for GPUs compute, how they round and what they launch inside is
    not shown: they are compiled for GPUs, and its kernels for processors stand in for them. Nor is
    `Params4bit` itself, which cannot be made of a tensor that pretends; see tests/pretend_cuda/four_bits.py.
    """
    assert report.four_bits == FourBits(
        kinds=[
            "down_proj",
            "gate_proj",
            "k_proj",
            "o_proj",
            "q_proj",
            "up_proj",
            "v_proj",
        ],
        elsewhere=[],
        weights=["cuda:0 torch.uint8"],
        compute_dtypes=["torch.bfloat16"],
    )


def test_a_picture_in_which_hardly_anything_changed_is_not_looked_at_again(report: Report) -> None:
    """Its prompt goes on behind the picture before it; another picture takes the whole of it."""
    first, unchanged, other = report.looks
    assert unchanged < first / 2
    assert other == first


def test_no_tokens_are_guessed_on_a_gpu(report: Report) -> None:
    """Whatever the setting says; on a processor, the same answer again takes fewer steps."""
    first, again = report.guesses.cpu
    assert again < first
    assert report.guesses.cuda == [first, first]


def test_a_step_is_the_same_for_100_tokens(report: Report) -> None:
    """The same operations of the same shapes, and what is written is written at the same addresses."""
    assert (report.steps, report.operations) == (1, 283)


@pytest.mark.parametrize(
    ("stage", "tolerance"),
    [
        ("load", 0.05),
        ("load in 4 bits", 0.05),
        ("tower", 0.1),
        ("prefill", 0.1),
        ("few tokens of experts", 0.1),
    ],
)
def test_a_stage_takes_the_memory_that_was_estimated(report: Report, stage: str, tolerance: float) -> None:
    """Weights without a second copy, and all that is alive beside them, copies of experts included."""
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
