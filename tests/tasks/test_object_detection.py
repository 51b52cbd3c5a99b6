"""Boxes of the classes, in pixels of the image asked about."""

import json
import math
from collections.abc import Callable
from dataclasses import replace

import pytest
from jsonschema import Draft202012Validator

from gemma4_block.contract import Answer, JsonSchema, TokenScore
from gemma4_block.errors import AnswerError
from gemma4_block.json_schema import compile_schema
from gemma4_block.reading import BOX_CONTRACTS, BoxFormat
from gemma4_block.tasks import TASKS, Detection, Detections, Result, TaskRequest

TASK = TASKS["object-detection"]
Ask = Callable[..., TaskRequest]
Say = Callable[..., Answer]
CAT = {"box_2d": [100, 250, 500, 750], "label": "cat"}
DOG = {"box_2d": [0, 0, 1000, 1000], "label": "dog"}


def test_the_wording_lists_the_classes(request_classes: Ask) -> None:
    """The demo checkpoint is trained on these words."""
    prompt = TASK.ask(request_classes("cat", "red dog"))
    assert prompt.text == (
        "Detect every object of these classes in the image: cat, red dog. "
        'Answer in JSON with a list of "box_2d" and "label".'
    )
    assert prompt.needs_token_scores


@pytest.mark.parametrize("box_format", BOX_CONTRACTS)
def test_the_answer_is_held_to_the_box_format(request_classes: Ask, box_format: BoxFormat) -> None:
    """Wording and schema are those of the format that the checkpoint was taught."""
    contract = BOX_CONTRACTS[box_format]
    prompt = TASK.ask(replace(request_classes("cat", "größe"), box_format=box_format))
    assert prompt.text.endswith(contract.instruction)
    assert isinstance(prompt.constraint, JsonSchema)
    entry = json.loads(prompt.constraint.text)["items"]
    assert entry["properties"]["label"] == {"enum": ["cat", "größe"]}
    assert entry["properties"]["box_2d"]["items"].get("maximum") == contract.scale


@pytest.mark.parametrize(
    ("box_format", "box"),
    [
        ("yxyx_0_1000", [100, 250, 500, 750]),
        ("xyxy_0_1000", [250, 100, 750, 500]),
        ("xyxy_0_1", [0.25, 0.1, 0.75, 0.5]),
        ("xyxy_pixels", [50, 10, 150, 50]),
    ],
)
def test_boxes_are_pixels_of_the_image(
    request_classes: Ask, say: Say, box_format: BoxFormat, box: list[float]
) -> None:
    """The same place comes out of every format, in an image of 200 by 100 pixels."""
    text = json.dumps([{"box_2d": box, "label": "cat"}])
    request = replace(request_classes("dog", "cat"), box_format=box_format)
    assert TASK.read(say(text), request) == Result(
        output=text,
        parsed=[{"box_2d": box, "label": "cat"}],
        count=1,
        predictions=Detections(
            items=(Detection(class_name="cat", box_xyxy_px=(50, 10, 150, 50), confidence=None),)
        ),
    )


def test_no_objects_are_an_empty_result(request_classes: Ask, say: Say) -> None:
    """Nothing found is an answer, not an error."""
    assert TASK.read(say("[]"), request_classes("cat")) == Result(
        output="[]", parsed=[], count=0, predictions=Detections(items=())
    )


def test_a_confidence_stays_with_its_own_box(request_classes: Ask, say: Say) -> None:
    """Also where an entry before it cannot be read."""
    flat = {"box_2d": [5, 5, 5, 5], "label": "cat"}
    text = json.dumps([flat, CAT, DOG])
    starts = [0, text.index(json.dumps(CAT)), text.index(json.dumps(DOG)), len(text)]
    scores = tuple(
        TokenScore(start=start, end=end, log_probability=0.0, free_log_probability=math.log(probability))
        for start, end, probability in zip(starts[:-1], starts[1:], (0.1, 0.5, 0.9), strict=True)
    )
    result = TASK.read(say(text, token_scores=scores), request_classes("cat", "dog"))
    assert isinstance(result.predictions, Detections)
    assert [item.class_name for item in result.predictions.items] == ["cat", "dog"]
    assert [item.confidence for item in result.predictions.items] == pytest.approx([0.5, 0.9])
    assert (result.error_message, result.note) == (None, "Boxes without an area are left out: 1.")


def test_a_box_without_an_area_costs_no_other_and_is_told(request_classes: Ask, say: Say) -> None:
    """Where it is the only one, nothing is found; the answer is whole all the same."""
    text = json.dumps([{"box_2d": [5, 0, 5, 900], "label": "cat"}])
    result = TASK.read(say(text), request_classes("cat"))
    assert result == Result(
        output=text,
        parsed=json.loads(text),
        count=0,
        predictions=Detections(items=()),
        note="Boxes without an area are left out: 1.",
    )


def test_an_engine_that_tells_no_free_probabilities_gives_no_confidence(
    request_classes: Ask, say: Say
) -> None:
    """A label's probability among the classes asked for would be 1 whatever the box shows."""
    text = json.dumps([CAT])
    scores = (TokenScore(start=0, end=len(text), log_probability=0.0),)
    result = TASK.read(say(text, token_scores=scores), request_classes("cat"))
    assert isinstance(result.predictions, Detections)
    assert [item.confidence for item in result.predictions.items] == [None]


