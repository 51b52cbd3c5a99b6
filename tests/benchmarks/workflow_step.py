"""W7: what the host and our block add to the engine's own time."""

import statistics
from collections.abc import Mapping, Sequence

import numpy as np

from gemma4_block.cli.workflows import WorkflowRunner
from gemma4_block.contract import Answer, Engine, GenerationConfig, ImageSeqLength, Prompt
from gemma4_block.testing import ScriptedProvider
from tests.benchmarks.floors import Floors
from tests.benchmarks.reports import Goal, Report, Turns, time_in_turns
from tests.benchmarks.workloads import QUESTIONS, one_question, photo, write_workflow

# The fewer, the less the engine's own jitter hides what is added; that does not depend on how many there are.
_NEW_TOKENS = 4
_MOST_MS = 5.0
_MOST_SHARE = 0.03


def time_workflow_step(
    engines: Mapping[str, Engine], floors: Floors, budget: ImageSeqLength, turns: Turns
) -> Report:
    """W7: a workflow of one step beside the bare call with the same prompt, about an image both have seen.

    Args:
        engines: By name of their checkpoint; the floor is that of `e2b-width`.
        floors: Of `e2b-width`.
        budget: Visual token budget.
        turns: How often each takes its turn.

    """
    goals: list[Goal] = []
    figures: dict[str, float] = {}
    times: dict[str, list[float]] = {}
    for name, engine in engines.items():
        times = _time(engine, budget, turns)
        bare_ms = 1000 * statistics.median(times["bare"])
        added_ms = [1000 * (whole - bare) for whole, bare in zip(times["ours"], times["bare"], strict=True)]
        most_ms = max(_MOST_MS, _MOST_SHARE * bare_ms)
        goals.append(Goal(name=f"ms added, {name}", value=statistics.median(added_ms), at_most=most_ms))
        quartiles = statistics.quantiles(added_ms, n=4) if len(added_ms) > 1 else added_ms
        figures |= {
            f"{name}_bare_ms": bare_ms,
            f"{name}_added_ms": goals[-1].value,
            f"{name}_added_percent": 100 * goals[-1].value / bare_ms,
            # Half of the turns differ by no more than this.
            f"{name}_added_quartiles_ms": quartiles[-1] - quartiles[0],
        }
    floor_s = floors.of_known_frame(one_question(0), budget, _NEW_TOKENS).total_s
    return Report(row="W7", budget=budget, times_s=times, goals=goals, floor_s=floor_s, figures=figures)


def _time(engine: Engine, budget: ImageSeqLength, turns: Turns) -> dict[str, list[float]]:
    image = photo(0)
    workflow = write_workflow(QUESTIONS[0], budget, model_version="gemma-4-demo", max_new_tokens=_NEW_TOKENS)
    # The engine is given, whatever the workflow calls it.
    runner = WorkflowRunner(
        workflow, init_parameters={"gemma4_block.engine_provider": ScriptedProvider(engine)}
    )
    bgr = np.ascontiguousarray(image[..., ::-1])
    prompt = Prompt(text=QUESTIONS[0], images=(image,), image_seq_length=budget)
    generation = GenerationConfig(max_new_tokens=_NEW_TOKENS)

    def run(_: int) -> Sequence[object]:
        return [row["answer"] for row in runner.run({"image": bgr})]

    def ask(_: int) -> Sequence[object]:
        answers = engine.answer([prompt], generation)
        return [answer.text for answer in answers if isinstance(answer, Answer)]

    # Both have also seen the image after this.
    assert run(0) == ask(0), "the step and the bare call ask different things"
    return time_in_turns({"ours": run, "bare": ask}, int, turns)
