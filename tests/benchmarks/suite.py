"""Run the rows of the benchmark one after the other on one checkpoint."""

import json
import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
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
from tests.benchmarks.endless import build_endless
from tests.benchmarks.floors import Floors
from tests.benchmarks.loading import time_loading
from tests.benchmarks.machine import measure_machine
from tests.benchmarks.reports import Report
from tests.benchmarks.rows import (
    Bench,
    time_known_frame,
    time_many_crops,
    time_many_questions,
    time_one_question,
)
from tests.benchmarks.schema_cost import time_schema
from tests.benchmarks.serving import time_requests
from tests.benchmarks.vllm_process import running_vllm
from tests.benchmarks.workflow_step import time_workflow_step
from tests.benchmarks.workloads import one_question

_TURNS = {
    "W1": time_one_question,
    "W2": time_many_crops,
    "W3": time_many_questions,
    "W8": time_known_frame,
}
_ROWS_WITH_VLLM = ("W1", "W2", "W3")
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
        repeats: How often each engine takes its turn.
        threads: Of each engine.
        dtype: Of the weights, or `auto`.
        seconds: How long each number of callers asks in W10.
        vllm_python: The Python of an environment that has vLLM; None leaves vLLM out.

    """

    rows: Sequence[str]
    budgets: Sequence[ImageSeqLength]
    engines: Sequence[str]
    repeats: int
    threads: int
    dtype: str
    seconds: float
    vllm_python: Path | None


def run_suite(choice: Choice) -> Iterator[str]:
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
        bench = Bench(engines=engines, floors=Floors(directory, machine), repeats=choice.repeats)
        bench_with_vllm = bench
        if choice.vllm_python is not None and set(choice.rows) & set(_ROWS_WITH_VLLM):
            vllm = stack.enter_context(
                running_vllm(choice.vllm_python, directory, dtype=machine.dtype, threads=choice.threads)
            )
            bench_with_vllm = Bench(
                engines={**engines, "vllm": vllm}, floors=bench.floors, repeats=choice.repeats
            )
        for engine in bench_with_vllm.engines.values():
            # What a library sets up at its first use is no part of any row.
            engine.ask(one_question(_WARM_UP_SEED), choice.budgets[0], 2)
        for row in sorted(choice.rows, key=lambda row: int(row[1:])):
            if row not in _ROWS_WITH_VLLM:
                stack.close()
            for budget in choice.budgets:
                used = bench_with_vllm if row in _ROWS_WITH_VLLM else bench
                for report in _run(row, used, budget, directory, choice):
                    yield report.to_line()


def _run(row: str, bench: Bench, budget: ImageSeqLength, directory: Path, choice: Choice) -> list[Report]:
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
        return time_loading(directory, budget, choice.repeats, engines=list(bench.engines))
    ours = bench.engines["ours"]
    assert isinstance(ours, Ours)
    if row == "W5":
        return time_schema(ours.engine, bench.floors, budget, choice.repeats)
    demo = Gemma4HF.from_pretrained(CHECKPOINT_DIRECTORY, device="cpu").engine
    return time_workflow_step(
        {"demo": demo, "e2b-width": ours.engine}, bench.floors, budget, _TURNS_OF_STEP * choice.repeats
    )


def _choose_dtype(name: str) -> torch.dtype:
    if name == "auto":
        return torch.bfloat16 if inspect_machine("cpu").has_bfloat16 else torch.float32
    dtype: torch.dtype = getattr(torch, name)
    return dtype
