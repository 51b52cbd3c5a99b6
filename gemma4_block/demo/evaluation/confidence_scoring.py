"""Score how much measured confidences are worth; nothing here asks a model."""

from collections.abc import Sequence

from gemma4_block.demo.evaluation.scoring import Row

_BINS = 15

CALIBRATION_LIMIT = 0.10
"""The most that a calibration error of the shipped checkpoint may be."""


def score_calibration(
    name: str, confidences: Sequence[float], is_right: Sequence[bool], limit: float | None = None
) -> Row:
    """Return the expected calibration error over 15 bins of equal width.

    Args:
        name: Starts the name of the row.
        confidences: 0 to 1, at least one.
        is_right: Whether what each belongs to was right.
        limit: The most that the error may be.

    Returns:
        The row.

    Examples:
        >>> score_calibration("sure", [0.9, 0.9], [True, False]).value
        0.4

    """
    bins: dict[int, list[tuple[float, bool]]] = {}
    for confidence, right in zip(confidences, is_right, strict=True):
        bins.setdefault(min(int(confidence * _BINS), _BINS - 1), []).append((confidence, right))
    error = sum(abs(sum(confidence - right for confidence, right in pairs)) for pairs in bins.values())
    value = round(error / max(1, len(confidences)), 12)
    return Row(name=f"{name}, calibration error", value=value, limit=limit, n=len(confidences))


def score_ranking(name: str, confidences: Sequence[float], is_right: Sequence[bool]) -> Row:
    """Return how often a right one has a higher confidence than a wrong one: the area under the ROC curve.

    Args:
        name: Starts the name of the row.
        confidences: 0 to 1.
        is_right: Whether what each belongs to was right.

    Returns:
        The row; 1 where there is nothing to tell apart.

    """
    pairs = list(zip(confidences, is_right, strict=True))
    right = [confidence for confidence, one in pairs if one]
    wrong = [confidence for confidence, one in pairs if not one]
    wins = sum((good > bad) + (good == bad) / 2 for good in right for bad in wrong)
    value = wins / (len(right) * len(wrong)) if right and wrong else 1.0
    return Row(name=f"{name}, right above wrong", value=value, n=len(pairs))
