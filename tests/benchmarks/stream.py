"""W9: a stream whose frames show five things; each is found, cut out and described, as a workflow does it."""

import statistics
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from gemma4_block.cli.workflows import (
    DETECTOR_DIRECTORY,
    Specification,
    WorkflowRunner,
    load_example,
    stock_model_parameters,
)
from gemma4_block.contract import Engine, ImageSeqLength, RgbImage
from gemma4_block.demo.scenes import draw_scene
from gemma4_block.testing import ScriptedProvider
from tests.benchmarks.contestants import Contestant, Ours
from tests.benchmarks.reports import Report, time_in_turns
from tests.benchmarks.rows import Bench, check_counts
from tests.benchmarks.workloads import NEW_TOKENS, QUESTIONS, Step

CROPS = 5
_MOST_TRIES = 100
_WARM_UP_FRAME = -1

Play = Callable[[RgbImage], list[int]]
"""Answers about the crops of a frame, and says how many tokens each answer took."""


def time_stream(bench: Bench, budget: ImageSeqLength) -> Report:
    """W9: frame after frame, each asked about by all engines before the next.

    Ours runs the shipped workflow `detect_then_describe`. The others get the crops of the same detector,
    whose time is counted for them too.
    """
    finder = CropFinder()
    players = {name: _player(engine, finder, budget) for name, engine in bench.engines.items()}
    warm_up = finder.draw_frame(_WARM_UP_FRAME)
    for play in players.values():
        play(warm_up)
    times = time_in_turns(
        players,
        finder.draw_frame,
        bench.turns,
        prepare=lambda name, _: bench.engines[name].forget(),
    )
    floor = bench.floors.of_step(_ask(finder.find(warm_up)), budget)
    return Report(
        row="W9",
        budget=budget,
        times_s=times,
        goals=[],
        floor_s=floor.total_s,
        figures={
            f"{name}_answers_per_minute": 60 * CROPS / statistics.median(found)
            for name, found in times.items()
        },
    )


class CropFinder:
    """The demo's detector and the host's block that cuts crops, as the first two steps of a workflow."""

    def __init__(self) -> None:
        definition = load_example("detect_then_describe")
        definition["steps"] = _steps(definition)[:2]
        definition["outputs"] = [{"type": "JsonField", "name": "crops", "selector": "$steps.crop.crops"}]
        self._runner = WorkflowRunner(definition, init_parameters=stock_model_parameters())

    def find(self, frame: RgbImage) -> list[RgbImage]:
        """Return the crops of a frame, RGB."""
        (row,) = self._runner.run(workflow_inputs(frame))
        return [np.ascontiguousarray(crop.numpy_image[..., ::-1]) for crop in row["crops"]]

    def draw_frame(self, number: int) -> RgbImage:
        """Draw a frame of the stream in which the detector finds five things."""
        for scene in _draw(number):
            if len(self.find(scene)) == CROPS:
                return scene
        raise RuntimeError(f"The detector found {CROPS} things in none of {_MOST_TRIES} frames.")


def describing_workflow(budget: ImageSeqLength) -> Specification:
    """Return the shipped workflow, with the budget and the length of answers of the benchmark."""
    definition = load_example("detect_then_describe")
    (step,) = (step for step in _steps(definition) if step["name"] == "gemma")
    step |= {"image_seq_length": budget, "max_new_tokens": NEW_TOKENS}
    outputs = definition["outputs"]
    assert isinstance(outputs, list)
    # What is drawn stays part of it, and serves nobody here.
    definition["outputs"] = [output for output in outputs if output["name"] == "output_tokens"]
    return definition


def workflow_inputs(frame: RgbImage) -> dict[str, object]:
    """Return what the workflow gets: an image in BGR, and which detector to use."""
    return {
        "image": np.ascontiguousarray(frame[..., ::-1]),
        "detector": str(DETECTOR_DIRECTORY),
        "question": QUESTIONS[0],
    }


def make_describer(engine: Engine, budget: ImageSeqLength) -> Play:
    """Return what runs the shipped workflow on a frame with an engine."""
    parameters = stock_model_parameters() | {"gemma4_block.engine_provider": ScriptedProvider(engine)}
    runner = WorkflowRunner(describing_workflow(budget), init_parameters=parameters)

    def describe(frame: RgbImage) -> list[int]:
        (row,) = runner.run(workflow_inputs(frame))
        counts: list[int] = row["output_tokens"]
        return counts

    return describe


def _player(engine: Contestant, finder: CropFinder, budget: ImageSeqLength) -> Callable[[RgbImage], None]:
    answer = make_describer(engine.engine, budget) if isinstance(engine, Ours) else None

    def play(frame: RgbImage) -> None:
        counts = engine.ask(_ask(finder.find(frame)), budget) if answer is None else answer(frame)
        check_counts(counts)
        assert len(counts) == CROPS, f"{len(counts)} answers about {CROPS} crops"

    return play


def _ask(crops: list[RgbImage]) -> Step:
    return [(crop, QUESTIONS[0]) for crop in crops]


def _draw(number: int) -> Iterator[RgbImage]:
    rng = np.random.default_rng([number % 2**32, CROPS])
    for _ in range(_MOST_TRIES):
        yield draw_scene(rng, shape_count=CROPS).image


def _steps(definition: Specification) -> list[dict[str, Any]]:
    steps = definition["steps"]
    assert isinstance(steps, list)
    return steps
