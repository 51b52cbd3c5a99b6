"""Ask a checkpoint through the tasks that answer in JSON, and score answers and confidences.

What the other judges ask is free text; here the answer is held to its form, as in a workflow.
"""

from collections.abc import Sequence

import numpy as np

from gemma4_block.contract import Engine
from gemma4_block.demo.evaluation.asking import Asked, ask_task, match_detections
from gemma4_block.demo.evaluation.cases import draw_classes, list_truths, pick_labels
from gemma4_block.demo.evaluation.confidence_scoring import (
    CALIBRATION_LIMIT,
    score_calibration,
    score_ranking,
)
from gemma4_block.demo.evaluation.scoring import Row
from gemma4_block.demo.scenes import Scene
from gemma4_block.tasks import Classification, MultiLabelClassification


def judge_tasks(
    engine: Engine, scenes: Sequence[Scene], crops: Sequence[Scene], rng: np.random.Generator
) -> tuple[list[Row], list[Row]]:
    """Judge validity, classes, presence, counts and boxes, and how much their confidences are worth."""
    truths = list_truths(crops)
    classes = [tuple(draw_classes(rng, truth, others)) for _, truth, others in truths]
    labels = [tuple(pick_labels(rng, scene)) for scene in scenes]
    classified = ask_task(engine, "classification", [crop for crop, _, _ in truths], classes)
    present = ask_task(engine, "multi-label-classification", scenes, labels)
    counted = ask_task(engine, "counting", scenes, labels)
    detected = ask_task(engine, "object-detection", scenes, labels)
    asked = [*classified, *present, *counted, *detected]
    valid = sum(one.result is not None for one in asked)
    rows = [
        Row(name="answers in JSON, valid", value=valid / len(asked), target=1.0, n=len(asked)),
        *_judge_classification(classified, [truth for _, truth, _ in truths]),
        *_judge_presence(present, scenes),
        _judge_counts(counted, scenes),
        *_judge_detection(detected, scenes),
    ]
    return rows, []


def _judge_classification(asked: Sequence[Asked], truths: Sequence[str]) -> list[Row]:
    confidences, is_right = [], []
    for one, truth in zip(asked, truths, strict=True):
        top = one.predictions.top if isinstance(one.predictions, Classification) else None
        confidences.append(0.0 if top is None or top.confidence is None else top.confidence)
        is_right.append(top is not None and top.class_name == truth)
    return [
        Row(name="task classification", value=float(np.mean(is_right)), target=0.95, n=len(is_right)),
        score_calibration("task classification", confidences, is_right, limit=CALIBRATION_LIMIT),
    ]


def _judge_presence(asked: Sequence[Asked], scenes: Sequence[Scene]) -> list[Row]:
    confidences, is_right, is_whole = [], [], []
    for one, scene in zip(asked, scenes, strict=True):
        there = {shape.label for shape in scene.shapes}
        scores = one.predictions.scores if isinstance(one.predictions, MultiLabelClassification) else ()
        given = [0.0 if score.confidence is None else score.confidence for score in scores]
        right = [
            (confidence >= 0.5) == (score.class_name in there)
            for score, confidence in zip(scores, given, strict=True)
        ]
        confidences += [max(confidence, 1 - confidence) for confidence in given]
        is_right += right
        is_whole.append(bool(right) and all(right))
    return [
        Row(name="task multi-label", value=float(np.mean(is_whole)), n=len(is_whole)),
        score_calibration("task multi-label", confidences, is_right, limit=CALIBRATION_LIMIT),
    ]


def _judge_counts(asked: Sequence[Asked], scenes: Sequence[Scene]) -> Row:
    is_right = [
        one.result is not None
        and one.result.parsed
        == {name: sum(shape.label == name for shape in scene.shapes) for name in one.request.classes}
        for one, scene in zip(asked, scenes, strict=True)
    ]
    return Row(name="task counting", value=float(np.mean(is_right)), n=len(is_right))


def _judge_detection(asked: Sequence[Asked], scenes: Sequence[Scene]) -> list[Row]:
    judged = [box for one, scene in zip(asked, scenes, strict=True) for box in match_detections(one, scene)]
    confidences, is_right = [confidence for confidence, _ in judged], [right for _, right in judged]
    true_count = sum(len(scene.shapes) for scene in scenes)
    f1 = 2 * sum(is_right) / max(1, len(is_right) + true_count)
    return [
        Row(name="task detection, F1 at IoU 0.5", value=f1, target=0.80, n=true_count),
        score_ranking("task detection", confidences, is_right),
        score_calibration("task detection", confidences, is_right, limit=CALIBRATION_LIMIT),
    ]