@pytest.mark.parametrize(
    ("text", "count"),
    [
        (json.dumps([CAT, DOG])[:-1], 2),
        (json.dumps([CAT, DOG])[:-12], 1),
        (json.dumps([CAT])[:12], 0),
        ("[", 0),
        ("", 0),
    ],
)
def test_what_was_complete_before_the_cut_is_kept_and_the_cut_is_told(
    request_classes: Ask, say: Say, text: str, count: int
) -> None:
    """Half a list of boxes does not look like a whole one."""
    result = TASK.read(say(text, finish_reason="length"), request_classes("cat", "dog"))
    assert isinstance(result.predictions, Detections)
    assert (result.count, len(result.predictions.items)) == (count, count)
    assert result.error_message is not None
    assert "cut off at max_new_tokens" in result.error_message
    assert "Raise max_new_tokens" in result.error_message


def test_a_class_that_was_not_asked_for_is_left_out_and_told(request_classes: Ask, say: Say) -> None:
    """An engine that is held to no form may answer anything; spelling is forgiven."""
    text = json.dumps([{**CAT, "label": "Cat"}, DOG])
    result = TASK.read(say(text), request_classes("cat"))
    assert isinstance(result.predictions, Detections)
    assert [item.class_name for item in result.predictions.items] == ["cat"]
    assert (result.count, result.error_message) == (
        1,
        "Boxes of classes that were not asked for are left out: dog.",
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("There is a cat on the left.", "holds no JSON"),
        ('{"cat": "left"}', "holds no list of boxes"),
        ('[{"label": "cat"}]', "None of the 1 entries"),
    ],
)
def test_entries_that_cannot_be_read_are_not_no_objects(
    request_classes: Ask, say: Say, text: str, message: str
) -> None:
    """A failed reading and an empty result are different things."""
    with pytest.raises(AnswerError, match=message) as caught:
        TASK.read(say(text), request_classes("cat"))
    assert (caught.value.answer, caught.value.task) == (text, "object-detection")


@pytest.mark.parametrize(
    "box",
    [[500, 750, 100, 250], [500, 250, 100, 750], ["100", "250", "500", "750"]],
    ids=["both corners", "one axis", "quoted"],
)
def test_swapped_corners_are_put_in_order(request_classes: Ask, say: Say, box: list[object]) -> None:
    """A grammar says what a number is, not which is the larger one."""
    text = json.dumps([{"box_2d": box, "label": "cat"}])
    result = TASK.read(say(text), request_classes("cat"))
    assert isinstance(result.predictions, Detections)
    assert [item.box_xyxy_px for item in result.predictions.items] == [(50, 10, 150, 50)]
    assert result.error_message is None


def test_a_box_beyond_the_image_ends_at_its_edge(request_classes: Ask, say: Say) -> None:
    """An engine that is held to no form may answer any number."""
    text = json.dumps([{"box_2d": [-50, 500, 1200, 1001], "label": "cat"}])
    result = TASK.read(say(text), request_classes("cat"))
    assert isinstance(result.predictions, Detections)
    assert [item.box_xyxy_px for item in result.predictions.items] == [(100, 0, 200, 100)]


def test_every_loss_is_told(request_classes: Ask, say: Say) -> None:
    """One of them does not hide the others."""
    flat, broken = {"box_2d": [5, 5, 5, 5], "label": "cat"}, {"box_2d": [5], "label": "cat"}
    text = json.dumps([CAT, flat, broken, DOG, CAT])[:-5]
    result = TASK.read(say(text, finish_reason="length"), request_classes("cat"))
    assert result.note is None
    assert result.error_message == (
        "The answer was cut off at max_new_tokens. Raise max_new_tokens, or ask for less. The boxes are "
        "those that were complete; one takes about 30 tokens. 1 entries of the answer could not be read as "
        "boxes and are left out. Boxes of classes that were not asked for are left out: dog. Boxes without "
        "an area are left out: 1."
    )


@pytest.mark.parametrize(
    ("entry", "is_allowed"),
    [
        (CAT, True),
        ({"box_2d": [0, 0, 1000, 1000], "label": "größe"}, True),
        ({"box_2d": [0, 0, 1001, 10], "label": "cat"}, False),
        ({"box_2d": [-1, 0, 10, 10], "label": "cat"}, False),
        ({"box_2d": [0.5, 0, 10, 10], "label": "cat"}, False),
        ({"box_2d": [0, 0, 10], "label": "cat"}, False),
        ({"box_2d": [0, 0, 10, 10, 10], "label": "cat"}, False),
        ({"box_2d": [0, 0, 10, 10], "label": "Cat"}, False),
        ({"box_2d": [0, 0, 10, 10]}, False),
        ({"label": "cat"}, False),
        ({**CAT, "confidence": 1}, False),
    ],
)
def test_entries_are_held_to_four_numbers_and_a_class(
    request_classes: Ask,
    entry: dict[str, object],
    is_allowed: bool,  # noqa: FBT001 - a case
) -> None:
    """Nothing that could not be read can be written."""
    constraint = TASK.ask(request_classes("cat", "größe")).constraint
    assert isinstance(constraint, JsonSchema)
    assert len(constraint.text) <= 20_000
    compile_schema(constraint.text)
    validator = Draft202012Validator(json.loads(constraint.text))
    assert (validator.is_valid([]), validator.is_valid(entry)) == (True, False)
    assert validator.is_valid([CAT, entry]) is is_allowed
