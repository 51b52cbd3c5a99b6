"""Score what the demo checkpoint answered; nothing here asks a model."""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

Pair = tuple[str, str]
"""The expected and the given answer."""

_IOU_THRESHOLD = 0.5


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """One measured number.

    Attributes:
        name: What was measured.
        value: A share of 0 to 1, or what the name says.
        target: The least that the shipped checkpoint must reach; None where there is no demand.
        limit: The most that it may reach, of what should be small; None where there is no demand.
        n: How many answers or boxes it was measured on.
        budget: Visual token budget of the images; None where rows of one budget only are measured.

    """

    name: str
    value: float
    target: float | None = None
    limit: float | None = None
    n: int
    budget: int | None = None

    @property
    def demand(self) -> str:
        """The demand on the value, for people; empty where there is none."""
        if self.limit is not None:
            return f"at most {self.limit:.3f}"
        return "" if self.target is None else f"{self.target:.3f}"

    @property
    def has_demand(self) -> bool:
        """Whether something is demanded of the value."""
        return self.target is not None or self.limit is not None

    @property
    def is_met(self) -> bool:
        """Whether the value is within target and limit; true without them."""
        is_enough = self.target is None or self.value >= self.target
        return is_enough and (self.limit is None or self.value <= self.limit)


@dataclass(frozen=True, kw_only=True, slots=True)
class LabelledBox:
    """A label and its box, y1, x1, y2, x2 in 0-1000 of the whole image."""

    label: str
    box_yxyx_1000: tuple[float, float, float, float]


@dataclass(frozen=True, kw_only=True, slots=True)
class DetectionScore:
    """Agreement of answered boxes with the true ones at an IoU of 0.5 and equal labels.

    Attributes:
        f1: Harmonic mean of precision and recall over all images together, 0 to 1.
        mean_iou: Mean over the matched boxes; 0 where none matched.
        matches: Answered and true boxes that belong together.
        true_count: How many boxes should have been found.
        unreadable_count: How many answers were no list of boxes; all their objects count as missed.
        mislabelled_count: True boxes that only boxes with another label cover.

    """

    f1: float
    mean_iou: float
    matches: tuple[tuple[LabelledBox, LabelledBox], ...]
    true_count: int
    unreadable_count: int
    mislabelled_count: int


def score_exact(name: str, pairs: Sequence[Pair], target: float | None = None) -> Row:
    """Return the share of answers that are the expected ones, letter by letter.

    Args:
        name: What was measured.
        pairs: Expected and given answers, at least one.
        target: The least that the share should be.

    Returns:
        The row.

    Examples:
        >>> score_exact("count", [("2", "2"), ("3", "2")], 0.85)
        Row(name='count', value=0.5, target=0.85, limit=None, n=2, budget=None)

    """
    right = sum(expected == given for expected, given in pairs)
    return Row(name=name, value=right / len(pairs), target=target, n=len(pairs))


def score_groups(name: str, groups: Sequence[str], pairs: Sequence[Pair]) -> list[Row]:
    """Return the exact share of each group, sorted by the group's name.

    Args:
        name: Starts the name of every row.
        groups: The group of each pair.
        pairs: Expected and given answers.

    Returns:
        One row a group.

    """
    return [
        score_exact(
            f"{name}, {group}", [pair for one, pair in zip(groups, pairs, strict=True) if one == group]
        )
        for group in sorted(set(groups))
    ]


def find_confusions(name: str, pairs: Sequence[Pair], *, most: int = 6) -> list[Row]:
    """Return the most frequent wrong answers, each as a share of the questions with that expected answer.

    Args:
        name: Starts the name of every row.
        pairs: Expected and given answers.
        most: How many rows at most.

    Returns:
        Rows with the most frequent mistake first; empty where there was none.

    """
    asked = Counter(expected for expected, _ in pairs)
    wrong = Counter(pair for pair in pairs if pair[0] != pair[1])
    return [
        Row(name=f"{name}, {expected} as {given}", value=count / asked[expected], n=asked[expected])
        for (expected, given), count in wrong.most_common(most)
    ]


