"""The rows in which engines answer in turns: W1, W2, W3 and W8."""

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from gemma4_block.contract import ImageSeqLength
from gemma4_block.engine.profiling import STAGES, Stage
from tests.benchmarks.contestants import Contestant, Ours
from tests.benchmarks.floors import Floor, Floors
from tests.benchmarks.goals import PEER_OVER_OURS, VLLM_OVER_OURS
from tests.benchmarks.processors import ProcessorKind
from tests.benchmarks.reports import Report, Turns, ratio_goals, time_in_turns
from tests.benchmarks.workloads import (
    NEW_TOKENS,
    Step,
    another_question,
    many_crops,
    many_questions,
    one_question,
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Bench:
    """What every row needs.

    Attributes:
        engines: By name; `ours` is one of them.
        floors: Of the checkpoint on this machine.
        kind: Of the processor, which decides on the goals.
        turns: How often each engine takes its turn.

    """

    engines: Mapping[str, Contestant]
    floors: Floors
    kind: ProcessorKind
    turns: Turns


def time_one_question(bench: Bench, budget: ImageSeqLength) -> Report:
    """W1: one image, one question."""
    floor = bench.floors.of_step(one_question(0), budget)
    return _time("W1", bench, budget, lambda seed: [one_question(seed)], floor)


def time_many_crops(bench: Bench, budget: ImageSeqLength) -> Report:
    """W2: eight different crops, or four, and one question, in one step."""
    floor = bench.floors.of_step(many_crops(0, budget), budget)
    return _time("W2", bench, budget, lambda seed: [many_crops(seed, budget)], floor)


def time_many_questions(bench: Bench, budget: ImageSeqLength) -> Report:
    """W3: one frame, four questions, in four steps of one workflow, which the host runs in threads."""
    floor = bench.floors.of_one_frame(many_questions(0), budget)
    return _time("W3", bench, budget, many_questions, floor)


def time_known_frame(bench: Bench, budget: ImageSeqLength) -> Report:
    """W8: another question about a frame that was asked about before."""

    def meet(engine: Contestant, repeat: int) -> None:
        if engine.has_caches:
            engine.forget()
            # What is kept of an image does not depend on how long the answer was.
            engine.ask(one_question(repeat), budget, 1)

    floor = bench.floors.of_known_frame(another_question(0), budget)
    return _time("W8", bench, budget, lambda seed: [another_question(seed)], floor, prepare=meet)


def check_counts(counts: Sequence[int]) -> None:
    """Make sure that all engines did the same work."""
    assert set(counts) == {NEW_TOKENS}, f"the answers took {counts} tokens, and not {NEW_TOKENS} each"


def _time(
    row: str,
    bench: Bench,
    budget: ImageSeqLength,
    draw: Callable[[int], Sequence[Step]],
    floor: Floor,
    *,
    prepare: Callable[[Contestant, int], None] = lambda engine, _: engine.forget(),
) -> Report:
    stages: list[Mapping[Stage, float]] = []

    def player(engine: Contestant) -> Callable[[Sequence[Step]], None]:
        def play(steps: Sequence[Step]) -> None:
            if isinstance(engine, Ours):
                # Drop those of the preparation.
                engine.take_stages()
            check_counts(engine.ask_at_once(steps, budget))
            if isinstance(engine, Ours):
                stages.append(engine.take_stages())

        return play

    times = time_in_turns(
        {name: player(engine) for name, engine in bench.engines.items()},
        draw,
        bench.turns,
        prepare=lambda name, repeat: prepare(bench.engines[name], repeat),
    )
    return Report(
        row=row,
        budget=budget,
        times_s=times,
        goals=ratio_goals(
            times, {"peer": PEER_OVER_OURS[bench.kind][row, budget], "vllm": VLLM_OVER_OURS[bench.kind]}
        ),
        floor_s=floor.total_s,
        stages_s={
            stage: (statistics.median(turn.get(stage, 0.0) for turn in stages), getattr(floor, stage, 0.0))
            for stage in STAGES
        },
    )
