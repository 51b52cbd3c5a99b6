"""The outputs that the steps with a model declare: what each is, and of which kinds."""

from typing_extensions import assert_never

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
    Kind,
    OutputDefinition,
)
from gemma4_block.tasks import TASKS, ParsedKind, PredictionsKind, TaskType

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
    "error_message": "What went wrong and what to do; empty (None) where nothing did. Where error_status is "
    "False: how many boxes without an area were left out.",
    "inference_id": "A unique id of this answer.",
    "model_id": "The model that answered.",
    "predictions": "Object detection: boxes with classes. Classification: classes. Each with a measured "
    "confidence, or NaN (null in JSON) where the model runs elsewhere and tells none. Else empty (None).",
    "parsed": "The answer of a task that answers in JSON, as a dictionary or list. Else empty (None).",
    "count": "Counting: how many objects of all classes together. Object detection: how many boxes. Else "
    "empty (None).",
    "classes": "The classes that were asked for; empty (None) where the task has none.",
}
"""The meaning of each output, for people. The host has no place for it; the long description shows it."""

# These are of one image each, or of classes.
_OF_SINGLE_IMAGES = {"predictions", "count", "classes"}

GROUP_OUTPUT_MEANINGS = {
    **{name: meaning for name, meaning in OUTPUT_MEANINGS.items() if name not in _OF_SINGLE_IMAGES},
    "output": "The answer as text. Empty (None) where the group has no images, or could not be asked about.",
    "input_tokens": "Tokens the model read: the prompt and all images.",
    "image_tokens": "Tokens that all images together became; each at most image_seq_length, for which with "
    "auto the largest image decides.",
    "error_status": "True where this group has no usable answer. Other groups have theirs.",
    "error_message": "What went wrong and what to do; empty (None) where nothing did.",
    "image_count": "How many images the group has; 0 is no error.",
    "asked_images": "The numbers of the images that the model saw, from 1, in the order in which the prompt "
    "names them: all of them, or the sample. Empty where there was nothing to ask.",
}
"""The meaning of each output, for people."""


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


def describe_outputs() -> list[OutputDefinition]:
    """Return the outputs of the Gemma 4 step with every kind that a task may give."""
    return [OutputDefinition(name=name, kind=kind) for name, kind in _KINDS.items()]


def describe_outputs_of(task_type: TaskType) -> list[OutputDefinition]:
    """Return the outputs of a Gemma 4 step with the kinds that its task gives.

    The host wants every declared output in every row, so those that the task leaves empty are there too.
    """
    gives = TASKS[task_type].gives
    kinds = _KINDS | {
        "predictions": _kinds_of_predictions(gives.predictions),
        "parsed": _kinds_of_parsed(gives.parsed),
    }
    return [OutputDefinition(name=name, kind=kind) for name, kind in kinds.items()]


def describe_group_outputs() -> list[OutputDefinition]:
    """Return the outputs of the multi-image step."""
    shared = [output for output in describe_outputs() if output.name in GROUP_OUTPUT_MEANINGS]
    return [
        *shared,
        OutputDefinition(name="image_count", kind=[INTEGER_KIND]),
        OutputDefinition(name="asked_images", kind=[LIST_OF_VALUES_KIND]),
    ]


def _kinds_of_predictions(given: PredictionsKind) -> list[Kind]:
    match given:
        case "none":
            return _KINDS["predictions"]
        case "classes":
            return [CLASSIFICATION_PREDICTION_KIND]
        case "boxes":
            return [OBJECT_DETECTION_PREDICTION_KIND]
        case _:
            assert_never(given)


def _kinds_of_parsed(given: ParsedKind) -> list[Kind]:
    match given:
        case "none" | "any":
            return _KINDS["parsed"]
        case "object":
            return [DICTIONARY_KIND]
        case "list":
            return [LIST_OF_VALUES_KIND]
        case _:
            assert_never(given)
