"""Ask a checkpoint through the tasks that answer in JSON, and score answers and confidences.

What the other judges ask is free text; here the answer is held to its form, as in a workflow.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from gemma4_block.contract import Answer, Engine, GenerationConfig
from gemma4_block.demo.dialogue import ALL_LABELS
from gemma4_block.demo.evaluation.cases import draw_classes, pick_labels, true_box
from gemma4_block.demo.evaluation.confidence_scoring import score_calibration, score_ranking
from gemma4_block.demo.evaluation.scoring import (
    LabelledBox,
    Row,
    match_boxes,
)
from gemma4_block.demo.scenes import COLORS, SHAPE_KINDS, Scene
from gemma4_block.errors import AnswerError
from gemma4_block.tasks import (
    TASKS,
    Classification,
    Detections,
    MultiLabelClassification,
    Predictions,
    Result,
    TaskRequest,
    TaskType,
)

# The longest true answers are 5 boxes and 7 classes.
_MAX_NEW_TOKENS = 192
_CALIBRATION_LIMIT = 0.10


@dataclass(frozen=True, kw_only=True, slots=True)
class _Asked:
    """A request and what came of it; None where the answer was cut off or could not be read."""

    request: TaskRequest
    result: Result | None

    @property
    def predictions(self) -> Predictions | None:
        """Classes or boxes, where there are any."""
        return None if self.result is None else self.result.predictions


def judge_tasks(
    engine: Engine, scenes: Sequence[Scene], crops: Sequence[Scene], rng: np.random.Generator
) -> tuple[list[Row], list[Row]]:
    """Judge validity, classes, presence, counts and boxes, and how much their confidences are worth."""
    truths = [
        (crop, truth, others)
        for crop in crops
        for truth, others in (
            (crop.shapes[0].color, COLORS),
            (crop.shapes[0].kind, SHAPE_KINDS),
            (crop.shapes[0].label, ALL_LABELS),
        )
    ]
    classes = [tuple(draw_classes(rng, truth, others)) for _, truth, others in truths]
    labels = [tuple(pick_labels(rng, scene)) for scene in scenes]
    classified = _ask(engine, "classification", [crop for crop, _, _ in truths], classes)
    present = _ask(engine, "multi-label-classification", scenes, labels)
    counted = _ask(engine, "counting", scenes, labels)
    detected = _ask(engine, "object-detection", scenes, labels)
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


def _ask(
    engine: Engine, name: TaskType, scenes: Sequence[Scene], classes: Sequence[tuple[str, ...]]
) -> list[_Asked]:
    task = TASKS[name]
    requests = [
        TaskRequest(
            images=(scene.image,), image_seq_length=min(engine.capabilities.image_seq_lengths), classes=names
        )
        for scene, names in zip(scenes, classes, strict=True)
    ]
    generation = GenerationConfig(max_new_tokens=_MAX_NEW_TOKENS)
    answers = engine.answer([task.ask(request) for request in requests], generation)
    found = []
    for request, answer in zip(requests, answers, strict=True):
        if not isinstance(answer, Answer):
            raise answer
        found.append(_Asked(request=request, result=_read(name, answer, request)))
    return found


def _read(name: TaskType, answer: Answer, request: TaskRequest) -> Result | None:
    try:
        result = TASKS[name].read(answer, request)
    except AnswerError:
        return None
    return None if result.error_message is not None else result


def _judge_classification(asked: Sequence[_Asked], truths: Sequence[str]) -> list[Row]:
    confidences, is_right = [], []
    for one, truth in zip(asked, truths, strict=True):
        top = one.predictions.top if isinstance(one.predictions, Classification) else None
        confidences.append(0.0 if top is None or top.confidence is None else top.confidence)
        is_right.append(top is not None and top.class_name == truth)
    return [
        Row(name="task classification", value=float(np.mean(is_right)), target=0.95, n=len(is_right)),
        score_calibration("task classification", confidences, is_right, limit=_CALIBRATION_LIMIT),
    ]


def _judge_presence(asked: Sequence[_Asked], scenes: Sequence[Scene]) -> list[Row]:
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
        score_calibration("task multi-label", confidences, is_right, limit=_CALIBRATION_LIMIT),
    ]


def _judge_counts(asked: Sequence[_Asked], scenes: Sequence[Scene]) -> Row:
    is_right = [
        one.result is not None
        and one.result.parsed
        == {name: sum(shape.label == name for shape in scene.shapes) for name in one.request.classes}
        for one, scene in zip(asked, scenes, strict=True)
    ]
    return Row(name="task counting", value=float(np.mean(is_right)), n=len(is_right))


def _judge_detection(asked: Sequence[_Asked], scenes: Sequence[Scene]) -> list[Row]:
    confidences, is_right, true_count = [], [], 0
    for one, scene in zip(asked, scenes, strict=True):
        items = one.predictions.items if isinstance(one.predictions, Detections) else ()
        height, width = scene.image.shape[:2]
        given = [
            LabelledBox(
                label=item.class_name,
                box_yxyx_1000=(
                    1000 * item.box_xyxy_px[1] / height,
                    1000 * item.box_xyxy_px[0] / width,
                    1000 * item.box_xyxy_px[3] / height,
                    1000 * item.box_xyxy_px[2] / width,
                ),
            )
            for item in items
        ]
        matched = match_boxes(given, [true_box(scene, shape) for shape in scene.shapes])
        confidences += [0.0 if item.confidence is None else item.confidence for item in items]
        is_right += [box in [pair[0] for pair in matched] for box in given]
        true_count += len(scene.shapes)
    f1 = 2 * sum(is_right) / max(1, len(is_right) + true_count)
    return [
        Row(name="task detection, F1 at IoU 0.5", value=f1, target=0.80, n=true_count),
        score_ranking("task detection", confidences, is_right),
        score_calibration("task detection", confidences, is_right),
    ]
