"""The evaluation on wide pictures: what it asks, what it takes for right, and how it is written down."""

import json
from dataclasses import replace

import numpy as np
import pytest

from gemma4_block.demo.evaluation.asking import Asked
from gemma4_block.demo.evaluation.held_out import draw_words
from gemma4_block.demo.evaluation.held_out.words import HELD_OUT_WORDS
from gemma4_block.demo.evaluation.report import Report, evaluate
from gemma4_block.demo.evaluation.scoring import LabelledBox, Row
from gemma4_block.demo.evaluation.tables import list_missed, list_worse, write_markdown, write_table
from gemma4_block.demo.evaluation.wide import evaluate_wide
from gemma4_block.demo.evaluation.wide.answers import judge_backpacks, judge_forms, judge_texts, read_number
from gemma4_block.demo.evaluation.wide.boxes import judge_boxes, score_f1, score_sure
from gemma4_block.demo.evaluation.wide.classes import judge_classes
from gemma4_block.demo.evaluation.wide.forms import draw_form
from gemma4_block.demo.evaluation.wide.pictures import draw_backpacks, draw_crops, draw_mixed, find_truth
from gemma4_block.demo.evaluation.wide.texts import count_all, count_one, describe_case, judge_conditions
from gemma4_block.demo.training.drawing import Picture, Thing
from gemma4_block.demo.training.drawing.lettering import HELD_OUT_FONTS, held_out_fonts, training_fonts
from gemma4_block.demo.training.drawing.texts import WORDS
from gemma4_block.tasks import Detection, Detections, Result, TaskRequest
from tests.demo.one_answer import OneAnswerEngine

THINGS = (
    Thing(kind="star", color="red", box_xyxy_px=(0.0, 0.0, 20.0, 10.0)),
    Thing(kind="backpack", color=None, box_xyxy_px=(40.0, 0.0, 50.0, 10.0)),
    Thing(kind="backpack", color=None, box_xyxy_px=(0.0, 30.0, 100.0, 50.0)),
)
PICTURE = Picture(
    image=np.zeros((50, 100, 3), np.uint8), things=THINGS, owners=np.full((50, 100), -1, np.int16)
)


def test_the_fonts_of_the_evaluation_are_not_those_of_the_training() -> None:
    """Each of the families is there, whatever its weights, and none of them is trained on."""
    names = [str(path) for path in held_out_fonts()]

    assert all(any(font in name for name in names) for font in HELD_OUT_FONTS)
    assert not set(held_out_fonts()) & set(training_fonts())
    assert len(training_fonts()) > 20


def test_the_words_of_the_evaluation_are_not_those_of_the_training() -> None:
    """But for three that hang on doors."""
    assert set(HELD_OUT_WORDS) & set(WORDS) == {"exit", "stop", "open"}


@pytest.mark.parametrize("is_number", [False, True], ids=["words", "numbers"])
def test_what_is_written_can_be_read_in_the_picture(*, is_number: bool) -> None:
    """It stands out from its background, and none of it is cut off at a side."""
    rng = np.random.default_rng(0)
    for _ in range(12):
        picture = draw_words(rng, is_number=is_number)
        assert picture.writing is not None
        assert picture.writing.text.isdecimal() == is_number
        grey = picture.image.mean(axis=2)
        ink = np.abs(grey - np.median(grey)) > 60
        rows, columns = np.nonzero(ink.any(axis=1))[0], np.nonzero(ink.any(axis=0))[0]
        assert rows[0] > 0
        assert rows[-1] < ink.shape[0] - 1
        assert columns[0] > 0
        assert columns[-1] < ink.shape[1] - 1
        assert np.ptp(columns) > 5 * len(picture.writing.text)


