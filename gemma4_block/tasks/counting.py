"""Ask how many objects of each of the given classes an image shows."""

import json
from collections.abc import Mapping, Sequence
from typing import Final

from gemma4_block.contract import Answer, JsonSchema
from gemma4_block.errors import AnswerError
from gemma4_block.reading import JsonValue, find_class, read_json
from gemma4_block.tasks.class_list import list_classes
from gemma4_block.tasks.inputs import Inputs
from gemma4_block.tasks.results import Outputs, Result
from gemma4_block.tasks.task import JsonTask, TaskRequest

_NAME: Final = "counting"
# More than such a model can count. Without a maximum the grammar would allow endless digits.
_MOST = 9999


def wording(classes: Sequence[str]) -> str:
    """Word the question for `classes`, in the order given."""
    return (
        f"How many of each of these classes are in the image: {list_classes(classes)}? "
        "Answer in JSON with a number for each class."
    )


def _constrain(request: TaskRequest) -> JsonSchema:
    # The length of schemas is limited, so the number is said once and no letter is escaped.
    schema = {
        "type": "object",
        "properties": {name: {"$ref": "#/$defs/n"} for name in request.classes},
        "required": list(request.classes),
        "additionalProperties": False,
        "$defs": {"n": {"type": "integer", "minimum": 0, "maximum": _MOST}},
    }
    return JsonSchema(text=json.dumps(schema, ensure_ascii=False))


def _read(answer: Answer, request: TaskRequest) -> Result:
    counts = _read_counts(answer, request.classes)
    parsed: JsonValue = {**counts}
    return Result(output=answer.text, parsed=parsed, count=sum(counts.values()))


def _read_counts(answer: Answer, classes: Sequence[str]) -> Mapping[str, int]:
    value = read_json(answer.text, task=_NAME, cut_off=answer.cut_off).value
    given = value if isinstance(value, dict) else {}
    # Of two spellings of a class the exact one comes last, and so counts.
    keys = sorted(given, key=lambda key: key in classes)
    said = {find_class(key, classes): given[key] for key in keys}
    found = {name: count for name in classes if _is_count(count := said.get(name)) and isinstance(count, int)}
    missing = [name for name in classes if name not in found]
    if missing:
        remedy = "Ask for fewer classes at once, or try a larger model."
        raise AnswerError(
            f"The answer to {_NAME} has no whole number for {', '.join(missing)}. "
            f"{remedy if answer.cut_off is None else answer.cut_off}",
            answer=answer.text,
            task=_NAME,
        )
    return found


def _is_count(value: JsonValue) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= _MOST


TASK = JsonTask(
    name=_NAME,
    title="Counting",
    description="How many objects of each of your classes are in the image, and how many in all.",
    # Source: https://huggingface.co/google/gemma-4-E2B-it, which gives small objects 560 or 1120.
    image_seq_length=560,
    takes=Inputs(classes="required"),
    gives=Outputs(parsed="object"),
    word=lambda request: wording(request.classes),
    constrain=_constrain,
    read_answer=_read,
)
