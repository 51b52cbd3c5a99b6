"""How sure a box is comes from the tokens of its label and numbers, and from no others."""

import json
import math
from collections.abc import Mapping

import pytest

from gemma4_block.contract import TokenScore
from gemma4_block.reading.confidence import score_entries

ONE = '[{"box_2d": [10, 20, 30, 40], "label": "red circle"}]'
TWO = ONE[:-1] + ', {"box_2d": [1, 2, 3, 4], "label": "cat"}]'
CLASSES = ["red circle", "cat"]
NOTHING: Mapping[str, float] = {}


def scores(
    text: str, *, free: Mapping[str, float] = NOTHING, allowed: Mapping[str, float] = NOTHING
) -> list[TokenScore]:
    """Score a text character by character: all sure, but as unsure as it says where the given parts are."""
    found = []
    for place in range(len(text)):
        likely = {
            name: next(
                (
                    math.log(probability)
                    for part, probability in unsure.items()
                    if text.index(part) <= place < text.index(part) + len(part)
                ),
                0.0,
            )
            for name, unsure in (("free", free), ("allowed", allowed))
        }
        found.append(
            TokenScore(
                start=place,
                end=place + 1,
                log_probability=likely["allowed"],
                free_log_probability=likely["free"],
            )
        )
    return found


@pytest.mark.parametrize(
    ("free", "allowed", "expected"),
    [
        pytest.param({}, {}, 1.0, id="sure"),
        pytest.param(
            {"ed": 0.5}, {}, 0.25, id="a label is the product of what its tokens were by themselves"
        ),
        pytest.param({}, {"red circle": 0.5}, 1.0, id="how it compares with other classes does not count"),
        pytest.param({'"}': 0.5}, {}, 0.5, id="a label that would have gone on by itself"),
        pytest.param({'"}': 0.5}, {'"}': 0.5}, 1.0, id="a list that might have ended here"),
        pytest.param({'"}': 0.5}, {'"}': 0.1}, 1.0, id="no more than sure where a penalty lowered the one"),
        pytest.param({}, {"10": 0.5}, 0.5 ** (2 / 8 / 4), id="two of eight digits"),
        pytest.param({"10": 0.5}, {}, 1.0, id="numbers are compared with numbers"),
        pytest.param(
            {'"box_2d"': 0.1}, {"label": 0.1, "[{": 0.1}, 1.0, id="what the form says does not count"
        ),
        pytest.param({}, {", 20": 0.5}, 0.5 ** (2 / 8 / 4), id="nor do commas"),
    ],
)
def test_label_and_numbers_make_the_confidence(
    free: Mapping[str, float], allowed: Mapping[str, float], expected: float
) -> None:
    """The label's probability among all that could be said, times the fourth root of the digits' mean."""
    found = score_entries(ONE, scores(ONE, free=free, allowed=allowed), CLASSES)
    assert found == pytest.approx([expected])


@pytest.mark.parametrize(
    ("classes", "expected"),
    [(["red circle"], 1.0), (["red circle", "red circle segment"], 0.5)],
    ids=["no other begins with it", "another begins with it"],
)
def test_where_a_longer_class_begins_alike_the_end_of_the_label_counts_in_full(
    classes: list[str], expected: float
) -> None:
    """What the grammar allowed instead may have been the longer one."""
    unsure = {'"}': 0.5}
    assert score_entries(ONE, scores(ONE, free=unsure, allowed=unsure), classes) == pytest.approx([expected])


def test_each_entry_has_its_own() -> None:
    """An unsure box does not make its neighbour unsure."""
    assert score_entries(TWO, scores(TWO, free={"cat": 0.5}), CLASSES) == pytest.approx([1.0, 0.125])


@pytest.mark.parametrize("part", ["c", '"}'])
def test_a_label_of_which_nothing_is_known_has_no_confidence(part: str) -> None:
    """An engine that tells nothing of one token leaves that box without a number, and no other."""
    marked = scores(TWO)
    place = TWO.index(part)
    marked[place] = TokenScore(start=place, end=place + 1, log_probability=0.0)

    assert score_entries(TWO, marked, CLASSES) == [None, 1.0]


@pytest.mark.parametrize("cut", range(len(TWO)))
def test_a_cut_answer_has_scores_for_its_complete_entries(cut: int) -> None:
    """As many as a reader finds."""
    text = TWO[:cut]
    complete = text.count("}")

    assert score_entries(text, scores(text), CLASSES) == [1.0] * complete


def test_a_token_that_spans_a_border_belongs_to_the_value() -> None:
    """What closes a label may come in one token with the next entry's beginning."""
    text = '[{"box_2d": [1, 2, 3, 4], "label": "cat"}, {"box_2d": [1, 2, 3, 4], "label": "cat"}]'
    border = text.index('"}, {')
    marked = [
        TokenScore(start=0, end=border, log_probability=0.0, free_log_probability=0.0),
        TokenScore(start=border, end=border + 5, log_probability=0.0, free_log_probability=math.log(0.5)),
        TokenScore(start=border + 5, end=len(text), log_probability=0.0, free_log_probability=0.0),
    ]

    assert score_entries(text, marked, ["cat"]) == pytest.approx([0.5, 1.0])


def test_fractions_and_names_with_brackets_are_read() -> None:
    """Other contracts have fractions, and a class may hold any character."""
    name = 'a "b" [1, 2] {c}: "d"}'
    text = json.dumps([{"box_2d": [0.1, 0.25, 0.5, 1.0], "label": name}] * 2)

    assert len(score_entries(text, scores(text), [name])) == 2
