"""Run the rows of the benchmark one after the other on one checkpoint, as many turns as there is time for."""

import json
import math
import os
import time
import traceback
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
import transformers

from gemma4_block.contract import ImageSeqLength
from gemma4_block.demo.evaluation.report import CHECKPOINT_DIRECTORY
from gemma4_block.engine.compat import Gemma4HF
from gemma4_block.engine.hardware.machine import inspect_machine
from tests.benchmarks.callers import time_callers
from tests.benchmarks.contestants import MAKERS, Ours
from tests.benchmarks.cpu_engines import CpuEngines, time_cpu_engines
from tests.benchmarks.endless import build_endless
from tests.benchmarks.floors import Floors
from tests.benchmarks.loading import time_loading
from tests.benchmarks.machine import measure_machine
from tests.benchmarks.reports import Report, Turns
from tests.benchmarks.rows import (
    Bench,
    time_known_frame,
    time_many_crops,
    time_many_questions,
    time_one_question,
)
from tests.benchmarks.schema_cost import time_schema
from tests.benchmarks.serving import time_requests
from tests.benchmarks.stream import time_stream
from tests.benchmarks.vllm_process import running_vllm
from tests.benchmarks.workflow_step import time_workflow_step
from tests.benchmarks.workloads import one_question

_TURNS = {
    "W1": time_one_question,
    "W2": time_many_crops,
    "W3": time_many_questions,
    "W8": time_known_frame,
    "W9": time_stream,
}
_ROWS_WITH_VLLM = ("W1", "W2", "W3")
# What they find does not depend on how closely the model looks.
_ROWS_OF_ONE_BUDGET = ("W5", "W6", "W7", "W10", "W11")
# A call is short there, and what is looked for is a hundredth of it.
_TURNS_OF_STEP = 10
_WARM_UP_SEED = 20_000_000


@dataclass(frozen=True, kw_only=True, slots=True)
class Choice:
    """What to run; see the command.

    Attributes:
        rows: Which of the rows.
        budgets: Visual token budgets.
        engines: Which of the peers.
        repeats: How often each engine takes its turn, where there is time.
        minutes: After which no row begins; each row gets an equal share of what is left of them, and a first
            turn in any case. None means all the time that it takes.
        threads: Of each engine.
        dtype: Of the weights, or `auto`.
        seconds: How long each number of callers asks in W10.
        vllm_python: The Python of an environment that has vLLM; None leaves vLLM out.
        cpu_engines: What W11 compares with; without any there is no such row.

    """

    rows: Sequence[str]
    budgets: Sequence[ImageSeqLength]
    engines: Sequence[str]
    repeats: int
    minutes: float | None
    threads: int
    dtype: str
    seconds: float
    vllm_python: Path | None
    cpu_engines: CpuEngines


class Schedule:
    """Shares out the time of a run among its rows.

    Args:
        cells: Row and budget of everything that is to be timed, in order.
        seconds: Of all together.

    Attributes:
        left_out: What there was no time for, and what failed.

    """

    def __init__(self, cells: Sequence[tuple[str, ImageSeqLength]], seconds: float) -> None:
        self.left_out: list[str] = []
        self._cells = cells
        self._ends = time.monotonic() + seconds

    def __iter__(self) -> Iterator[tuple[str, ImageSeqLength, float]]:
        """Yield row, budget and its share in seconds, as long as there is time."""
        for place, (row, budget) in enumerate(self._cells):
            left = self._ends - time.monotonic()
            if left <= 0:
                self.left_out.append(f"{row} at {budget}")
            else:
                yield row, budget, left / (len(self._cells) - place)

    @contextmanager
    def going_on(self, row: str, budget: ImageSeqLength) -> Iterator[None]:
        """Print what fails and leave the row out, as nobody may be there to start the others again."""
        try:
            yield
        except Exception as error:  # noqa: BLE001 - whatever it is
            traceback.print_exc()
            self.left_out.append(f"{row} at {budget} ({type(error).__name__})")


