"""Ask for facts about an image, in fields that the user names."""

import json
from functools import lru_cache
from typing import Final

from gemma4_block.contract import Answer, JsonSchema
from gemma4_block.errors import AnswerError, MismatchError, PromptError
from gemma4_block.json_schema import find_mismatch
from gemma4_block.reading import JsonValue, read_json
from gemma4_block.tasks.inputs import Inputs, OutputStructure, is_blank
from gemma4_block.tasks.results import Outputs, Result
from gemma4_block.tasks.structures import fields_schema, is_schema, word_fields
from gemma4_block.tasks.task import JsonTask, TaskRequest

_NAME: Final = "structured-answering"


def _word(request: TaskRequest) -> str:
    structure = _structure(request)
    question = "" if is_blank(request.prompt) else f"{request.prompt}\n"
    what = "images" if len(request.images) > 1 else "image"
    if is_schema(structure):
        schema = json.dumps(structure, ensure_ascii=False)
        return f"{question}Answer about the {what} in JSON that matches this JSON Schema: {schema}"
    return f"{question}Answer about the {what} in JSON with these keys. {word_fields(structure)}"


def answer_schema(structure: OutputStructure) -> JsonSchema:
    """Return the JSON Schema of the answers that a structure asks for.

    Args:
        structure: Fields, or a JSON Schema; `structures.is_schema` says which.

    Returns:
        The schema itself, or that of an object with these fields.

    Raises:
        PromptError: It is no JSON, or the value of a field is none.

    """
    try:
        schema = dict(structure) if is_schema(structure) else fields_schema(structure)
        return JsonSchema(text=json.dumps(schema, allow_nan=False), is_checked_later=True)
    except PromptError:
        raise
    except (TypeError, ValueError, RecursionError) as error:
        raise PromptError(
            f"output_structure is no JSON: {error}. Use texts, numbers, lists and objects only."
        ) from error


def _constrain(request: TaskRequest) -> JsonSchema:
    return answer_schema(_structure(request))


def _read(answer: Answer, request: TaskRequest) -> Result:
    if answer.cut_off is not None:
        # Half a value must not look like a whole one.
        raise AnswerError(answer.cut_off, answer=answer.text, task=_NAME)
    value = _read_value(answer.text)
    mismatch = _find_mismatch(answer.text, _constrain(request).text)
    if mismatch is not None:
        raise MismatchError(
            f"The answer does not match the JSON Schema: {mismatch}. Ask again, or ask for less.",
            answer=answer.text,
            task=_NAME,
        )
    return Result(output=answer.text, parsed=value)


# An answer is read once to see whether another try is needed, and once for its row.
@lru_cache(maxsize=256)
def _find_mismatch(answer: str, schema: str) -> str | None:
    return find_mismatch(_read_value(answer), schema)


def _read_value(text: str) -> JsonValue:
    try:
        # A schema may ask for a number or a text alone, which is no JSON in prose; and what is JSON is taken
        # word for word, because its texts may look like anything.
        value: JsonValue = json.loads(text)
    except (ValueError, RecursionError):
        return read_json(text, task=_NAME).value
    return value


def _structure(request: TaskRequest) -> OutputStructure:
    assert request.output_structure, "checked by ask"
    return request.output_structure


TASK = JsonTask(
    name=_NAME,
    title="Structured answering",
    description="Facts about the image in JSON, with the fields that you name or by your JSON Schema.",
    group_description="Facts about the images in JSON, with the fields that you name or by your JSON Schema.",
    # A middle budget, because facts are about large and small things alike.
    # Source: https://huggingface.co/google/gemma-4-E2B-it, where 280 is the default.
    image_seq_length=280,
    takes=Inputs(prompt="optional", output_structure="required"),
    gives=Outputs(parsed="any"),
    word=_word,
    constrain=_constrain,
    read_answer=_read,
)
