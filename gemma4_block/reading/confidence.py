"""Say how sure a model was of each box that it wrote, from how likely its tokens were."""

import json
import math
import re
from collections.abc import Sequence
from typing import Final

from gemma4_block.contract import TokenScore

_NUMBER = re.compile(r"-?\d+(?:\.\d+)?")
_TEXT = re.compile(r'"(?:[^"\\]|\\.)*"')
# An entry that a grammar made has its numbers in one list of four, and its label in the last text.
_ENTRY = re.compile(r"\[([^\[\]]*)\][^\[\]]*:\s*(" + _TEXT.pattern + r")\s*\}\Z")

# Of the powers 0, 1/4, 1/3, 1/2, 3/4 and 1 the one with the smallest calibration error. All but 0 rank boxes
# equally well, and a whole number is rarely sure to its last digit, so that power 1 calls right boxes unsure.
# Source: 583 boxes of the demo, asked for classes most of which were there: 0.04, and 0.19 with power 1. To
# measure it again, run `python -m gemma4_block.demo.evaluation`.
_COORDINATES_POWER: Final = 1 / 4

Span = tuple[int, int]


def score_entries(
    text: str, token_scores: Sequence[TokenScore], classes: Sequence[str]
) -> list[float | None]:
    """Return the confidence of each complete entry of a detection answer, 0 to 1.

    It is the probability that the model, free to write any label for this box, would have written this one,
    times the fourth root of the geometric mean of the probabilities of the coordinates' tokens. The label is
    held to the classes that were asked for, so its probability among them says nothing where there is but one
    of them, or where the box shows something else.

    Args:
        text: A JSON list of boxes that a grammar made; it may be cut off.
        token_scores: One for each token of it.
        classes: The labels that the grammar allowed.

    Returns:
        One number for each complete entry, in order; None where the engine cannot tell what the model would
        have written.

    Example:
        >>> scores = [TokenScore(start=0, end=41, log_probability=0.0, free_log_probability=math.log(0.5))]
        >>> score_entries('[{"box_2d": [1, 2, 3, 4], "label": "cat"}]', scores, ["cat"])
        [0.5]

    """
    found = []
    for start, end in _entries(text):
        matched = _ENTRY.search(text, start, end)
        if matched is not None:
            box = [number.span() for number in _NUMBER.finditer(text, matched.start(1), matched.end(1))]
            name = json.loads(matched[2])
            may_go_on = any(other != name and other.startswith(name) for other in classes)
            label = _score_label(token_scores, matched.span(2), may_go_on=may_go_on)
            found.append(None if label is None else math.exp(label + _score_box(token_scores, box)))
    return found


def _entries(text: str) -> list[Span]:
    """Return where each complete object of a list begins and ends."""
    decoder = json.JSONDecoder()
    spans: list[Span] = []
    place = text.find("{")
    while place >= 0:
        try:
            _, end = decoder.raw_decode(text, place)
        except json.JSONDecodeError:
            return spans
        spans.append((place, end))
        place = text.find("{", end)
    return spans


def _score_label(token_scores: Sequence[TokenScore], label: Span, *, may_go_on: bool) -> float | None:
    """Return the logarithm of the probability of a label in its quotes among all that could be said there."""
    name, closing_quote = (label[0] + 1, label[1] - 1), (label[1] - 1, label[1])
    total = 0.0
    for score in token_scores:
        if not _touches(score, label) or score.end <= name[0]:
            continue
        if score.free_log_probability is None:
            return None
        if _touches(score, name) or may_go_on:
            total += score.free_log_probability
        elif _touches(score, closing_quote):
            # Whether the list goes on behind the label does not matter, only that the label ends here: what
            # the grammar allows instead of this token ends it too. A penalty may lower the one number alone.
            total += min(0.0, score.free_log_probability - score.log_probability)
    return total


def _score_box(token_scores: Sequence[TokenScore], coordinates: Sequence[Span]) -> float:
    """Return the logarithm of what the probabilities of the coordinates' tokens make of a confidence."""
    numbers = [
        score.log_probability
        for score in token_scores
        if any(_touches(score, coordinate) for coordinate in coordinates)
    ]
    return _COORDINATES_POWER * math.fsum(numbers) / len(numbers) if numbers else 0.0


def _touches(score: TokenScore, span: Span) -> bool:
    return score.start < span[1] and score.end > span[0]
