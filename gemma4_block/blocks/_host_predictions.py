"""Predictions in the host's own form, made by its own code, so that every consumer takes them."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from roboflow_workflows.core_steps.common.utils import empty_detections_with_image_metadata
from roboflow_workflows.core_steps.common.vlm_decoding.classification import (
    parse_multi_class_classification_results,
    parse_multi_label_classification_results,
)
from roboflow_workflows.core_steps.common.vlm_decoding.detections import build_detections
from roboflow_workflows.core_steps.common.vlm_decoding.tensor_native import to_tensor_native_predictions
from roboflow_workflows.execution_engine.entities.base import WorkflowImageData
from typing_extensions import assert_never

from gemma4_block.tasks import Classification, ClassScore, Detections, MultiLabelClassification, Predictions

# The host wants a number where a confidence is. This one says that there is none, and becomes null in JSON.
_ABSENT = math.nan


def build_predictions(
    predictions: Predictions, image: WorkflowImageData, classes: Sequence[str], inference_id: str
) -> Any:  # noqa: ANN401 - sv.Detections, a dictionary, or what the host has for them in tensor mode
    """Return predictions as the stock blocks return them, with our measured confidences.

    Args:
        predictions: What a task read.
        image: What it was read about; gives size, parents and coordinates.
        classes: What was asked for; a class's id is its place.
        inference_id: Of the answer.

    Returns:
        `sv.Detections` in pixels of `image`, or the dictionary of a classification. A confidence that could
        not be measured is NaN.

    """
    names = list(classes)
    match predictions:
        case Detections():
            built = _build_detections(predictions, image, names, inference_id)
        case Classification():
            built = _build_classification(predictions, image, names, inference_id)
        case MultiLabelClassification():
            built = _build_multi_label_classification(predictions, image, names, inference_id)
        case _:
            assert_never(predictions)
    return to_tensor_native_predictions(
        predictions=built, image=image, classes=names, inference_id=inference_id
    )


def _build_detections(
    predictions: Detections, image: WorkflowImageData, classes: list[str], inference_id: str
) -> Any:  # noqa: ANN401
    if not predictions.items:
        # build_detections would forget the size of the image that nothing was found in.
        return empty_detections_with_image_metadata(image=image)
    height, width = image.numpy_image.shape[:2]
    entries = [{"box_2d": list(item.box_xyxy_px), "label": item.class_name} for item in predictions.items]
    detections = build_detections(
        parsed_data=entries,
        box_format="xyxy_absolute",
        image=image,
        classes=classes,
        inference_id=inference_id,
        upload_width=width,
        upload_height=height,
    )
    detections.confidence = np.array([_number(item.confidence) for item in predictions.items], dtype=float)
    return detections


def _build_classification(
    predictions: Classification, image: WorkflowImageData, classes: list[str], inference_id: str
) -> Any:  # noqa: ANN401
    # The host's reader wants a confidence between 0 and 1 and fills in 0 for all other classes.
    _, built = parse_multi_class_classification_results(
        image=image,
        results={"class_name": predictions.top.class_name, "confidence": 1.0},
        classes=classes,
        inference_id=inference_id,
    )
    confidences = _by_class(predictions.scores)
    built["confidence"] = _number(predictions.top.confidence)
    for entry in built["predictions"]:
        entry["confidence"] = confidences[entry["class"]]
    if predictions.top.confidence is None:
        # The host's visualization shows the likeliest class, which is the first where none is likelier.
        built["predictions"].sort(key=lambda entry: entry["class"] != predictions.top.class_name)
    return built


def _build_multi_label_classification(
    predictions: MultiLabelClassification, image: WorkflowImageData, classes: list[str], inference_id: str
) -> Any:  # noqa: ANN401
    _, built = parse_multi_label_classification_results(
        image=image,
        results={"predicted_classes": [{"class": name, "confidence": 1.0} for name in predictions.present]},
        classes=classes,
        inference_id=inference_id,
    )
    for name, confidence in _by_class(predictions.scores).items():
        built["predictions"][name]["confidence"] = confidence
    return built


def _by_class(scores: Sequence[ClassScore]) -> dict[str, float]:
    return {score.class_name: _number(score.confidence) for score in scores}


def _number(confidence: float | None) -> float:
    return _ABSENT if confidence is None else confidence
