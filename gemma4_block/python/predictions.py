"""Turn what a task read into what `supervision` draws, counts and filters."""

import math
from collections.abc import Sequence
from typing import Final

import numpy as np
from supervision import Classifications, Detections

from gemma4_block.tasks import Classification, Result
from gemma4_block.tasks import Detections as FoundObjects

CLASS_NAME: Final = "class_name"
"""The key of the names in `Detections.data`. Source: CLASS_NAME_DATA_FIELD of supervision 0.30."""


def to_detections(result: Result, classes: Sequence[str]) -> Detections:
    """Return the boxes of an answer.

    Args:
        result: Of object detection.
        classes: What was asked for; a class's id is its place.

    Returns:
        `xyxy` `(N, 4)` float in pixels of the image, x right, y down; `confidence` `(N,)`; `class_id` `(N,)`;
        names under `class_name` in `data`. N may be 0.

    """
    found = result.predictions
    assert isinstance(found, FoundObjects), "object detection reads nothing else"
    names = [item.class_name for item in found.items]
    return Detections(
        xyxy=np.array([item.box_xyxy_px for item in found.items], dtype=np.float64).reshape(-1, 4),
        confidence=np.array([_number(item.confidence) for item in found.items], dtype=np.float64),
        class_id=np.array([classes.index(name) for name in names], dtype=np.int64),
        data={CLASS_NAME: np.array(names, dtype=np.str_)},
    )


def to_classifications(result: Result, classes: Sequence[str]) -> Classifications:
    """Return the probabilities of the classes.

    Args:
        result: Of a classification.
        classes: What was asked for; a class's id is its place.

    Returns:
        `class_id` and `confidence` `(N,)` of all N classes, in the order asked.

    """
    found = result.predictions
    assert isinstance(found, Classification), "a classification reads nothing else"
    return Classifications(
        class_id=np.arange(len(classes), dtype=np.int64),
        confidence=np.array([_number(score.confidence) for score in found.scores], dtype=np.float64),
    )


def to_counts(result: Result) -> dict[str, int]:
    """Return how many objects there are of each class, in the order asked.

    Args:
        result: Of counting.

    Returns:
        Class to count.

    """
    assert isinstance(result.parsed, dict), "counting reads nothing else"
    return {name: count for name, count in result.parsed.items() if isinstance(count, int)}


def _number(confidence: float | None) -> float:
    # The engine of this process measures all it can; only an answer without scores leaves one out.
    return math.nan if confidence is None else confidence
