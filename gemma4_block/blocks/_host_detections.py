"""The host's detections and classifications, in either of its forms: supervision's, or tensors.

Tensors travel where the server runs with ENABLE_TENSOR_DATA_REPRESENTATION.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeAlias
from zlib import crc32

import numpy as np
import numpy.typing as npt
import supervision as sv
import torch
from inference_models.models.base.classification import (
    ClassificationPrediction,
    MultiLabelClassificationPrediction,
)
from roboflow_workflows.core_steps.common.serializers_tensor import serialise_native_classification
from roboflow_workflows.core_steps.common.tensor_native import (
    split_key_point_prediction,
    strip_host_mirror_metadata,
)
from roboflow_workflows.execution_engine import constants
from roboflow_workflows.execution_engine.entities.types import (
    CLASSIFICATION_PREDICTION_KIND,
    IMAGE_KIND,
    INSTANCE_SEGMENTATION_PREDICTION_KIND,
    INTEGER_KIND,
    KEYPOINT_DETECTION_PREDICTION_KIND,
    LANGUAGE_MODEL_OUTPUT_KIND,
    OBJECT_DETECTION_PREDICTION_KIND,
    STRING_KIND,
    Selector,
)
from supervision.config import CLASS_NAME_DATA_FIELD

DETECTION_KINDS = [
    OBJECT_DETECTION_PREDICTION_KIND,
    INSTANCE_SEGMENTATION_PREDICTION_KIND,
    KEYPOINT_DETECTION_PREDICTION_KIND,
]

if TYPE_CHECKING:
    AnswerSelector: TypeAlias = str
    CropSelector: TypeAlias = str
    DetectionsSelector: TypeAlias = str
else:
    AnswerSelector = Selector(
        kind=[STRING_KIND, LANGUAGE_MODEL_OUTPUT_KIND, CLASSIFICATION_PREDICTION_KIND, INTEGER_KIND]
    )
    CropSelector = Selector(kind=[IMAGE_KIND])
    DetectionsSelector = Selector(kind=DETECTION_KINDS)

SENT_DATA_FIELD: str = constants.DETECTED_CODE_KEY
"""The one data field for free text that the host's server sends with each detection."""

