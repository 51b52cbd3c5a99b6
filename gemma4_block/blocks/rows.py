"""The output rows of the steps with a model, one for each image or group: output names and values."""

from collections.abc import Sequence
from typing import Any
from uuid import uuid4

from gemma4_block.blocks._host_predictions import build_predictions
from gemma4_block.blocks.outputs import GROUP_OUTPUT_MEANINGS, OUTPUT_MEANINGS
from gemma4_block.blocks.public_text import hide_folders
from gemma4_block.contract import Answer
from gemma4_block.errors import AnswerError, PromptError
from gemma4_block.tasks import Result, Task, TaskRequest

Row = dict[str, Any]
"""Output name to value. None where there is nothing to tell; a count that is unknown is never 0."""


def answer_row(task: Task, request: TaskRequest, answer: Answer, image: Any, model_id: str) -> Row:  # noqa: ANN401
    """Return the row of an image that was answered; an unreadable answer is an error that keeps its text.

    Args:
        task: Reads the answer.
        request: The question it answers.
        answer: The model's answer.
        image: The workflow's image, which predictions belong to.
        model_id: Which model answered.

    Returns:
        The row.

    """
    try:
        result = task.read(answer, request)
    except AnswerError as error:
        result = Result(output=error.answer, error_message=str(error))
    row = _bare_row(result.error_message, request.classes, model_id)
    if result.note is not None:
        row["error_message"] = result.note
    if result.predictions is not None:
        row["predictions"] = build_predictions(
            result.predictions, image, request.classes, row["inference_id"]
        )
    return row | {
        "output": result.output,
        "thinking": answer.thinking,
        "finish_reason": answer.finish_reason,
        "input_tokens": answer.input_tokens,
        "output_tokens": answer.output_tokens,
        "image_tokens": answer.image_tokens,
        "parsed": result.parsed,
        "count": result.count,
    }


def refused_row(error: PromptError, classes: Sequence[str], model_id: str) -> Row:
    """Return the row of an image that could not be asked about."""
    return _bare_row(hide_folders(str(error)), classes, model_id)


def answered_group(
    task: Task,
    request: TaskRequest,
    answer: Answer,
    model_id: str,
    *,
    image_count: int,
    places: Sequence[int],
) -> Row:
    """Return the row of a group that was answered; an unreadable answer is an error that keeps its text.

    Args:
        task: Reads the answer.
        request: The question it answers.
        answer: The model's answer.
        model_id: Which model answered.
        image_count: How many images the group has.
        places: Which of them were asked about, from 0.

    Returns:
        The row.

    """
    # Predictions would belong to one image; these tasks give none.
    row = answer_row(task, request, answer, None, model_id)
    return _group_row(row, image_count=image_count, places=places)


def unanswered_group(error: PromptError | None, model_id: str, *, image_count: int) -> Row:
    """Return the row of a group that could not be asked about, or that is empty and without an error."""
    row = _bare_row(None if error is None else hide_folders(str(error)), (), model_id)
    return _group_row(row, image_count=image_count, places=())


def _bare_row(error_message: str | None, classes: Sequence[str], model_id: str) -> Row:
    return dict.fromkeys(OUTPUT_MEANINGS) | {
        "error_status": error_message is not None,
        "error_message": error_message,
        "inference_id": str(uuid4()),
        "model_id": model_id,
        "classes": list(classes) if classes else None,
    }


def _group_row(row: Row, *, image_count: int, places: Sequence[int]) -> Row:
    shared = {name: value for name, value in row.items() if name in GROUP_OUTPUT_MEANINGS}
    return shared | {"image_count": image_count, "asked_images": [place + 1 for place in places]}
