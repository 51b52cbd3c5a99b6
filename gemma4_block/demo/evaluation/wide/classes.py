"""Ask which class fits a shape or a thing that fills its picture, and where none does."""

from collections.abc import Sequence

import numpy as np

from gemma4_block.contract import Engine, ImageSeqLength
from gemma4_block.demo.evaluation.asking import ask_requests
from gemma4_block.demo.evaluation.scoring import Row
from gemma4_block.demo.evaluation.wide.pictures import draw_crops
from gemma4_block.demo.training.asking import KINDS, LABELS
from gemma4_block.demo.training.drawing import Picture
from gemma4_block.tasks import Classification, TaskRequest

Rng = np.random.Generator

_OTHER = "other"
_MOST_WRONG = 11


def judge_classes(engine: Engine, budget: ImageSeqLength, count: int, seed: int) -> list[Row]:
    """Judge classification, without and with `other` among two to twelve classes.

    Args:
        engine: Asked in batches.
        budget: Of each image.
        count: Pictures.
        seed: Root of all draws.

    Returns:
        The share that is right by label and by kind, and with `other` where one fits and where none does.

    """
    rng = np.random.default_rng(seed)
    pictures = draw_crops(rng, count)
    labels = [picture.things[0].label for picture in pictures]
    kinds = [picture.things[0].kind for picture in pictures]
    by_label = [_draw_classes(rng, label, LABELS) for label in labels]
    by_kind = [_draw_classes(rng, kind, KINDS) for kind in kinds]
    fitting = [(*classes, _OTHER) for classes in by_label]
    lacking = [
        (*(one for one in classes if one != label), _OTHER)
        for classes, label in zip(by_label, labels, strict=True)
    ]
    right = [
        *_judge(engine, budget, pictures, by_label, labels),
        *_judge(engine, budget, pictures, by_kind, kinds),
    ]
    fits = _judge(engine, budget, pictures, fitting, labels)
    lacks = _judge(engine, budget, pictures, lacking, [_OTHER] * count)
    return [
        Row(name="classify, all backgrounds", value=float(np.mean(right)), target=0.97, n=len(right)),
        Row(name="classify with other, one fits", value=float(np.mean(fits)), target=0.95, n=count),
        Row(name="classify with other, none fits", value=float(np.mean(lacks)), target=0.95, n=count),
    ]


def _draw_classes(rng: Rng, truth: str, known: Sequence[str]) -> tuple[str, ...]:
    wrong = [name for name in known if name != truth]
    count = int(rng.integers(1, _MOST_WRONG + 1))
    classes = [truth, *(wrong[index] for index in rng.permutation(len(wrong))[:count])]
    rng.shuffle(classes)
    return tuple(classes)


def _judge(
    engine: Engine,
    budget: ImageSeqLength,
    pictures: Sequence[Picture],
    classes: Sequence[tuple[str, ...]],
    truths: Sequence[str],
) -> list[bool]:
    requests = [
        TaskRequest(images=(picture.image,), image_seq_length=budget, classes=names)
        for picture, names in zip(pictures, classes, strict=True)
    ]
    return [
        isinstance(one.predictions, Classification)
        and one.predictions.top is not None
        and one.predictions.top.class_name == truth
        for one, truth in zip(ask_requests(engine, "classification", requests), truths, strict=True)
    ]
