"""The rows in which engines answer in turns: W1, W2, W3 and W8."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from gemma4_block.contract import ImageSeqLength
from tests.benchmarks.contestants import Contestant
from tests.benchmarks.floors import Floors
from tests.benchmarks.reports import Report, ratio_goals, time_in_turns
from tests.benchmarks.workloads import (
    NEW_TOKENS,
    Step,
    another_question,
    many_crops,
    many_questions,
    one_question,
)

_PEER_OVER_OURS = {
    ("W1", 70): 1.3,
    ("W1", 280): 2.0,
    ("W2", 70): 2.0,
    ("W2", 280): 2.2,
    ("W3", 70): 3.5,
    ("W3", 280): 7.0,
    ("W8", 70): 2.3,
    ("W8", 280): 12.0,
}
"""What ours must reach. Source: sums of stages that were timed one by one."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Bench:
    """What every row needs.

    Attributes:
        engines: By name; `ours` is one of them.
        floors: Of the checkpoint on this machine.
        repeats: How often each engine takes its turn.

    """

    engines: Mapping[str, Contestant]
    floors: Floors
    repeats: int


def time_one_question(bench: Bench, budget: ImageSeqLength) -> Report:
    """W1: one image, one question."""
    times = _time_step(bench, budget, one_question)
    return _report("W1", budget, times, bench.floors.of_step(one_question(0), budget))


def time_many_crops(bench: Bench, budget: ImageSeqLength) -> Report:
    """W2: eight different crops, or four, and one question, in one step."""
    times = _time_step(bench, budget, lambda seed: many_crops(seed, budget))
    return _report("W2", budget, times, bench.floors.of_step(many_crops(0, budget), budget))


def time_many_questions(bench: Bench, budget: ImageSeqLength) -> Report:
    """W3: one frame, four questions, in four steps of one workflow, which the host runs in threads."""

    def play(engine: Contestant) -> Callable[[Sequence[Step]], None]:
        return lambda steps: check_counts(engine.ask_at_once(steps, budget))

    times = time_in_turns(
        {name: play(engine) for name, engine in bench.engines.items()},
        many_questions,
        bench.repeats,
        prepare=lambda name, _repeat: bench.engines[name].forget(),
    )
    return _report("W3", budget, times, bench.floors.of_one_frame(many_questions(0), budget))


def time_known_frame(bench: Bench, budget: ImageSeqLength) -> Report:
    """W8: another question about a frame that was asked about before."""

    def meet(name: str, repeat: int) -> None:
        engine = bench.engines[name]
        if engine.has_caches:
            engine.forget()
            # What is kept of an image does not depend on how long the answer was.
            engine.ask(one_question(repeat), budget, 1)

    times = _time_step(bench, budget, another_question, prepare=meet)
    return _report("W8", budget, times, bench.floors.of_known_frame(another_question(0), budget))


def check_counts(counts: Sequence[int]) -> None:
    """Make sure that all engines did the same work: random weights end no answer early."""
    assert set(counts) == {NEW_TOKENS}, f"the answers took {counts} tokens, and not {NEW_TOKENS} each"


def _time_step(
    bench: Bench,
    budget: ImageSeqLength,
    draw: Callable[[int], Step],
    *,
    prepare: Callable[[str, int], None] | None = None,
) -> dict[str, list[float]]:
    def play(engine: Contestant) -> Callable[[Step], None]:
        return lambda step: check_counts(engine.ask(step, budget))

    def forget(name: str, _: int) -> None:
        bench.engines[name].forget()

    players = {name: play(engine) for name, engine in bench.engines.items()}
    return time_in_turns(players, draw, bench.repeats, prepare=prepare or forget)


def _report(row: str, budget: ImageSeqLength, times: dict[str, list[float]], floor_s: float) -> Report:
    goals = ratio_goals(times, peer=_PEER_OVER_OURS[row, budget])
    return Report(row=row, budget=budget, times_s=times, goals=goals, floor_s=floor_s)
