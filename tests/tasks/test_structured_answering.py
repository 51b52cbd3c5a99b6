"""Fields that the user names, or a JSON Schema of their own."""

import json
from collections.abc import Callable
from dataclasses import replace

import pytest
from jsonschema import Draft202012Validator

from gemma4_block.contract import Answer, JsonSchema
from gemma4_block.errors import AnswerError, PromptError
from gemma4_block.json_schema import compile_schema
from gemma4_block.reading import JsonValue
from gemma4_block.tasks import TASKS, OutputStructure, Result, TaskRequest

TASK = TASKS["structured-answering"]
FIELDS: OutputStructure = {"color": "color of the car", "plate": "text of the plate"}
SCHEMA: OutputStructure = {
    "type": "object",
    "properties": {"damage": {"enum": ["none", "light"]}, "wheels": {"type": "integer"}},
    "required": ["damage", "wheels"],
    "additionalProperties": False,
}
Say = Callable[..., Answer]


@pytest.fixture
def ask(request_classes: Callable[..., TaskRequest]) -> Callable[..., TaskRequest]:
    """Ask for a structure."""

    def make(structure: OutputStructure, prompt: str | None = None) -> TaskRequest:
        return replace(request_classes(), output_structure=structure, prompt=prompt)

    return make


@pytest.mark.parametrize(
    ("structure", "prompt", "asked"),
    [
        (
            FIELDS,
            None,
            (
                'Answer about the image in JSON with these keys. "color": color of the car; '
                '"plate": text of the plate'
            ),
        ),
        ({"größe": "in cm"}, " ", 'Answer about the image in JSON with these keys. "größe": in cm'),
        (
            {"color": "of the car"},
            "Look at the left car.",
            'Look at the left car.\nAnswer about the image in JSON with these keys. "color": of the car',
        ),
        (
            {"type": "array", "items": {"enum": ["ä"]}},
            "List all.",
            (
                "List all.\nAnswer about the image in JSON that matches this JSON Schema: "
                '{"type": "array", "items": {"enum": ["ä"]}}'
            ),
        ),
    ],
)
def test_the_wording_says_what_is_wanted(
    ask: Callable[..., TaskRequest], structure: OutputStructure, prompt: str | None, asked: str
) -> None:
    """The user's own words come first, then the form of the answer."""
    assert TASK.ask(ask(structure, prompt)).text == asked


@pytest.mark.parametrize(
    ("answer", "is_allowed"),
    [
        ({"color": "red", "plate": None}, True),
        ({"color": ["red", "blue"], "plate": 3}, True),
        ({"color": True, "plate": [1.5, None]}, True),
        ({"color": "red"}, False),
        ({"color": "red", "plate": "x", "more": 1}, False),
        ({"color": {"name": "red"}, "plate": "x"}, False),
        ({"color": [["red"]], "plate": "x"}, False),
    ],
)
def test_fields_hold_simple_values_or_lists_of_them(
    ask: Callable[..., TaskRequest],
    answer: dict[str, JsonValue],
    is_allowed: bool,  # noqa: FBT001 - a case
) -> None:
    """Every field that was named is there, and no other."""
    constraint = TASK.ask(ask(FIELDS)).constraint
    assert isinstance(constraint, JsonSchema)
    assert len(constraint.text) <= 20_000
    compile_schema(constraint.text)
    assert Draft202012Validator(json.loads(constraint.text)).is_valid(answer) is is_allowed


@pytest.mark.parametrize(
    "structure",
    [SCHEMA, {"$schema": "https://json-schema.org/draft/2020-12/schema", "type": "object"}],
    ids=["values", "$schema"],
)
def test_a_schema_is_passed_on_as_it_is(ask: Callable[..., TaskRequest], structure: OutputStructure) -> None:
    """What is no field name with a description is a JSON Schema."""
    constraint = TASK.ask(ask(structure)).constraint
    assert isinstance(constraint, JsonSchema)
    assert json.loads(constraint.text) == structure


@pytest.mark.parametrize(
    ("text", "parsed"),
    [
        ('{"color": "red", "plate": null}', {"color": "red", "plate": None}),
        ('[{"color": "red"}]', [{"color": "red"}]),
        ("[]", []),
        ('```json\n{"color": "red",}\n```', {"color": "red"}),
    ],
)
def test_the_answer_is_parsed(
    ask: Callable[..., TaskRequest], say: Say, text: str, parsed: JsonValue
) -> None:
    """The text stays as it was written."""
    assert TASK.read(say(text), ask(FIELDS)) == Result(output=text, parsed=parsed)


@pytest.mark.parametrize("text", ['{"color": "red", "pla', '{"color": "red"}, {"color": "bl'])
def test_an_answer_that_was_cut_off_has_no_value(
    ask: Callable[..., TaskRequest], say: Say, text: str
) -> None:
    """Half a value does not look like a whole one."""
    with pytest.raises(AnswerError, match=r"was cut off at max_new_tokens. Raise max_new_tokens") as caught:
        TASK.read(say(text, finish_reason="length"), ask(FIELDS))
    assert caught.value.answer == text


def test_an_answer_in_words_is_an_error(ask: Callable[..., TaskRequest], say: Say) -> None:
    """Only an engine that is held to no form can give one."""
    with pytest.raises(AnswerError, match="holds no JSON"):
        TASK.read(say("The car is red."), ask(FIELDS))


@pytest.mark.parametrize("value", [float("nan"), {1, 2}], ids=["NaN", "set"])
def test_a_structure_that_is_no_json_is_refused(ask: Callable[..., TaskRequest], value: JsonValue) -> None:
    """A value of another step may be anything."""
    with pytest.raises(PromptError, match="output_structure is no JSON"):
        TASK.ask(ask({"type": "object", "default": value}))
