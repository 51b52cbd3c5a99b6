"""An answer that ended before its time says so, whatever was asked."""

from typing import TYPE_CHECKING

import numpy as np
import pytest

from gemma4_block.contract import FinishReason
from gemma4_block.errors import AnswerError
from gemma4_block.tasks import TASKS, TaskRequest, TaskType

if TYPE_CHECKING:
    from .conftest import Say

TEXT_TASKS: tuple[TaskType, ...] = (
    "unconstrained",
    "visual-question-answering",
    "caption",
    "detailed-caption",
    "ocr",
)
REQUEST = TaskRequest(
    images=(np.zeros((9, 9, 3), np.uint8),),
    image_seq_length=70,
    prompt="What?",
    classes=("cat", "dog"),
    output_structure={"name": "string"},
)


@pytest.mark.parametrize("reason", ["deadline", "cancelled"])
@pytest.mark.parametrize("name", [name for name in TASKS if name not in {*TEXT_TASKS, "object-detection"}])
def test_a_form_that_was_not_begun_is_an_error_that_says_why(
    name: TaskType, reason: FinishReason, say: "Say"
) -> None:
    """Nothing was read, so nothing is made of it."""
    with pytest.raises(AnswerError, match="time was up" if reason == "deadline" else "cancelled"):
        TASKS[name].read(say("", finish_reason=reason), REQUEST)


@pytest.mark.parametrize("name", TEXT_TASKS)
def test_half_a_text_is_kept_and_marked(name: TaskType, say: "Say") -> None:
    """The operator's limit is no wish of who asked; max_new_tokens is."""
    late = TASKS[name].read(say("A red", finish_reason="deadline"), REQUEST)
    short = TASKS[name].read(say("A red", finish_reason="length"), REQUEST)

    assert (late.output, short.output, short.error_message) == ("A red", "A red", None)
    assert late.error_message is not None
    assert "GEMMA4_BLOCK_MAX_SECONDS" in late.error_message


def test_boxes_that_were_complete_in_time_are_kept(say: "Say") -> None:
    """As where max_new_tokens cuts."""
    text = '[{"box_2d": [10, 20, 300, 400], "label": "cat"}, {"box_2d": [1'
    for said, count in ((text, 1), ("", 0)):
        result = TASKS["object-detection"].read(say(said, finish_reason="deadline"), REQUEST)

        assert result.count == count
        assert result.error_message is not None
        assert "time was up" in result.error_message


@pytest.mark.parametrize("reason", ["length", "deadline", "cancelled"])
@pytest.mark.parametrize("text", ["", "{", "[", "Hm", '{"cat": 1, "do', '{"class_name": "c', '[[{"cat": ['])
@pytest.mark.parametrize("name", [name for name in TASKS if name not in TEXT_TASKS])
def test_the_advice_is_that_of_the_cut(name: TaskType, text: str, reason: FinishReason, say: "Say") -> None:
    """More tokens help where they ran out, and nowhere else; what helps with a whole answer is not said."""
    answer = say(text, finish_reason=reason)
    try:
        message = TASKS[name].read(answer, REQUEST).error_message
    except AnswerError as error:
        message = str(error)
    assert answer.cut_off is not None
    assert message is not None
    assert answer.cut_off in message
    advice = message.replace(answer.cut_off, "")
    assert "max_new_tokens" not in advice
    assert "larger model" not in advice
    assert "Ask" not in advice
    assert "Add a class" not in advice


def test_what_a_box_takes_is_said_where_tokens_ran_out(say: "Say") -> None:
    """It is no help where the time was up."""
    task = TASKS["object-detection"]
    short, late = (task.read(say("[", finish_reason=reason), REQUEST) for reason in ("length", "deadline"))
    assert short.error_message == (
        "The answer was cut off at max_new_tokens. Raise max_new_tokens, or ask for less. "
        "The boxes are those that were complete; one takes about 30 tokens."
    )
    assert late.error_message == (
        "The answer was cut off because its time was up. Ask for less, or raise GEMMA4_BLOCK_MAX_SECONDS. "
        "The boxes are those that were complete."
    )
