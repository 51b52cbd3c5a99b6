"""What a step hands to the next ones, one row for each image."""

from collections.abc import Sequence
from typing import Any
from uuid import uuid4

from gemma4_block.blocks._host import (
    BOOLEAN_KIND,
    CLASSIFICATION_PREDICTION_KIND,
    DICTIONARY_KIND,
    INFERENCE_ID_KIND,
    INTEGER_KIND,
    LANGUAGE_MODEL_OUTPUT_KIND,
    LIST_OF_VALUES_KIND,
    OBJECT_DETECTION_PREDICTION_KIND,
    ROBOFLOW_MODEL_ID_KIND,
    STRING_KIND,
    OutputDefinition,
)
from gemma4_block.blocks._host_predictions import build_predictions
from gemma4_block.contract import Answer
from gemma4_block.errors import AnswerError, PromptError
from gemma4_block.tasks import Result, Task, TaskRequest, TaskType

Row = dict[str, Any]
"""Output name to value. None where there is nothing to tell; a count that is unknown is never 0."""

OUTPUT_MEANINGS = {
    "output": "The answer as text. Empty (None) where the image could not be asked about.",
    "thinking": "What the model thought before it answered; empty unless enable_thinking is on.",
    "finish_reason": "`stop`: the answer is complete. `length`: it was cut off at max_new_tokens. "
    "`deadline`: the operator's time for an answer was up.",
    "input_tokens": "Tokens the model read: the prompt and the image.",
    "output_tokens": "Tokens the model wrote: thoughts and answer.",
    "image_tokens": "Tokens that the image became, at most image_seq_length; with auto a small image becomes "
    "fewer.",
    "error_status": "True where this image has no usable answer, or part of one only. Others have theirs.",
    "error_message": "What went wrong and what to do; empty (None) where nothing did.",
    "inference_id": "A unique id of this answer.",
    "model_id": "The model that answered.",
    "predictions": "Object detection: boxes with classes. Classification: classes. Each with a measured "
    "confidence, or NaN (null in JSON) where the model runs elsewhere and tells none. Else empty (None).",
    "parsed": "The answer of a task that answers in JSON, as a dictionary or list. Else empty (None).",
    "count": "Counting: how many objects of all classes together. Object detection: how many boxes. Else "
    "empty (None).",
    "classes": "The classes that were asked for; empty (None) where the task has none.",
}
"""What each output is, for people. The host has no place for it, so the step's long description shows it."""

_KINDS = {
    "output": [STRING_KIND, LANGUAGE_MODEL_OUTPUT_KIND],
    "thinking": [STRING_KIND],
    "finish_reason": [STRING_KIND],
    "input_tokens": [INTEGER_KIND],
    "output_tokens": [INTEGER_KIND],
    "image_tokens": [INTEGER_KIND],
    "error_status": [BOOLEAN_KIND],
    "error_message": [STRING_KIND],
    "inference_id": [INFERENCE_ID_KIND],
    "model_id": [ROBOFLOW_MODEL_ID_KIND],
    "predictions": [OBJECT_DETECTION_PREDICTION_KIND, CLASSIFICATION_PREDICTION_KIND],
    "parsed": [DICTIONARY_KIND, LIST_OF_VALUES_KIND],
    "count": [INTEGER_KIND],
    "classes": [LIST_OF_VALUES_KIND],
}
_NARROWED_KINDS = {
    "classification": {"predictions": [CLASSIFICATION_PREDICTION_KIND], "parsed": [DICTIONARY_KIND]},
    "multi-label-classification": {
        "predictions": [CLASSIFICATION_PREDICTION_KIND],
        "parsed": [DICTIONARY_KIND],
    },
    "object-detection": {
        "predictions": [OBJECT_DETECTION_PREDICTION_KIND],
        "parsed": [LIST_OF_VALUES_KIND],
    },
    "counting": {"parsed": [DICTIONARY_KIND]},
}


def describe_outputs() -> list[OutputDefinition]:
    """Return the outputs of the block with every kind that a task may give."""
    return [OutputDefinition(name=name, kind=kind) for name, kind in _KINDS.items()]


def describe_outputs_of(task_type: TaskType) -> list[OutputDefinition]:
    """Return the outputs of a step with the kinds that its task gives.

    The host wants every declared output in every row, so those that the task leaves empty are there too.
    """
    kinds = _KINDS | _NARROWED_KINDS.get(task_type, {})
    return [OutputDefinition(name=name, kind=kind) for name, kind in kinds.items()]


def answer_row(task: Task, request: TaskRequest, answer: Answer, image: Any, model_id: str) -> Row:  # noqa: ANN401
    """Return the row of an image that was answered; an unreadable answer is an error that keeps its text.

    Args:
        task: Reads the answer.
        request: What was asked.
        answer: What was answered.
        image: The workflow's image, which predictions belong to.
        model_id: Which model answered.

    Returns:
        The row.

    """
    try:
        result = task.read(answer, request)
    except AnswerError as error:
        result = Result(output=error.answer, error_message=str(error))
    row = bare_row(result.error_message, request.classes, model_id)
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
    return bare_row(str(error), classes, model_id)


def bare_row(error_message: str | None, classes: Sequence[str], model_id: str) -> Row:
    """Return a row without an answer; an error only where there is a message."""
    return dict.fromkeys(_KINDS) | {
        "error_status": error_message is not None,
        "error_message": error_message,
        "inference_id": str(uuid4()),
        "model_id": model_id,
        "classes": list(classes) if classes else None,
    }
