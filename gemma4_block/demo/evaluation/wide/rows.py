"""Ask about wide pictures at each budget that a checkpoint claims."""

from collections.abc import Callable, Sequence
from dataclasses import replace

from gemma4_block.contract import Engine, ImageSeqLength
from gemma4_block.demo.evaluation.asking import list_claimed
from gemma4_block.demo.evaluation.scoring import Row
from gemma4_block.demo.evaluation.wide.answers import judge_backpacks, judge_forms, judge_texts
from gemma4_block.demo.evaluation.wide.boxes import judge_boxes
from gemma4_block.demo.evaluation.wide.classes import judge_classes
from gemma4_block.demo.evaluation.wide.texts import judge_conditions, judge_manners

BUDGETS: tuple[ImageSeqLength, ...] = (70, 140, 280)
"""Budgets that are judged, where the checkpoint claims them."""

_Judge = Callable[[Engine, ImageSeqLength, int, int], list[Row]]
_JUDGES: tuple[_Judge, ...] = (
    judge_conditions,
    judge_manners,
    judge_classes,
    judge_boxes,
    judge_forms,
    judge_texts,
    judge_backpacks,
)


def evaluate_wide(
    engine: Engine, *, budgets: Sequence[ImageSeqLength], picture_count: int, seed: int
) -> list[Row]:
    """Ask about wide pictures of the second generator, the same ones at each budget.

    Args:
        engine: Asked in batches, always for the likeliest answer.
        budgets: Of each image; those that the checkpoint does not claim are left out.
        picture_count: Pictures of each kind.
        seed: Root of all draws; the same seed asks the same questions about the same pictures.

    Returns:
        The rows, those of the first budget first.

    """
    return [
        replace(row, budget=budget)
        for budget in list_claimed(engine, budgets)
        for index, judge in enumerate(_JUDGES)
        for row in judge(engine, budget, picture_count, seed + index)
    ]
