"""Ask a checkpoint for what is not there, and score whether its confidences say so."""

from collections.abc import Sequence

import numpy as np

from gemma4_block.contract import Engine
from gemma4_block.demo.dialogue import ALL_LABELS
from gemma4_block.demo.evaluation.asking import ask_task, match_detections
from gemma4_block.demo.evaluation.cases import draw_classes, list_truths
from gemma4_block.demo.evaluation.confidence_scoring import (
    CALIBRATION_LIMIT,
    score_calibration,
    score_ranking,
)
from gemma4_block.demo.evaluation.scoring import Row
from gemma4_block.demo.scenes import Scene
from gemma4_block.tasks import Classification

# What a filter by confidence would keep.
_THRESHOLD = 0.5
_OTHER = "other"
_UNKNOWN = "person"


def judge_absence(
    engine: Engine, scenes: Sequence[Scene], crops: Sequence[Scene], rng: np.random.Generator
) -> tuple[list[Row], list[Row]]:
    """Judge detection of one class of several and of absent ones, and classification where none fits."""
    present = [sorted({shape.label for shape in scene.shapes}) for scene in scenes]
    mixed = [(scene, labels) for scene, labels in zip(scenes, present, strict=True) if len(labels) > 1]
    filled = [(scene, labels) for scene, labels in zip(scenes, present, strict=True) if labels]
    one_each = [_pick(rng, labels) for _, labels in mixed]
    absent = [_pick(rng, [label for label in ALL_LABELS if label not in labels]) for _, labels in filled]
    rows = [
        *_judge_one_of_several(engine, [scene for scene, _ in mixed], one_each),
        _judge_absent("an absent class", engine, [scene for scene, _ in filled], absent),
        _judge_absent("an unknown class", engine, [scene for scene, _ in filled], [_UNKNOWN] * len(filled)),
        *_judge_other(engine, crops, rng),
    ]
    return rows, []


def _judge_one_of_several(engine: Engine, scenes: Sequence[Scene], labels: Sequence[str]) -> list[Row]:
    name = "task detection of one class of several"
    asked = ask_task(engine, "object-detection", scenes, [(label,) for label in labels])
    judged = [box for one, scene in zip(asked, scenes, strict=True) for box in match_detections(one, scene)]
    kept = [right for confidence, right in judged if confidence > _THRESHOLD]
    true_count = sum(
        shape.label == label for scene, label in zip(scenes, labels, strict=True) for shape in scene.shapes
    )
    confidences, is_right = [confidence for confidence, _ in judged], [right for _, right in judged]
    return [
        Row(
            name=f"{name}, precision above 0.5",
            value=sum(kept) / max(1, len(kept)),
            target=0.80,
            n=len(kept),
        ),
        Row(name=f"{name}, recall above 0.5", value=sum(kept) / max(1, true_count), n=true_count),
        score_ranking(name, confidences, is_right),
        score_calibration(name, confidences, is_right, limit=CALIBRATION_LIMIT),
    ]


def _judge_absent(name: str, engine: Engine, scenes: Sequence[Scene], labels: Sequence[str]) -> Row:
    asked = ask_task(engine, "object-detection", scenes, [(label,) for label in labels])
    sure = sum(
        confidence > _THRESHOLD
        for one, scene in zip(asked, scenes, strict=True)
        for confidence, _ in match_detections(one, scene)
    )
    return Row(
        name=f"task detection of {name}, boxes above 0.5 an image",
        value=sure / max(1, len(scenes)),
        limit=0.05,
        n=len(scenes),
    )


def _judge_other(engine: Engine, crops: Sequence[Scene], rng: np.random.Generator) -> list[Row]:
    name = "task classification with other"
    truths = list_truths(crops)
    drawn = [draw_classes(rng, truth, others) for _, truth, others in truths]
    fitting = [(*classes, _OTHER) for classes in drawn]
    lacking = [
        (*(one for one in classes if one != truth), _OTHER)
        for classes, (_, truth, _) in zip(drawn, truths, strict=True)
    ]
    images = [crop for crop, _, _ in truths]
    asked = ask_task(engine, "classification", [*images, *images], [*fitting, *lacking])
    wanted = [*(truth for _, truth, _ in truths), *(_OTHER for _ in truths)]
    confidences, is_right = [], []
    for one, truth in zip(asked, wanted, strict=True):
        top = one.predictions.top if isinstance(one.predictions, Classification) else None
        confidences.append(0.0 if top is None or top.confidence is None else top.confidence)
        is_right.append(top is not None and top.class_name == truth)
    half = len(truths)
    return [
        Row(name=f"{name}, one fits", value=float(np.mean(is_right[:half])), target=0.95, n=half),
        Row(name=f"{name}, none fits", value=float(np.mean(is_right[half:])), target=0.95, n=half),
        score_calibration(name, confidences, is_right, limit=CALIBRATION_LIMIT),
    ]


def _pick(rng: np.random.Generator, labels: Sequence[str]) -> str:
    return labels[int(rng.integers(len(labels)))]
