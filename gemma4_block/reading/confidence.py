"""Say how sure a model was of each box that it wrote, from how likely its tokens were."""

import json
import math
import re
from collections.abc import Sequence

from gemma4_block.contract import TokenScore

_NUMBER = re.compile(r"-?\d+(?:\.\d+)?")
_TEXT = re.compile(r'"(?:[^"\\]|\\.)*"')
# An entry that a grammar made has its numbers in one list of four, and its label in the last text.
_ENTRY = re.compile(r"\[([^\[\]]*)\][^\[\]]*:\s*(" + _TEXT.pattern + r")\s*\}\Z")

Span = tuple[int, int]


def score_entries(text: str, token_scores: Sequence[TokenScore]) -> list[float]:
    """Return the confidence of each complete entry of a detection answer, 0 to 1.

    It is the probability of the label, times the geometric mean of the probabilities of the coordinates'
    tokens: whole numbers are rarely sure to their last digit, and a box is as good with another one.
    The form is our choice: of eight that keep most right boxes above one half it tells right from wrong best
    on 736 boxes of the demo, area under the ROC curve 0.82, the label alone 0.71. To measure the area again,
    run `python -m gemma4_block.demo.evaluation`.

    Args:
        text: A JSON list of boxes that a grammar made; it may be cut off.
        token_scores: One for each token of it.

    Returns:
        One number for each complete entry, in order.

    Example:
        >>> scores = [TokenScore(start=0, end=41, log_probability=math.log(0.5))]
        >>> score_entries('[{"box_2d": [1, 2, 3, 4], "label": "cat"}]', scores)
        [0.25]

    """
    found = []
    for start, end in _entries(text):
        matched = _ENTRY.search(text, start, end)
        if matched is not None:
            coordinates = [
                number.span() for number in _NUMBER.finditer(text, matched.start(1), matched.end(1))
            ]
            found.append(_score(token_scores, coordinates, matched.span(2)))
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


def _score(token_scores: Sequence[TokenScore], coordinates: Sequence[Span], label: Span) -> float:
    numbers = [
        score.log_probability
        for score in token_scores
        if any(_touches(score, coordinate) for coordinate in coordinates)
    ]
    # The quote that ends a label tells it from a longer one, so it belongs to it.
    named = math.fsum(score.log_probability for score in token_scores if _touches(score, label))
    return math.exp(named + (math.fsum(numbers) / len(numbers) if numbers else 0.0))


def _touches(score: TokenScore, span: Span) -> bool:
    return score.start < span[1] and score.end > span[0]
