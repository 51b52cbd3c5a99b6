"""What a step hands to the next ones, one row for each image."""

from uuid import uuid4

from gemma4_block.blocks._host import (
    BOOLEAN_KIND,
    INFERENCE_ID_KIND,
    INTEGER_KIND,
    LANGUAGE_MODEL_OUTPUT_KIND,
    ROBOFLOW_MODEL_ID_KIND,
    STRING_KIND,
    OutputDefinition,
)
from gemma4_block.contract import Answer
from gemma4_block.errors import AnswerError, PromptError
from gemma4_block.tasks import Result, Task

Row = dict[str, str | int | bool | None]
"""Output name to value. None where there is nothing to tell; a count that is unknown is never 0."""


OUTPUT_MEANINGS = {
    "output": "The answer as text. Empty (None) where the image could not be asked about.",
    "thinking": "What the model thought before it answered; empty unless enable_thinking is on.",
    "finish_reason": "`stop`: the answer is complete. `length`: it was cut off at max_new_tokens.",
    "input_tokens": "Tokens the model read: the prompt and the image.",
    "output_tokens": "Tokens the model wrote: thoughts and answer.",
    "image_tokens": "Tokens that the image became; see image_seq_length.",
    "error_status": "True where this image has no usable answer. The other images have theirs.",
    "error_message": "What went wrong and what to do; empty (None) where nothing did.",
    "inference_id": "A unique id of this answer.",
    "model_id": "The model that answered.",
}
"""What each output is, for people. The host has no place for it, so the step's long description shows it."""


def describe_outputs() -> list[OutputDefinition]:
    """Return the outputs of the block: their names, kinds and meaning."""
    kinds = {
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
    }
    return [OutputDefinition(name=name, kind=kind) for name, kind in kinds.items()]


def answer_row(task: Task, answer: Answer, model_id: str) -> Row:
    """Return the row of an image that was answered; an unreadable answer is an error that keeps its text."""
    try:
        result = task.read(answer)
    except AnswerError as error:
        return _row(answer, Result(output=error.answer), model_id, error_message=str(error))
    return _row(answer, result, model_id, error_message=None)


def refused_row(error: PromptError, model_id: str) -> Row:
    """Return the row of an image that could not be asked about."""
    return _row(None, None, model_id, error_message=str(error))


def _row(answer: Answer | None, result: Result | None, model_id: str, *, error_message: str | None) -> Row:
    return {
        "output": None if result is None else result.output,
        "thinking": None if answer is None else answer.thinking,
        "finish_reason": None if answer is None else answer.finish_reason,
        "input_tokens": None if answer is None else answer.input_tokens,
        "output_tokens": None if answer is None else answer.output_tokens,
        "image_tokens": None if answer is None else answer.image_tokens,
        "error_status": error_message is not None,
        "error_message": error_message,
        "inference_id": str(uuid4()),
        "model_id": model_id,
    }
