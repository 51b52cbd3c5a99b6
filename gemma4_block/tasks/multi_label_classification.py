"""Ask for each of the given classes whether an image shows it."""

import json
from collections.abc import Mapping, Sequence
from typing import Final

from gemma4_block.contract import Answer, Choices, JsonSchema
from gemma4_block.errors import AnswerError
from gemma4_block.reading import JsonValue, find_class, read_json
from gemma4_block.tasks.class_list import list_classes
from gemma4_block.tasks.inputs import Inputs
from gemma4_block.tasks.results import (
    CONFIDENCE_DIGITS,
    ClassScore,
    MultiLabelClassification,
    Outputs,
    Result,
)
from gemma4_block.tasks.task import JsonTask, TaskRequest

_NAME: Final = "multi-label-classification"


def wording(classes: Sequence[str]) -> str:
    """Word the question for `classes`, in the order given."""
    return (
        f"Which of these classes are in the image: {list_classes(classes)}? "
        "Answer in JSON with true or false for each class."
    )


def _constrain(request: TaskRequest) -> Choices:
    """Let each class be true or false, scored as the first thing that is said.

    So the answer about one class does not depend on that about another. Measured on 200 scenes of the demo:
    as often right as classes that are answered one after another, and in half the time.
    """
    schema = {
        "type": "object",
        "properties": {name: {"type": "boolean"} for name in request.classes},
        "required": list(request.classes),
        "additionalProperties": False,
    }
    groups = tuple((_begin(name, is_there=True), _begin(name, is_there=False)) for name in request.classes)
    return Choices(groups=groups, schema=JsonSchema(text=json.dumps(schema, ensure_ascii=False)))


def _read(answer: Answer, request: TaskRequest) -> Result:
    if answer.choice_probabilities is None:
        said = _read_classes(answer, request.classes)
        confidences: Sequence[float | None] = [None] * len(request.classes)
    else:
        lines = answer.text.split("\n")
        yes = [_begin(name, is_there=True) for name in request.classes]
        said = {name: line == text for name, line, text in zip(request.classes, lines, yes, strict=True)}
        confidences = [probability for probability, _ in answer.choice_probabilities]
    scores = tuple(
        ClassScore(class_name=name, confidence=confidence)
        for name, confidence in zip(request.classes, confidences, strict=True)
    )
    present = tuple(name for name in request.classes if said[name])
    return Result(
        output=json.dumps(_write(scores, said), ensure_ascii=False),
        parsed={**said},
        predictions=MultiLabelClassification(scores=scores, present=present),
    )


def _write(scores: Sequence[ClassScore], said: Mapping[str, bool]) -> JsonValue:
    """Return the answer in the form that the host's own parsers of classes read, where that can be done."""
    if any(score.confidence is None for score in scores):
        return {**said}
    return {
        "predicted_classes": [
            {"class": score.class_name, "confidence": round(score.confidence, CONFIDENCE_DIGITS)}
            for score in scores
            if score.confidence is not None and said[score.class_name]
        ]
    }


def _read_classes(answer: Answer, classes: Sequence[str]) -> Mapping[str, bool]:
    value = read_json(answer.text, task=_NAME, cut_off=answer.cut_off).value
    given = value if isinstance(value, dict) else {}
    # Of two spellings of a class the exact one comes last, and so counts.
    keys = sorted(given, key=lambda key: key in classes)
    said = {find_class(key, classes): given[key] for key in keys}
    found = {name: is_there for name in classes if isinstance(is_there := said.get(name), bool)}
    missing = [name for name in classes if name not in found]
    if missing:
        remedy = "Ask for fewer classes at once, or try a larger model."
        raise AnswerError(
            f"The answer to {_NAME} does not say true or false for {', '.join(missing)}. "
            f"{remedy if answer.cut_off is None else answer.cut_off}",
            answer=answer.text,
            task=_NAME,
        )
    return found


def _begin(class_name: str, *, is_there: bool) -> str:
    return json.dumps({class_name: is_there}, ensure_ascii=False).removesuffix("}")


TASK = JsonTask(
    name=_NAME,
    title="Multi-label classification",
    description="Which of your classes are in the image, with the measured probability of each by itself.",
    # The middle budget, because a class may be a small part of the image.
    # Source: https://huggingface.co/google/gemma-4-E2B-it, where 280 is the default.
    image_seq_length=280,
    takes=Inputs(classes="required"),
    gives=Outputs(predictions="classes", parsed="object"),
    word=lambda request: wording(request.classes),
    constrain=_constrain,
    read_answer=_read,
)