TAKEN_DATA_FIELDS = frozenset(
    {CLASS_NAME_DATA_FIELD, "mask", "xyxy"}
    | {value for name, value in vars(constants).items() if name.isupper() and isinstance(value, str)}
) - {SENT_DATA_FIELD}
"""Data fields that mean something to the host."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Label:
    """The new name of a detection.

    Attributes:
        text: Its new name.
        class_id: 0 or more.
        confidence: Measured, 0 to 1; None leaves the detection its own.

    """

    text: str
    class_id: int
    confidence: float | None = None


def class_id_of(text: str) -> int:
    """Return a number that is the same for the same text in every frame, run and process.

    >>> class_id_of("red"), class_id_of("blue")
    (2053201807, 506907316)
    """
    # 31 bits fit every integer type that class ids travel in.
    return crc32(text.encode(errors="surrogatepass")) & 0x7FFFFFFF


def read_detection_ids(detections: Any) -> list[str | None]:  # noqa: ANN401 - one of the host's forms
    """Return the id of each detection, by which its crop is known; None where it has none."""
    if isinstance(detections, sv.Detections):
        ids = detections.data.get(constants.DETECTION_ID_KEY, [None] * len(detections))
    else:
        ids = [box.get(constants.DETECTION_ID_KEY) for box in _boxes(detections)]
    return [None if one is None else str(one) for one in ids]


def read_classification(answer: Any) -> Any:  # noqa: ANN401 - whatever a step gave
    """Return a classification of tensors as the dictionary that it stands for, anything else as it is."""
    if isinstance(answer, ClassificationPrediction | MultiLabelClassificationPrediction):
        return serialise_native_classification(answer)
    return answer


def with_class_names(detections: Any, labels: Sequence[Label | None]) -> Any:  # noqa: ANN401
    """Return a copy of detections with other class names, ids and confidences.

    Args:
        detections: In one of the host's forms; left as they are.
        labels: One for each detection, in order; None leaves it as it is.

    Returns:
        The same form, with the same boxes, masks, key points, detection ids and tracker ids.

    """
    if not labels:
        return detections
    if not isinstance(detections, sv.Detections):
        return _with_class_names_in_tensors(detections, labels)
    old_names = detections.data.get(CLASS_NAME_DATA_FIELD, [""] * len(labels))
    names = [old if label is None else label.text for old, label in zip(old_names, labels, strict=True)]
    return replace(
        detections,
        class_id=_class_ids(detections.class_id, labels),
        confidence=_confidences(detections.confidence, labels),
        data=detections.data | {CLASS_NAME_DATA_FIELD: np.array(names, dtype=str)},
    )


def with_data_field(detections: Any, name: str, texts: Sequence[str | None]) -> Any:  # noqa: ANN401
    """Return a copy of detections with a text at each of them.

    Args:
        detections: In one of the host's forms; left as they are.
        name: The data field.
        texts: One for each detection, in order; None leaves what it had, and is None where it had nothing.

    Returns:
        The same form, otherwise unchanged.

    """
    if not texts:
        return detections
    if isinstance(detections, sv.Detections):
        olds = detections.data.get(name, [None] * len(texts))
        column = np.empty(len(texts), dtype=object)
        column[:] = [old if text is None else text for old, text in zip(olds, texts, strict=True)]
        return replace(detections, data=detections.data | {name: column})
    boxes = [
        box | {name: box.get(name) if text is None else text}
        for box, text in zip(_boxes(detections), texts, strict=True)
    ]
    return _with_tensors(detections, bboxes_metadata=boxes)


def _with_class_names_in_tensors(detections: Any, labels: Sequence[Label | None]) -> Any:  # noqa: ANN401
    _, tensors = split_key_point_prediction(detections)
    old_ids = tensors.class_id.detach().cpu().numpy()
    image_metadata = tensors.image_metadata or {}
    old_names = image_metadata.get(constants.CLASS_NAMES_KEY) or {}
    # A tensor has no names of its own: they are looked up by class id, so one id cannot have two names.
    kept = {int(old) for old, label in zip(old_ids, labels, strict=True) if label is None}
    labels = [_beside(label, {one: old_names.get(one) for one in kept}) for label in labels]
    names = old_names | {label.class_id: label.text for label in labels if label is not None}
    boxes = [
        # A name of its own would win over the looked-up one.
        box
        if label is None
        else {key: value for key, value in box.items() if key != constants.CLASS_NAME_KEY}
        for box, label in zip(_boxes(detections), labels, strict=True)
    ]
    confidences = _confidences(tensors.confidence.detach().cpu().numpy(), labels)
    return _with_tensors(
        detections,
        class_id=torch.as_tensor(_class_ids(old_ids, labels)).to(tensors.class_id),
        confidence=torch.as_tensor(confidences).to(tensors.confidence),
        image_metadata=image_metadata | {constants.CLASS_NAMES_KEY: names},
        bboxes_metadata=strip_host_mirror_metadata(boxes),
    )


def _beside(label: Label | None, kept: Mapping[int, str | None]) -> Label | None:
    if label is None or kept.get(label.class_id, label.text) == label.text:
        return label
    return replace(label, class_id=class_id_of(label.text))


def _class_ids(old: npt.NDArray[Any] | None, labels: Sequence[Label | None]) -> npt.NDArray[np.int64]:
    ids = np.zeros(len(labels), dtype=np.int64) if old is None else old
    return np.array(
        [own if label is None else label.class_id for own, label in zip(ids, labels, strict=True)]
    )


def _confidences(old: npt.NDArray[Any] | None, labels: Sequence[Label | None]) -> npt.NDArray[Any]:
    # The host wants a number; NaN is the one that claims nothing.
    numbers = np.full(len(labels), np.nan) if old is None else old.copy()
    for place, label in enumerate(labels):
        if label is not None and label.confidence is not None:
            numbers[place] = label.confidence
    return numbers


def _boxes(detections: Any) -> list[dict[str, Any]]:  # noqa: ANN401
    _, tensors = split_key_point_prediction(detections)
    return tensors.bboxes_metadata or [{} for _ in range(len(tensors))]


def _with_tensors(detections: Any, **changes: object) -> Any:  # noqa: ANN401
    key_points, tensors = split_key_point_prediction(detections)
    changed = replace(tensors, **changes)
    return changed if key_points is None else (key_points, changed)
