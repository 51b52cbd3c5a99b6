"""The scores of the evaluation, on answers written by hand."""

import pytest

from gemma4_block.demo.evaluation.scoring import (
    LabelledBox,
    Row,
    find_confusions,
    iou,
    read_boxes,
    score_box_errors,
    score_boxes,
    score_exact,
    score_groups,
)

RED = LabelledBox(label="red circle", box_yxyx_1000=(100, 100, 300, 300))
BLUE = LabelledBox(label="blue star", box_yxyx_1000=(500, 600, 700, 900))
RED_ANSWER = '[{"box_2d": [100, 100, 300, 300], "label": "red circle"}]'


def test_a_row_meets_its_target_from_the_target_on() -> None:
    """Reaching the target is enough; without a target nothing is demanded."""
    assert Row(name="a", value=0.85, target=0.85, n=10).is_met
    assert not Row(name="a", value=0.84, target=0.85, n=10).is_met
    assert Row(name="a", value=0.0, n=10).is_met


def test_exact_means_letter_by_letter() -> None:
    """Nothing is forgiven, not even a missing period."""
    pairs = [("1 red star.", "1 red star."), ("1 red star.", "1 red star"), ("2", "2"), ("3", "")]
    assert score_exact("describe", pairs, 0.75) == Row(name="describe", value=0.5, target=0.75, n=4)


def test_groups_are_scored_apart_and_sorted() -> None:
    """Each group has its own share and size."""
    pairs = [("2", "2"), ("2", "1"), ("1", "1")]
    assert score_groups("count", ["2 shapes", "2 shapes", "1 shapes"], pairs) == [
        Row(name="count, 1 shapes", value=1.0, n=1),
        Row(name="count, 2 shapes", value=0.5, n=2),
    ]


def test_confusions_are_shares_of_what_was_asked() -> None:
    """The most frequent mistake comes first; right answers are none."""
    pairs = [("red", "orange"), ("red", "orange"), ("red", "red"), ("red", "red"), ("blue", "purple")]
    assert find_confusions("colour", pairs) == [
        Row(name="colour, red as orange", value=0.5, n=4),
        Row(name="colour, blue as purple", value=1.0, n=1),
    ]
    assert find_confusions("colour", pairs, most=1) == [Row(name="colour, red as orange", value=0.5, n=4)]
    assert find_confusions("colour", [("red", "red")]) == []


def test_boxes_are_read_in_order() -> None:
    """A list of boxes and labels is read; an empty list is an answer too."""
    assert read_boxes(RED_ANSWER) == [RED]
    assert read_boxes("[]") == []


@pytest.mark.parametrize(
    "answer",
    [
        "",
        "no shapes",
        '[{"box_2d": [100, 100, 300',
        '[{"box_2d": [100, 100, 300], "label": "red circle"}]',
        '[{"box_2d": [1, 2, 3, "x"], "label": "red circle"}]',
        '[{"label": "red circle"}]',
        "[4]",
        "7",
        "null",
    ],
)
def test_what_is_no_list_of_boxes_is_not_read(answer: str) -> None:
    """None, which differs from an empty list."""
    assert read_boxes(answer) is None


def test_overlap_is_intersection_over_union() -> None:
    """Half of each of two equal boxes is shared; boxes apart or inside out share nothing."""
    half = LabelledBox(label="x", box_yxyx_1000=(100, 200, 300, 400))
    inside_out = LabelledBox(label="x", box_yxyx_1000=(300, 300, 100, 100))
    assert iou(RED, half) == pytest.approx(1 / 3)
    assert iou(RED, RED) == 1.0
    assert iou(RED, BLUE) == 0.0
    assert iou(RED, inside_out) == 0.0
    assert iou(inside_out, inside_out) == 0.0


def test_a_perfect_answer_scores_one() -> None:
    """Right boxes with right labels, and an empty list where nothing is."""
    score = score_boxes([RED_ANSWER, "[]"], [[RED], []])
    assert (score.f1, score.mean_iou, score.true_count) == (1.0, 1.0, 1)
    assert score.matches == ((RED, RED),)


def test_missed_and_extra_boxes_lower_f1() -> None:
    """One of two found without extra ones: precision 1 and recall 1/2 make 2/3."""
    assert score_boxes([RED_ANSWER], [[RED, BLUE]]).f1 == pytest.approx(2 / 3)
    assert score_boxes([RED_ANSWER], [[]]).f1 == 0.0


def test_one_answered_box_finds_one_shape() -> None:
    """A second shape at the same place needs a second box."""
    assert score_boxes([RED_ANSWER], [[RED, RED]]).f1 == pytest.approx(2 / 3)


def test_a_wrong_label_is_a_miss_with_a_name() -> None:
    """The box counts as extra, the shape as missed, and the reason is counted."""
    score = score_boxes(['[{"box_2d": [100, 100, 300, 300], "label": "red star"}]'], [[RED]])
    assert (score.f1, score.mean_iou, score.mislabelled_count) == (0.0, 0.0, 1)


def test_an_unreadable_answer_misses_all() -> None:
    """Its shapes stay in the denominator."""
    score = score_boxes(["no idea", RED_ANSWER], [[BLUE, RED], [RED]])
    assert (score.f1, score.unreadable_count, score.true_count) == (0.5, 1, 3)


def test_box_errors_keep_their_sign_and_their_size() -> None:
    """Opposite errors cancel in the mean and add up in the size."""
    low = LabelledBox(label="red circle", box_yxyx_1000=(90, 100, 300, 300))
    high = LabelledBox(label="red circle", box_yxyx_1000=(110, 130, 300, 300))
    rows = {row.name: row.value for row in score_box_errors([(low, RED), (high, RED)])}
    assert rows == {
        "box y1, mean error in 1/1000": 0.0,
        "box y1, mean size of the error in 1/1000": 10.0,
        "box x1, mean error in 1/1000": 15.0,
        "box x1, mean size of the error in 1/1000": 15.0,
        "box y2, mean error in 1/1000": 0.0,
        "box y2, mean size of the error in 1/1000": 0.0,
        "box x2, mean error in 1/1000": 0.0,
        "box x2, mean size of the error in 1/1000": 0.0,
    }
