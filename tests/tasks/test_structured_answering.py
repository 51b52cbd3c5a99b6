"""Fields that the user names, or a JSON Schema of their own."""

import json
from collections.abc import Callable
from dataclasses import replace

import pytest
from jsonschema import Draft202012Validator

from gemma4_block.contract import Answer, JsonSchema
from gemma4_block.errors import AnswerError, MismatchError, PromptError
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
    [
        SCHEMA,
        {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "Nothing else"},
        {"type": "boolean"},
        {"type": ["string", "null"]},
        {"type": "string", "format": "date"},
        {"type": "string", "pattern": "^[A-Z]{3}$", "description": "the plate"},
        {"type": "object", "properties": {"type": {"type": "string"}}},
        {"type": "object", "properties": {"a": {"type": "string"}}, "propertyOrdering": ["a"]},
        {"properties": {"type": {"enum": ["car", "truck"]}}, "x-order": "by hand"},
        {"enum": ["red", "blue"]},
        {"const": "a"},
        {"title": "Color", "anyOf": [{"type": "string"}, {"type": "null"}]},
        {"$ref": "#/$defs/c", "$defs": {"c": {"enum": ["red"]}}},
        {"$ref": "#/definitions/c", "definitions": {"c": {"enum": ["red"]}}},
    ],
    ids=str,
)
def test_what_is_a_schema(ask: Callable[..., TaskRequest], structure: OutputStructure) -> None:
    """It is passed on as it is, in words and in form."""
    asked = TASK.ask(ask(structure))
    assert isinstance(asked.constraint, JsonSchema)
    assert json.loads(asked.constraint.text) == structure
    assert asked.text.endswith(f"that matches this JSON Schema: {json.dumps(structure)}")
    compile_schema(asked.constraint.text)


@pytest.mark.parametrize(
    ("structure", "words", "right", "wrong"),
    [
        ({"type": "how it is built"}, '"type": how it is built', {"type": "well"}, "well"),
        (
            {"type": "string", "color": "of the car"},
            '"type": string; "color": of the car',
            {"type": "SUV", "color": "red"},
            "SUV",
        ),
        ({"title": "of the book", "format": "in cm"}, None, {"title": "Momo", "format": 21}, "Momo"),
        ({"properties": "of the metal", "items": "on the table"}, None, {"properties": 1, "items": 2}, {}),
        (
            {"color": ["red", "blue"], "count": "how many"},
            '"color": one of "red", "blue"; "count": how many',
            {"color": "red", "count": 3},
            {"color": "green", "count": 3},
        ),
        (
            {"type": ["car", "größer"]},
            '"type": one of "car", "größer"',
            {"type": "car"},
            {"type": "string"},
        ),
        (
            {"color": {"type": "string"}},
            '"color": JSON that matches this JSON Schema: {"type": "string"}',
            {"color": "red"},
            {"color": 3},
        ),
        (
            {"car": {"type": {"type": "string"}, "color": "in a word"}, "wheels": {"type": "integer"}},
            (
                '"car": an object with these keys ("type": JSON that matches this JSON Schema: '
                '{"type": "string"}; "color": in a word); "wheels": JSON that matches this JSON Schema: '
                '{"type": "integer"}'
            ),
            {"car": {"type": "van", "color": "red"}, "wheels": 4},
            {"car": {"type": "van"}, "wheels": 4},
        ),
        (
            {"a/b~ é": {"$ref": "#/$defs/c", "$defs": {"c": {"enum": ["red"]}}}},
            None,
            {"a/b~ é": "red"},
            {"a/b~ é": "blue"},
        ),
        (
            {"tree": {"type": "object", "properties": {"leaf": {"enum": [{"$ref": "#"}]}}}},
            None,
            {"tree": {"leaf": {"$ref": "#"}}},
            {"tree": {"leaf": {"$ref": "#/properties/tree"}}},
        ),
    ],
)
def test_what_is_fields(
    ask: Callable[..., TaskRequest],
    structure: OutputStructure,
    words: str | None,
    right: JsonValue,
    wrong: JsonValue,
) -> None:
    """Each is in the words and in the form, whatever its name and whatever the others are."""
    asked = TASK.ask(ask(structure))
    assert isinstance(asked.constraint, JsonSchema)
    compile_schema(asked.constraint.text)
    form = Draft202012Validator(json.loads(asked.constraint.text))
    assert (form.is_valid(right), form.is_valid(wrong)) == (True, False)
    if words is not None:
        assert asked.text == f"Answer about the image in JSON with these keys. {words}"