def plan(choice: Choice) -> Schedule:
    """Return what is to be timed, and when it must be over."""
    cells = [
        (row, budget)
        for row in sorted(choice.rows, key=lambda row: int(row[1:]))
        if row != "W11" or choice.cpu_engines.has_any
        for budget in (choice.budgets[:1] if row in _ROWS_OF_ONE_BUDGET else choice.budgets)
    ]
    return Schedule(cells, math.inf if choice.minutes is None else 60 * choice.minutes)


def run_suite(choice: Choice, schedule: Schedule) -> Iterator[str]:
    """Yield a line of JSON for the machine, and one for each row and budget as soon as it is measured."""
    torch.set_num_threads(choice.threads)
    transformers.logging.disable_progress_bar()
    dtype = _choose_dtype(choice.dtype)
    machine = measure_machine(dtype)
    versions = {name: version(name) for name in ("torch", "transformers", "inference-models")}
    yield json.dumps({"machine": machine.to_json(), "versions": versions})
    with TemporaryDirectory() as folder, ExitStack() as stack:
        # The host keeps files of its own there.
        os.environ.setdefault("MODEL_CACHE_DIR", str(Path(folder, "host")))
        directory = build_endless("e2b-width", Path(folder) / "models" / "e2b-width", dtype=dtype)
        engines = {name: MAKERS[name](directory) for name in ("ours", *choice.engines)}
        if choice.vllm_python is not None and set(choice.rows) & set(_ROWS_WITH_VLLM):
            engines["vllm"] = stack.enter_context(
                running_vllm(choice.vllm_python, directory, dtype=machine.dtype, threads=choice.threads)
            )
        for engine in engines.values():
            # What a library sets up at its first use is no part of any row.
            engine.ask(one_question(_WARM_UP_SEED), choice.budgets[0], 2)
        floors = Floors(directory, machine)
        for row, budget, share_s in schedule:
            if row not in _ROWS_WITH_VLLM:
                stack.close()
                engines.pop("vllm", None)
            turns = Turns(most=choice.repeats, patience_s=share_s)
            bench = Bench(engines=engines, floors=floors, kind=machine.kind, turns=turns)
            with schedule.going_on(row, budget):
                for report in _run(row, bench, budget, directory, choice):
                    yield report.to_line()


def _run(row: str, bench: Bench, budget: ImageSeqLength, directory: Path, choice: Choice) -> Iterable[Report]:
    if row == "W11":
        return time_cpu_engines(
            choice.cpu_engines, bench.floors, directory, bench.turns, threads=choice.threads
        )
    if row == "W10":
        return time_callers(
            bench,
            budget,
            directory,
            seconds=choice.seconds,
            threads=choice.threads,
            vllm_python=choice.vllm_python,
        )
    return [_run_one(row, bench, budget, directory, choice)]


def _run_one(row: str, bench: Bench, budget: ImageSeqLength, directory: Path, choice: Choice) -> Report:
    if row in _TURNS:
        return _TURNS[row](bench, budget)
    if row == "W4":
        return time_requests(bench, budget, directory, threads=choice.threads)
    if row == "W6":
        return time_loading(directory, budget, bench.turns, engines=list(bench.engines))
    ours = bench.engines["ours"]
    assert isinstance(ours, Ours)
    if row == "W5":
        return time_schema(ours.engine, bench.floors, budget, bench.turns)
    demo = Gemma4HF.from_pretrained(CHECKPOINT_DIRECTORY, device="cpu").engine
    turns = Turns(most=_TURNS_OF_STEP * choice.repeats, patience_s=bench.turns.patience_s)
    return time_workflow_step({"demo": demo, "e2b-width": ours.engine}, bench.floors, budget, turns)


def _choose_dtype(name: str) -> torch.dtype:
    if name == "auto":
        return torch.bfloat16 if inspect_machine("cpu").has_bfloat16 else torch.float32
    dtype: torch.dtype = getattr(torch, name)
    return dtype