def test_questions_about_a_picture_have_true_answers() -> None:
    """Counts of all and of one kind, and the description in the words of the training."""
    assert count_all(PICTURE, "objects").expected == "3"
    asked = {
        (case.question, case.expected) for seed in range(40) for case in [count_one(_rng(seed), PICTURE)]
    }
    assert asked == {("How many backpacks are there?", "2"), ("How many red stars are there?", "1")}
    assert describe_case(PICTURE).expected == "1 red star, 2 backpacks."


def test_true_boxes_are_thousandths_of_the_picture() -> None:
    """Of a picture that is twice as wide as high."""
    assert find_truth(PICTURE)[0] == LabelledBox(label="red star", box_yxyx_1000=(0, 0, 200, 200))


@pytest.mark.parametrize("as_schema", [False, True], ids=["fields", "JSON Schema"])
@pytest.mark.parametrize("fields", [1, 2, 3, 4, 5])
def test_a_form_is_filled_in_rightly(fields: int, *, as_schema: bool) -> None:
    """Every field that was drawn for the picture has its true value."""
    truth = {
        "red_stars": 1, "stars": 1, "backpacks": 2, "objects": 3, "has_red_star": True, "has_backpack": True,
        "largest_object": "backpack",
    }  # fmt: skip
    seen = set()
    for seed in range(30):
        form = draw_form(_rng(seed), PICTURE, fields, as_schema=as_schema)
        named = form.structure["properties"] if as_schema else form.structure
        assert list(named) == list(form.values)  # type: ignore[arg-type]
        assert len(form.values) == fields
        for name, value in form.values.items():
            absent = value is False if name.startswith("has_") else value == 0
            assert value == truth.get(name, value)
            assert (name in truth) != absent
        seen |= set(form.values)
    assert {"objects", "largest_object", "has_backpack"} <= seen


@pytest.mark.parametrize(
    ("answer", "number"),
    [
        ("2. There are 2 backpacks.", "2"),
        ("0. There are no backpacks.", "0"),
        ("12 backpacks are visible.", "12"),
        ("2", ""),
        ("There are 2 backpacks.", ""),
        ("2nd", ""),
    ],
)
def test_a_count_with_a_sentence_begins_with_the_number(answer: str, number: str) -> None:
    """A number alone, or a sentence alone, is not what was asked for."""
    assert read_number(answer) == number


def _detect(*boxes: tuple[str, float, tuple[float, float, float, float]]) -> Asked:
    """Return a detection in a picture of 100 x 100."""
    request = TaskRequest(
        images=(np.zeros((100, 100, 3), np.uint8),), image_seq_length=70, classes=("star", "cup")
    )
    items = tuple(
        Detection(class_name=name, confidence=confidence, box_xyxy_px=box) for name, confidence, box in boxes
    )
    return Asked(request=request, result=Result(output="", predictions=Detections(items=items)))


STAR = LabelledBox(label="star", box_yxyx_1000=(0, 0, 500, 500))


def test_f1_counts_missing_wrong_and_repeated_boxes() -> None:
    """One of two is found; of three answered, one has another label and one is there twice."""
    asked = [
        _detect(("star", 0.9, (0, 0, 50, 50)), ("star", 0.9, (0, 0, 50, 50)), ("cup", 0.9, (0, 0, 50, 50))),
        _detect(),
    ]
    assert score_f1(asked, [[STAR], [STAR]]) == (2 * 1 / (3 + 2), 2)


def test_only_sure_boxes_count_for_precision_and_recall() -> None:
    """At a confidence of one half a box is not kept."""
    asked = [
        _detect(("star", 0.9, (0, 0, 50, 50)), ("star", 0.8, (50, 50, 90, 90)), ("star", 0.5, (0, 50, 9, 90)))
    ]
    assert score_sure(asked, [[STAR, replace(STAR, box_yxyx_1000=(0, 600, 300, 900))]]) == (0.5, 0.5, 2, 2)