DEEP: OutputStructure = {"a": "the end"}
for _ in range(16):
    DEEP = {"a": DEEP}  # type: ignore[dict-item] - fields within fields


@pytest.mark.parametrize(
    ("structure", "problem"),
    [
        ({"color": None}, "the field 'color' is null. The value of a field is its description as text"),
        ({"color": "of it", "count": 3}, "the field 'count' is 3"),
        ({"color": True}, "the field 'color' is true"),
        ({"color": []}, "the field 'color' is an empty list"),
        ({"color": ["string"]}, "is a list of one text, 'string', which leaves no choice"),
        ({"count": [1, 2]}, r"is a list, \[1, 2\], of more than texts"),
        ({"cars": [{"color": "of it"}]}, "of more than texts"),
        ({"color": {}}, "the field 'color' is an empty dictionary"),
        ({"car": {"color": "of it", "wheels": 4}}, "the field 'car.wheels' is 4"),
        ({"minimum": 3}, "the field 'minimum' is 3.* If minimum is meant as a keyword of a JSON Schema, say"),
        (DEEP, "fields within fields beyond 16 levels"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_a_value_that_is_no_field_is_refused(
    ask: Callable[..., TaskRequest], structure: OutputStructure, problem: str
) -> None:
    """A value that would be lost without a word says what is meant instead."""
    with pytest.raises(PromptError, match=problem):
        TASK.ask(ask(structure))


@pytest.mark.parametrize(
    ("structure", "text", "parsed"),
    [
        (FIELDS, '{"color": "red", "plate": null}', {"color": "red", "plate": None}),
        ({"color": "red"}, '```json\n{"color": "red",}\n```', {"color": "red"}),
        ({"type": "array", "items": True}, '[{"color": "red"}]', [{"color": "red"}]),
        ({"type": "array"}, "[]", []),
    ],
)
def test_the_answer_is_parsed(
    ask: Callable[..., TaskRequest], say: Say, structure: OutputStructure, text: str, parsed: JsonValue
) -> None:
    """The text stays as it was written."""
    assert TASK.read(say(text), ask(structure)) == Result(output=text, parsed=parsed)


@pytest.mark.parametrize(
    ("structure", "text", "problem"),
    [
        pytest.param(
            {"type": "array", "uniqueItems": True},
            "[7, 7]",
            "[7, 7] has non-unique elements",
            id="uniqueItems",
        ),
        pytest.param(
            {"properties": {"a": {"not": {"const": 1}}}, "type": "object"},
            '{"a": 1}',
            "a: 1 should not be valid under {'const': 1}",
            id="not",
        ),
        pytest.param(
            {"type": "string", "pattern": "^(?!no)"},
            '"none"',
            "'none' does not match the pattern '^(?!no)'",
            id="look-ahead",
        ),
        pytest.param(FIELDS, '{"color": "red"}', "'plate' is a required property", id="fields"),
    ],
)
def test_an_answer_that_does_not_match_is_an_error_and_worth_another_try(
    ask: Callable[..., TaskRequest], say: Say, structure: OutputStructure, text: str, problem: str
) -> None:
    """What the grammar cannot hold is checked, and the model told what was wrong."""
    request = ask(structure)
    with pytest.raises(MismatchError) as caught:
        TASK.read(say(text), request)
    first = TASK.ask(request)
    second = TASK.ask_again(first, say(text), request)

    assert str(caught.value).startswith(f"The answer does not match the JSON Schema: {problem}.")
    assert second is not None
    assert second.text.startswith(f"{first.text}\n\nThis was answered: {text}\n{caught.value}")
    assert second.constraint == first.constraint


@pytest.mark.parametrize("text", ['{"color": "red", "plate": null}', "no idea"])
def test_other_answers_are_not_asked_for_again(ask: Callable[..., TaskRequest], say: Say, text: str) -> None:
    """Neither a good one nor one that says nothing."""
    request = ask(FIELDS)

    assert TASK.ask_again(TASK.ask(request), say(text), request) is None


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
