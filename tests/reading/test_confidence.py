"""How sure a box is comes from the tokens of its label and numbers, and from no others."""

import json
import math

import pytest

from gemma4_block.contract import TokenScore
from gemma4_block.reading.confidence import score_entries

ONE = '[{"box_2d": [10, 20, 30, 40], "label": "red circle"}]'
TWO = ONE[:-1] + ', {"box_2d": [1, 2, 3, 4], "label": "cat"}]'


def scores(text: str, unsure: dict[str, float]) -> list[TokenScore]:
    """Score a text character by character; those of the given parts are as unsure as it says, others sure."""
    found = [TokenScore(start=place, end=place + 1, log_probability=0.0) for place in range(len(text))]
    for part, probability in unsure.items():
        start = text.index(part)
        for place in range(start, start + len(part)):
            found[place] = TokenScore(start=place, end=place + 1, log_probability=math.log(probability))
    return found


@pytest.mark.parametrize(
    ("unsure", "expected"),
    [
        pytest.param({}, 1.0, id="sure"),
        pytest.param({"c": 0.5}, 0.5, id="one token of the label"),
        pytest.param({"red": 0.5}, 0.125, id="a label is the product of its tokens"),
        pytest.param({"10": 0.5}, 0.5 ** (2 / 8), id="two of eight digits"),
        pytest.param({'"box_2d"': 0.1, "label": 0.1, "[{": 0.1}, 1.0, id="what the form says does not count"),
        pytest.param({", 20": 0.5}, 0.5 ** (2 / 8), id="nor do commas"),
    ],
)
def test_label_and_numbers_make_the_confidence(unsure: dict[str, float], expected: float) -> None:
    """The label's probability times the mean, in the geometric sense, of the digits'."""
    assert score_entries(ONE, scores(ONE, unsure)) == pytest.approx([expected])


def test_each_entry_has_its_own() -> None:
    """An unsure box does not make its neighbour unsure."""
    assert score_entries(TWO, scores(TWO, {"cat": 0.5})) == pytest.approx([1.0, 0.125])


@pytest.mark.parametrize("cut", range(len(TWO)))
def test_a_cut_answer_has_scores_for_its_complete_entries(cut: int) -> None:
    """As many as a reader finds."""
    text = TWO[:cut]
    complete = text.count("}")

    assert score_entries(text, scores(text, {})) == [1.0] * complete


def test_a_token_that_spans_a_border_belongs_to_the_value() -> None:
    """What closes a label may come in one token with the next entry's beginning."""
    text = '[{"box_2d": [1, 2, 3, 4], "label": "cat"}, {"box_2d": [1, 2, 3, 4], "label": "cat"}]'
    border = text.index('"}, {')
    marked = [
        TokenScore(start=0, end=border, log_probability=0.0),
        TokenScore(start=border, end=border + 5, log_probability=math.log(0.5)),
        TokenScore(start=border + 5, end=len(text), log_probability=0.0),
    ]

    assert score_entries(text, marked) == pytest.approx([0.5, 1.0])


def test_fractions_and_names_with_brackets_are_read() -> None:
    """Other contracts have fractions, and a class may hold any character."""
    entry = {"box_2d": [0.1, 0.25, 0.5, 1.0], "label": 'a "b" [1, 2] {c}: "d"}'}
    text = json.dumps([entry, entry])

    assert len(score_entries(text, scores(text, {}))) == 2
