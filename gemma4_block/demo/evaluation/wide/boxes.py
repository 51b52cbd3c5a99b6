"""Ask where things are in wide pictures: at every aspect ratio, among many classes, for one of several."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from gemma4_block.contract import Engine, ImageSeqLength
from gemma4_block.demo.evaluation.asking import Asked, ask_requests, match_to_truth
from gemma4_block.demo.evaluation.held_out import CONDITIONS
from gemma4_block.demo.evaluation.scoring import LabelledBox, Row
from gemma4_block.demo.evaluation.wide.pictures import (
    ASPECT_RATIOS,
    draw_mixed,
    draw_pictures,
    find_truth,
    list_labels,
)
from gemma4_block.demo.training.asking import FOREIGN, LABELS
from gemma4_block.demo.training.drawing import Picture
from gemma4_block.tasks import Detections, TaskRequest

Rng = np.random.Generator

_MANY_CLASSES = 24
# The longest true answer has 8 boxes of about 30 tokens.
_MAX_NEW_TOKENS = 320
# What a filter by confidence would keep.
_THRESHOLD = 0.5
# Of so many pictures the boxes of absent classes are counted.
_COUNTED_PICTURES = 40


@dataclass(frozen=True, kw_only=True, slots=True)
class _Exam:
    """Pictures that are asked about, each with classes of its own."""

    engine: Engine
    budget: ImageSeqLength
    pictures: Sequence[Picture]

    def ask(self, classes: Sequence[tuple[str, ...]]) -> list[Asked]:
        requests = [
            TaskRequest(images=(picture.image,), image_seq_length=self.budget, classes=names)
            for picture, names in zip(self.pictures, classes, strict=True)
        ]
        return ask_requests(self.engine, "object-detection", requests, max_new_tokens=_MAX_NEW_TOKENS)


def judge_boxes(engine: Engine, budget: ImageSeqLength, count: int, seed: int) -> list[Row]:
    """Judge detection.

    Args:
        engine: Asked in batches.
        budget: Of each image.
        count: Pictures of each kind.
        seed: Root of all draws.

    Returns:
        F1 at IoU 0.5 by aspect ratio, with things of every day and with 24 classes; precision and recall
        where one class of several is asked for; boxes of absent classes, and how often none is an empty list.

    """
    rows = []
    for index, name in enumerate(ASPECT_RATIOS):
        rng = np.random.default_rng((seed, index))
        exam = _Exam(engine=engine, budget=budget, pictures=draw_pictures(rng, CONDITIONS[name], count))
        shape = "1:1" if name == ASPECT_RATIOS[0] else name
        rows.append(_judge_f1(f"boxes, F1 at IoU 0.5, {shape}", 0.85, rng, exam))
    rng = np.random.default_rng((seed, len(ASPECT_RATIOS)))
    exam = _Exam(engine=engine, budget=budget, pictures=draw_mixed(rng, count))
    several = [picture for picture in exam.pictures if len(list_labels(picture)) > 1]
    return [
        *rows,
        _judge_f1("boxes, F1 at IoU 0.5, all backgrounds", None, rng, exam),
        _judge_f1("boxes, F1 at IoU 0.5, 24 classes", 0.75, rng, exam, others=_MANY_CLASSES),
        *_judge_one_of_several(rng, replace(exam, pictures=several)),
        *_judge_absent("absent", LABELS, rng, exam),
        *_judge_absent("unknown", FOREIGN, rng, exam),
    ]


def score_f1(asked: Sequence[Asked], truths: Sequence[Sequence[LabelledBox]]) -> tuple[float, int]:
    """Return the F1 of all answers together, and how many boxes there are to find."""
    judged = [
        one for answer, truth in zip(asked, truths, strict=True) for one in match_to_truth(answer, truth)
    ]
    true_count = sum(map(len, truths))
    return 2 * sum(right for _, right in judged) / max(1, len(judged) + true_count), true_count


def score_sure(
    asked: Sequence[Asked], truths: Sequence[Sequence[LabelledBox]]
) -> tuple[float, float, int, int]:
    """Score the boxes whose confidence is above one half.

    Args:
        asked: Detections.
        truths: For each of them the boxes that it should have.

    Returns:
        Precision, recall, how many boxes there are, and how many there should be.

    """
    kept = [
        right
        for answer, truth in zip(asked, truths, strict=True)
        for confidence, right in match_to_truth(answer, truth)
        if confidence > _THRESHOLD
    ]
    true_count = sum(map(len, truths))
    return sum(kept) / max(1, len(kept)), sum(kept) / max(1, true_count), len(kept), true_count


def _judge_f1(name: str, target: float | None, rng: Rng, exam: _Exam, *, others: int = 2) -> Row:
    """Ask for what is there, among up to so many classes that are not, 24 in all at most."""
    classes = []
    for picture in exam.pictures:
        present = list_labels(picture)
        absent = [label for label in LABELS if label not in present]
        extra = min(others, _MANY_CLASSES - len(present))
        chosen = [*present, *(absent[index] for index in rng.permutation(len(absent))[:extra])]
        rng.shuffle(chosen)
        classes.append(tuple(chosen))
    f1, true_count = score_f1(exam.ask(classes), [find_truth(picture) for picture in exam.pictures])
    return Row(name=name, value=f1, target=target, n=true_count)


def _judge_one_of_several(rng: Rng, exam: _Exam) -> list[Row]:
    wanted = [_pick(rng, list_labels(picture)) for picture in exam.pictures]
    truths = [
        [box for box in find_truth(picture) if box.label == label]
        for picture, label in zip(exam.pictures, wanted, strict=True)
    ]
    precision, recall, kept, true_count = score_sure(exam.ask([(label,) for label in wanted]), truths)
    name = "boxes of one class of several"
    return [
        Row(name=f"{name}, precision above 0.5", value=precision, target=0.80, n=kept),
        Row(name=f"{name}, recall above 0.5", value=recall, target=0.80, n=true_count),
    ]


def _judge_absent(name: str, known: Sequence[str], rng: Rng, exam: _Exam) -> list[Row]:
    wanted = [
        (_pick(rng, [label for label in known if label not in list_labels(picture)]),)
        for picture in exam.pictures
    ]
    asked = exam.ask(wanted)
    count = len(exam.pictures)
    sure = score_sure(asked, [[] for _ in asked])[2]
    empty = sum(isinstance(one.predictions, Detections) and not one.predictions.items for one in asked)
    return [
        Row(
            name=f"boxes of an {name} class above 0.5, in 40 pictures",
            value=_COUNTED_PICTURES * sure / count,
            limit=2.0,
            n=count,
        ),
        Row(name=f"an {name} class is an empty list", value=empty / count, n=count),
    ]


def _pick(rng: Rng, labels: Sequence[str]) -> str:
    return labels[int(rng.integers(len(labels)))]
