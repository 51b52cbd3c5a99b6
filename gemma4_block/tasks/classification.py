"""Ask which one of the given classes fits an image."""

import json
from collections.abc import Sequence
from typing import Final

from gemma4_block.contract import Answer, Choices, JsonSchema
from gemma4_block.errors import AnswerError
from gemma4_block.reading import JsonValue, find_class, read_json
from gemma4_block.tasks.class_list import list_classes
from gemma4_block.tasks.inputs import Inputs
from gemma4_block.tasks.results import CONFIDENCE_DIGITS, Classification, ClassScore, Outputs, Result
from gemma4_block.tasks.task import JsonTask, TaskRequest

_NAME: Final = "classification"
_LEAD: Final = '{"class_name": "'

REST_NAMES: Final = (
    "other", "others", "something else", "unknown", "none", "none of these", "none of them",
    "none of the above",
)  # fmt: skip
"""The classes that stand for everything but the other ones, however they are spelled."""


def wording(classes: Sequence[str]) -> str:
    """Word the question for `classes`, in the order given."""
    return (
        f"Which one of these classes fits the image best: {list_classes(classes)}? "
        'Answer in JSON: {"class_name": "..."}'
    )


def _constrain(request: TaskRequest) -> Choices:
    """Let the answer be one of the classes, and have every one of them scored.

    Each text is the whole answer, so what ends a short class is part of it, and a class that begins like
    another is no likelier for that. Probabilities are those of whole answers; longer ones are not made up for
    their length, because exactly one of them is the answer. What the model would rather have said than any of
    them counts for the class that stands for it, where one does.
    """
    schema = {
        "type": "object",
        "properties": {"class_name": {"enum": list(request.classes)}},
        "required": ["class_name"],
        "additionalProperties": False,
    }
    texts = tuple(_write(name) for name in request.classes)
    return Choices(
        groups=(texts,),
        schema=JsonSchema(text=json.dumps(schema, ensure_ascii=False)),
        lead=_LEAD,
        rest=_find_rest(request.classes),
    )


def _find_rest(classes: Sequence[str]) -> int | None:
    """Return the place of the first class that means none of the others; None where none does."""
    places = (place for place, name in enumerate(classes) if find_class(name, REST_NAMES) is not None)
    return next(places, None)


def _read(answer: Answer, request: TaskRequest) -> Result:
    scores = _read_scores(answer, request.classes)
    if answer.choice_probabilities is None:
        top = _read_class(answer, request.classes)
    else:
        top = request.classes[[_write(name) for name in request.classes].index(answer.text)]
    chosen = scores[request.classes.index(top)]
    parsed: dict[str, JsonValue] = {"class_name": top}
    if chosen.confidence is not None:
        # The host's own parsers of classes want it in the text.
        parsed["confidence"] = round(chosen.confidence, CONFIDENCE_DIGITS)
    return Result(
        output=json.dumps(parsed, ensure_ascii=False),
        parsed=parsed,
        predictions=Classification(top=chosen, scores=scores),
    )


def _read_scores(answer: Answer, classes: Sequence[str]) -> tuple[ClassScore, ...]:
    if answer.choice_probabilities is None or answer.group_probabilities is None:
        return tuple(ClassScore(class_name=name, confidence=None) for name in classes)
    (probabilities,), (total,) = answer.choice_probabilities, answer.group_probabilities
    return tuple(
        ClassScore(class_name=name, confidence=probability * total)
        for name, probability in zip(classes, probabilities, strict=True)
    )


def _read_class(answer: Answer, classes: Sequence[str]) -> str:
    value = read_json(answer.text, task=_NAME, cut_off=answer.cut_off).value
    given = value.get("class_name") if isinstance(value, dict) else None
    found = find_class(given, classes) if isinstance(given, str) else None
    if found is None:
        remedy = "Add a class for what fits none of them, such as other."
        raise AnswerError(
            f"The answer to {_NAME} is {given!r}; it must be one of {', '.join(classes)}. "
            f"{remedy if answer.cut_off is None else answer.cut_off}",
            answer=answer.text,
            task=_NAME,
        )
    return found


def _write(class_name: str) -> str:
    # As tokens and eyes see it: an escaped letter would be six characters.
    return json.dumps({"class_name": class_name}, ensure_ascii=False)


TASK = JsonTask(
    name=_NAME,
    title="Single-label classification",
    description="The one of your classes that fits the image best, with the measured probability of each.",
    # Source: https://huggingface.co/google/gemma-4-E2B-it, which gives classification 70 or 140.
    image_seq_length=140,
    takes=Inputs(classes="required"),
    gives=Outputs(predictions="classes", parsed="object"),
    word=lambda request: wording(request.classes),
    constrain=_constrain,
    read_answer=_read,
)