def read_boxes(answer: str) -> list[LabelledBox] | None:
    """Read a detection answer: a JSON list of `box_2d` and `label`.

    Args:
        answer: The model's answer.

    Returns:
        The boxes in the answer's order; None where it is no such list.

    """
    try:
        return [
            LabelledBox(label=item["label"], box_yxyx_1000=_four_numbers(item["box_2d"]))
            for item in json.loads(answer)
        ]
    except (json.JSONDecodeError, KeyError, TypeError, ValueError):
        return None


def score_boxes(answers: Sequence[str], truths: Sequence[Sequence[LabelledBox]]) -> DetectionScore:
    """Compare detection answers with the truth, image by image.

    Every true box takes the free answered box of its label that overlaps it most.

    Args:
        answers: What the model said.
        truths: The boxes that are in each image.

    Returns:
        The score over all images together.

    """
    matches: list[tuple[LabelledBox, LabelledBox]] = []
    given_count = unreadable_count = mislabelled_count = 0
    for answer, truth in zip(answers, truths, strict=True):
        given = read_boxes(answer)
        if given is None:
            unreadable_count += 1
            continue
        given_count += len(given)
        found = match_boxes(given, truth)
        matches += found
        left = [one for one in given if all(one is not best for best, _ in found)]
        missed = [box for box in truth if all(box is not true for _, true in found)]
        mislabelled_count += sum(any(iou(one, box) >= _IOU_THRESHOLD for one in left) for box in missed)
    true_count = sum(map(len, truths))
    return DetectionScore(
        f1=2 * len(matches) / max(1, given_count + true_count),
        mean_iou=sum(iou(*match) for match in matches) / max(1, len(matches)),
        matches=tuple(matches),
        true_count=true_count,
        unreadable_count=unreadable_count,
        mislabelled_count=mislabelled_count,
    )


def match_boxes(
    given: Sequence[LabelledBox], truth: Sequence[LabelledBox]
) -> list[tuple[LabelledBox, LabelledBox]]:
    """Pair answered boxes with true ones of the same label that they overlap by an IoU of 0.5 or more.

    Args:
        given: The answered boxes.
        truth: The boxes that are in the image; each takes the free answered box that overlaps it most.

    Returns:
        Answered and true box of each pair.

    """
    free, pairs = list(given), []
    for box in truth:
        same = [(iou(one, box), one) for one in free if one.label == box.label]
        overlap, best = max(same, key=lambda pair: pair[0], default=(0.0, None))
        if best is not None and overlap >= _IOU_THRESHOLD:
            free.remove(best)
            pairs.append((best, box))
    return pairs


def score_box_errors(matches: Sequence[tuple[LabelledBox, LabelledBox]]) -> list[Row]:
    """Return for each edge how far matched boxes are off, and to which side, in thousandths of the image."""
    rows = []
    for index, edge in enumerate(("y1", "x1", "y2", "x2")):
        errors = [given.box_yxyx_1000[index] - true.box_yxyx_1000[index] for given, true in matches]
        count = max(1, len(errors))
        mean, size = sum(errors) / count, sum(map(abs, errors)) / count
        rows.append(Row(name=f"box {edge}, mean error in 1/1000", value=mean, n=len(errors)))
        rows.append(Row(name=f"box {edge}, mean size of the error in 1/1000", value=size, n=len(errors)))
    return rows


def iou(first: LabelledBox, second: LabelledBox) -> float:
    """Return intersection over union; labels do not matter.

    Args:
        first: One box.
        second: Another, in the same frame.

    Returns:
        0 to 1; 0 where a box has no area.

    Examples:
        >>> one = LabelledBox(label="a", box_yxyx_1000=(0, 0, 100, 100))
        >>> iou(one, LabelledBox(label="b", box_yxyx_1000=(0, 50, 100, 150)))
        0.3333333333333333

    """
    a, b = first.box_yxyx_1000, second.box_yxyx_1000
    overlap = max(0.0, min(a[2], b[2]) - max(a[0], b[0])) * max(0.0, min(a[3], b[3]) - max(a[1], b[1]))
    union = _area(first) + _area(second) - overlap
    return overlap / union if union > 0 else 0.0


def _area(box: LabelledBox) -> float:
    y1, x1, y2, x2 = box.box_yxyx_1000
    return max(0.0, y2 - y1) * max(0.0, x2 - x1)


def _four_numbers(values: Sequence[float]) -> tuple[float, float, float, float]:
    y1, x1, y2, x2 = map(float, values)
    return y1, x1, y2, x2