def test_an_engine_that_finds_nothing_is_right_where_nothing_is() -> None:
    """Absent classes are an empty list, all else is missed."""
    rows = {row.name: row.value for row in judge_boxes(OneAnswerEngine("[]"), 70, 3, 1)}
    assert rows == {
        "boxes, F1 at IoU 0.5, 1:1": 0.0,
        "boxes, F1 at IoU 0.5, 16:9": 0.0,
        "boxes, F1 at IoU 0.5, 9:16": 0.0,
        "boxes, F1 at IoU 0.5, 4:1": 0.0,
        "boxes, F1 at IoU 0.5, 1:4": 0.0,
        "boxes, F1 at IoU 0.5, all backgrounds": 0.0,
        "boxes, F1 at IoU 0.5, 24 classes": 0.0,
        "boxes of one class of several, precision above 0.5": 0.0,
        "boxes of one class of several, recall above 0.5": 0.0,
        "boxes of an absent class above 0.5, in 40 pictures": 0.0,
        "an absent class is an empty list": 1.0,
        "boxes of an unknown class above 0.5, in 40 pictures": 0.0,
        "an unknown class is an empty list": 1.0,
    }


def test_twenty_four_classes_are_asked() -> None:
    """Each with all that is in its picture."""
    engine = OneAnswerEngine("[]")
    judge_boxes(engine, 70, 2, 1)
    most = max(prompt.text.count(",") for prompt, _ in engine.asked)
    assert most >= 23


def test_an_engine_that_always_says_other_is_right_where_none_fits() -> None:
    """Of the questions with `other` half, and of those without none."""
    engine = OneAnswerEngine(json.dumps({"class_name": "other"}))
    rows = {row.name: row.value for row in judge_classes(engine, 70, 4, 1)}
    assert rows == {
        "classify, all backgrounds": 0.0,
        "classify with other, one fits": 0.0,
        "classify with other, none fits": 1.0,
    }


def test_backpacks_are_counted_as_the_first_example_asks() -> None:
    """One picture of four has none; the number must be the true one."""
    counts = [
        sum(thing.kind == "backpack" for thing in picture.things) for picture in draw_backpacks(_rng(5), 12)
    ]
    engine = OneAnswerEngine("1. There is 1 backpack.")
    (row,) = judge_backpacks(engine, 70, 12, 5)

    assert [count == 0 for count in counts] == [False, False, False, True] * 3
    assert 0 < row.value == counts.count(1) / 12
    asked = {(prompt.text, prompt.system) for prompt, _ in engine.asked}
    assert asked == {
        ("How many backpacks are clearly visible?", "Answer with a number first, then one short sentence.")
    }


def test_text_is_right_to_the_letter() -> None:
    """Words and numbers are rows of their own."""
    rows = judge_texts(OneAnswerEngine("7"), 70, 3, 1)
    assert [(row.name, row.target, row.n) for row in rows] == [
        ("OCR, words", 0.8, 3),
        ("OCR, numbers", 0.8, 3),
    ]


def test_three_fields_are_demanded() -> None:
    """All of a form must be right, so a form without a field of it is wrong."""
    rows = judge_forms(OneAnswerEngine("{}"), 70, 2, 1)
    assert [row.value for row in rows] == [0.0] * 5
    assert [row.target for row in rows] == [None, None, 0.8, None, None]


def test_every_condition_is_counted_and_described() -> None:
    """An engine that says 1 is right where one large thing is."""
    rows = {row.name: row for row in judge_conditions(OneAnswerEngine("1"), 70, 1, 1)}
    assert rows["count, large"].value == 1.0
    assert rows["describe, large"].value == 0.0
    assert {"count, dark background", "describe, 4:1", "count, three or more alike"} <= set(rows)
    assert {(row.target, row.n) for name, row in rows.items() if name.startswith("count")} == {(0.85, 2)}


