"""Ask a demo checkpoint about drawn scenes that its training never saw, and report how often it is right."""

import hashlib
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from gemma4_block.contract import Engine, ImageSeqLength
from gemma4_block.demo.evaluation import judges, presence_judges, task_judges
from gemma4_block.demo.evaluation.asking import AtBudget, list_claimed
from gemma4_block.demo.evaluation.cases import draw_worn
from gemma4_block.demo.evaluation.scoring import Row
from gemma4_block.demo.evaluation.wide import BUDGETS, evaluate_wide
from gemma4_block.demo.scenes import draw_crop, draw_number, draw_scene

CHECKPOINT_DIRECTORY = Path(__file__).parents[1] / "checkpoint"
SAVED_REPORT = Path(__file__).parent / "report.json"
"""The results of this folder's command for the shipped checkpoint; docs/demo-model.md shows them."""

# Root of the judged scenes; no training draws from it.
HELD_OUT_SEED = 20261125


@dataclass(frozen=True, kw_only=True, slots=True)
class Report:
    """The results of an evaluation.

    Attributes:
        rows: The measures at each budget, with targets where there are demands.
        weak_spots: The same answers cut finer, to see what to train more.
        wide_rows: The measures on wide pictures.
        duration_s: Wall-clock time of drawing, asking and scoring.

    """

    rows: tuple[Row, ...]
    weak_spots: tuple[Row, ...]
    wide_rows: tuple[Row, ...]
    duration_s: float


def evaluate(
    engine: Engine,
    *,
    scene_count: int = 300,
    picture_count: int = 60,
    budgets: Sequence[ImageSeqLength] = BUDGETS,
    seed: int = HELD_OUT_SEED,
) -> Report:
    """Ask about held-out scenes, crops and numbers, then about wide pictures, and score the answers.

    Args:
        engine: Asked in batches, always for the likeliest answer.
        scene_count: How many scenes, crops and numbers each; 0 leaves these rows out.
        picture_count: How many wide pictures of each kind; 0 leaves these rows out.
        budgets: Of each image; those that the checkpoint does not claim are left out.
        seed: Root of all draws; the same seed asks the same questions about the same scenes.

    Returns:
        The report; equal for equal answers but for its duration.

    """
    started = time.monotonic()
    rows: list[Row] = []
    weak_spots: list[Row] = []
    for budget in list_claimed(engine, budgets) if scene_count else ():
        found = _evaluate_scenes(AtBudget(engine, budget), scene_count, seed)
        for listed, part in zip((rows, weak_spots), found, strict=True):
            listed += [replace(row, budget=budget) for row in part]
    wide_rows = (
        evaluate_wide(engine, budgets=budgets, picture_count=picture_count, seed=seed)
        if picture_count
        else []
    )
    return Report(
        rows=tuple(rows),
        weak_spots=tuple(weak_spots),
        wide_rows=tuple(wide_rows),
        duration_s=time.monotonic() - started,
    )


def _evaluate_scenes(engine: Engine, scene_count: int, seed: int) -> tuple[list[Row], list[Row]]:
    scenes = draw_worn(seed, 0, draw_scene, scene_count)
    crops = draw_worn(seed, 1, draw_crop, scene_count)
    numbers = draw_worn(seed, 2, draw_number, scene_count)
    parts = (
        judges.judge_counts_and_descriptions(engine, scenes, np.random.default_rng((seed, 3))),
        judges.judge_crops(engine, crops, np.random.default_rng((seed, 4))),
        judges.judge_numbers(engine, numbers),
        judges.judge_boxes(engine, scenes, np.random.default_rng((seed, 5))),
        judges.judge_classes(engine, scenes, np.random.default_rng((seed, 6))),
        judges.judge_untrained_questions(engine, scenes),
        task_judges.judge_tasks(engine, scenes, crops, np.random.default_rng((seed, 7))),
        presence_judges.judge_absence(engine, scenes, crops, np.random.default_rng((seed, 8))),
    )
    return (
        [row for rows, _ in parts for row in rows],
        [row for _, weak_spots in parts for row in weak_spots],
    )


def hash_weights(checkpoint: Path) -> str:
    """Return the SHA-256 of a checkpoint's weights, which tells which ones were judged."""
    return hashlib.sha256((checkpoint / "model.safetensors").read_bytes()).hexdigest()
