"""A number for each class, and the total."""

import json
from collections.abc import Callable

import pytest
from jsonschema import Draft202012Validator

from gemma4_block.contract import Answer, JsonSchema
from gemma4_block.errors import AnswerError
from gemma4_block.json_schema import compile_schema
from gemma4_block.tasks import TASKS, Result, TaskRequest

TASK = TASKS["counting"]
Ask = Callable[..., TaskRequest]
Say = Callable[..., Answer]


def test_the_wording_lists_the_classes(request_classes: Ask) -> None:
    """The demo checkpoint is trained on these words."""
    assert TASK.ask(request_classes("cat", "red dog")).text == (
        "How many of each of these classes are in the image: cat, red dog? "
        "Answer in JSON with a number for each class."
    )


@pytest.mark.parametrize(
    ("answer", "is_allowed"),
    [
        ({"cat": 0, "größe": 9999}, True),
        ({"cat": 1}, False),
        ({"cat": 1, "größe": -1}, False),
        ({"cat": 1, "größe": 10_000}, False),
        ({"cat": 1, "größe": 1.5}, False),
        ({"cat": 1, "größe": 1, "dog": 1}, False),
    ],
)
def test_the_answer_is_held_to_a_whole_number_for_each_class(
    request_classes: Ask,
    answer: dict[str, float],
    is_allowed: bool,  # noqa: FBT001 - a case
) -> None:
    """No class is left out, none is added, and no number grows without end."""
    constraint = TASK.ask(request_classes("cat", "größe")).constraint
    assert isinstance(constraint, JsonSchema)
    assert len(constraint.text) <= 20_000
    compile_schema(constraint.text)
    assert Draft202012Validator(json.loads(constraint.text)).is_valid(answer) is is_allowed


def test_the_count_is_the_total(request_classes: Ask, say: Say) -> None:
    """The numbers come in the order asked."""
    text = '{"Dog": 0, "cat": 12}'
    assert TASK.read(say(text), request_classes("cat", "dog")) == Result(
        output=text, parsed={"cat": 12, "dog": 0}, count=12
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"cat": 1}', "has no whole number for dog"),
        ('{"cat": true, "dog": 1.5}', "has no whole number for cat, dog"),
        ('{"cat": "1", "dog": -1}', "has no whole number for cat, dog"),
        ("Two cats.", "holds no JSON"),
    ],
)
def test_a_class_without_a_number_is_an_error(
    request_classes: Ask, say: Say, text: str, message: str
) -> None:
    """Unknown is never 0."""
    with pytest.raises(AnswerError, match=message) as caught:
        TASK.read(say(text), request_classes("cat", "dog"))
    assert (caught.value.answer, caught.value.task) == (text, "counting")


@pytest.mark.parametrize("text", ['{"cat": 3, "dog": 1', '{"cat": 3, "do', '{"cat": 3'])
def test_an_answer_that_was_cut_off_counts_nothing(request_classes: Ask, say: Say, text: str) -> None:
    """A number whose last digit is missing looks like a smaller one."""
    with pytest.raises(AnswerError, match="max_new_tokens"):
        TASK.read(say(text, finish_reason="length"), request_classes("cat", "dog"))


def test_the_exact_spelling_of_a_class_counts(request_classes: Ask, say: Say) -> None:
    """A near spelling after it does not take its place."""
    result = TASK.read(say('{"cat": 1, "Cat": 5}'), request_classes("cat"))
    assert (result.parsed, result.count) == ({"cat": 1}, 1)
