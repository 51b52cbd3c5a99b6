"""W10: callers who ask one question after the other for a while, beside vLLM behind its own server."""

import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import chain
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from gemma4_block.contract import Answer, GenerationConfig, ImageSeqLength, Prompt
from gemma4_block.engine.remote import connect
from gemma4_block.servers import Server
from tests.benchmarks.contestants import dtype_name
from tests.benchmarks.reports import Report
from tests.benchmarks.rows import Bench, check_counts
from tests.benchmarks.workloads import NEW_TOKENS, QUESTIONS, Step, photo
from tests.parity.vllm_server import MODEL, find_port, start_vllm, wait_until_healthy

CALLERS = (1, 4, 16)
# So many callers at most, and questions of each, so that no two share a picture.
_MOST_CALLERS = 100
_MOST_QUESTIONS = 10_000

Ask = Callable[[Step], list[int]]


@dataclass(frozen=True, kw_only=True, slots=True)
class Shift:
    """What callers saw of an engine.

    Attributes:
        latencies_s: How long each answer took.
        wall_s: From the first question to the last answer.

    """

    latencies_s: Sequence[float]
    wall_s: float

    @property
    def answers_per_minute(self) -> float:
        """All callers together."""
        return 60 * len(self.latencies_s) / self.wall_s


def time_callers(
    bench: Bench,
    budget: ImageSeqLength,
    directory: Path,
    *,
    seconds: float,
    threads: int,
    vllm_python: Path | None,
    callers: Sequence[int] = CALLERS,
) -> list[Report]:
    """W10: each caller has pictures of its own, and asks the next question when the last is answered.

    The engines do not run at the same time. vLLM is asked over HTTP by our own client, as workflows ask it.

    Args:
        bench: Has our engine and the floors.
        budget: Visual token budget.
        directory: Of the checkpoint.
        seconds: How long callers ask; what is under way then is waited for.
        threads: Of vLLM; ours has those of this process.
        vllm_python: Of an environment that has vLLM; None leaves it out.
        callers: How many there are at the same time, one number after the other.

    Returns:
        A report for each number of callers.

    """
    ours = partial(bench.engines["ours"].ask, budget=budget)
    bench.engines["ours"].forget()
    shifts = {"ours": [work(ours, count, seconds) for count in callers]}
    if vllm_python is not None:
        with serving(vllm_python, directory, budget, threads=threads, rows=max(callers)) as ask:
            shifts["vllm"] = [work(ask, count, seconds) for count in callers]
    return [
        _report(bench, budget, count, {name: found[place] for name, found in shifts.items()})
        for place, count in enumerate(callers)
    ]


def work(ask: Ask, callers: int, seconds: float) -> Shift:
    """Let callers ask for a while.

    Args:
        ask: Answers a step, and returns how many tokens that took.
        callers: How many ask at the same time.
        seconds: How long.

    Returns:
        What they saw.

    """
    names = [_MOST_CALLERS * callers + place for place in range(callers)]
    # What is set up at the first use of as many rows is no part of it.
    with ThreadPoolExecutor(callers) as pool:
        list(pool.map(lambda caller: ask(draw_question(caller, 0)), names))
    began = time.perf_counter()

    def call(caller: int) -> list[float]:
        latencies = []
        for number in range(1, _MOST_QUESTIONS):
            step = draw_question(caller, number)
            asked = time.perf_counter()
            check_counts(ask(step))
            latencies.append(time.perf_counter() - asked)
            if time.perf_counter() >= began + seconds:
                break
        return latencies

    with ThreadPoolExecutor(callers) as pool:
        latencies = list(chain.from_iterable(pool.map(call, names)))
    return Shift(latencies_s=latencies, wall_s=time.perf_counter() - began)


def draw_question(caller: int, number: int) -> Step:
    """Return a question of a caller about a picture that nobody asked about."""
    return [(photo(_MOST_QUESTIONS * caller + number), QUESTIONS[number % len(QUESTIONS)])]


@contextmanager
def serving(
    python: Path, directory: Path, budget: ImageSeqLength, *, threads: int, rows: int
) -> Iterator[Ask]:
    """Run a server of vLLM until the end of the block, and yield what asks it."""
    with TemporaryDirectory() as folder:
        log, port = Path(folder, "log.txt"), find_port()
        child = start_vllm(
            directory,
            log,
            port,
            python=python,
            dtype=dtype_name(directory),
            threads=threads,
            rows=rows,
        )
        try:
            wait_until_healthy(child, port, log)
            engine = connect(Server(model_id=MODEL, urls=(f"http://127.0.0.1:{port}/v1",), model=MODEL))

            def ask(step: Step) -> list[int]:
                prompts = [
                    Prompt(text=text, images=(image,), image_seq_length=budget) for image, text in step
                ]
                answers = engine.answer(prompts, GenerationConfig(max_new_tokens=NEW_TOKENS))
                return [answer.output_tokens for answer in answers if isinstance(answer, Answer)]

            try:
                yield ask
            finally:
                engine.close()
        finally:
            child.terminate()
            child.wait(60)


def _report(bench: Bench, budget: ImageSeqLength, callers: int, shifts: Mapping[str, Shift]) -> Report:
    together = [pair for caller in range(callers) for pair in draw_question(caller, 0)]
    figures = {"callers": float(callers)}
    for name, shift in shifts.items():
        figures |= {
            f"{name}_answers_per_minute": shift.answers_per_minute,
            f"{name}_mean_s": statistics.mean(shift.latencies_s),
            f"{name}_p95_s": float(np.percentile(shift.latencies_s, 95)),
        }
    return Report(
        row="W10",
        budget=budget,
        times_s={name: shift.latencies_s for name, shift in shifts.items()},
        goals=[],
        floor_s=bench.floors.of_step(together, budget).total_s,
        figures=figures,
    )