def test_each_claimed_budget_is_asked_about_the_same_pictures() -> None:
    """Budgets that the checkpoint does not claim are left out."""
    engine = OneAnswerEngine("[]", image_seq_lengths=(70, 280))
    rows = evaluate_wide(engine, budgets=(70, 140, 280), picture_count=1, seed=1)
    at_70 = [prompt for prompt, _ in engine.asked if prompt.image_seq_length == 70]
    at_280 = [prompt for prompt, _ in engine.asked if prompt.image_seq_length == 280]

    assert {row.budget for row in rows} == {70, 280}
    assert len(at_70) == len(at_280) == len(engine.asked) / 2
    assert [prompt.text for prompt in at_70] == [prompt.text for prompt in at_280]
    for one, same in zip(at_70, at_280, strict=True):
        np.testing.assert_array_equal(one.images[0], same.images[0])


def test_parts_of_the_report_may_be_left_out() -> None:
    """A look at a training that goes on need not take an hour."""
    report = evaluate(OneAnswerEngine("[]"), scene_count=0, picture_count=1, budgets=(70,), seed=1)
    assert report.rows == report.weak_spots == ()
    assert len(report.wide_rows) > 60


def test_pictures_of_the_judges_have_something_to_ask_about() -> None:
    """Crops one thing, others one to five, on all backgrounds."""
    assert {len(picture.things) for picture in draw_crops(_rng(0), 8)} == {1}
    assert all(1 <= len(picture.things) <= 5 for picture in draw_mixed(_rng(0), 8))


ROWS = (
    Row(name="count", value=0.9, target=0.85, n=20, budget=70),
    Row(name="thought", value=0.7, target=0.65, n=20, budget=70),
    Row(name="absent", value=1.0, limit=2.0, n=20, budget=70),
    Row(name="count", value=0.8, target=0.85, n=20, budget=140),
    Row(name="thought", value=0.7, target=0.75, n=19, budget=140),
)


def test_a_table_has_a_column_for_each_budget() -> None:
    """What misses its demand is bold, and demands that differ stand with their figures."""
    assert write_table(ROWS) == [
        "| measure | at 70 | at 140 | target | n |",
        "|---|---|---|---|---|",
        "| count | 0.900 | **0.800** | 0.850 | 20 |",
        "| thought | 0.700 (0.650) | **0.700** (0.750) |  | 19-20 |",
        "| absent | 1.000 |  | at most 2.000 | 20 |",
    ]


def test_what_is_missed_is_listed_below_the_tables() -> None:
    """With the weights that were judged."""
    report = Report(rows=(replace(ROWS[0], budget=None),), weak_spots=(), wide_rows=ROWS, duration_s=1.0)
    page = write_markdown(report, "abc")
    assert page.startswith("Weights: `abc`\n\n| measure | value | target | n |\n")
    assert page.endswith(
        "4 of 6 demands are met. Missed:\n\n- count, at 140: 0.800, demanded 0.850\n"
        "- thought, at 140: 0.700, demanded 0.750\n"
    )
    assert "All 1 demands are met." in write_markdown(replace(report, wide_rows=()), "abc")


def test_a_limit_is_missed_from_above() -> None:
    """Of what should be small."""
    assert list_missed([Row(name="absent", value=3.0, limit=2.0, n=20)]) == [
        "absent: 3.000, demanded at most 2.000"
    ]


@pytest.mark.parametrize(
    ("value", "limit", "is_worse"),
    [(0.93, None, False), (0.92, None, True), (0.96, None, False), (0.98, 0.1, True), (0.96, 0.1, False)],
)
def test_two_points_may_be_lost(value: float, limit: float | None, *, is_worse: bool) -> None:
    """Where something should be small, more of it is a loss."""
    before = Row(name="count", value=0.95, limit=limit, n=20)
    assert bool(list_worse([replace(before, value=value)], [before])) == is_worse
    assert list_worse([replace(before, name="another", value=0.0)], [before]) == []


def _rng(seed: int) -> np.random.Generator:
    return np.random.default_rng(seed)
