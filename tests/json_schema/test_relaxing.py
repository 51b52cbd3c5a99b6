"""What of a schema an answer is held to while it is written, and what is refused."""

import json
from typing import Any

import pytest
from llguidance import LLMatcher, LLTokenizer

from gemma4_block.demo.evaluation.report import CHECKPOINT_DIRECTORY
from gemma4_block.errors import ConfigurationError
from gemma4_block.json_schema import compile_schema, find_mismatch, grammar_limits, relax_schema

TOKENS = LLTokenizer(str(CHECKPOINT_DIRECTORY / "tokenizer.json"))


def _takes(grammar: str, value: Any) -> bool:  # noqa: ANN401 - any JSON
    matcher = LLMatcher(TOKENS, grammar, log_level=0, limits=grammar_limits())
    return (
        matcher.consume_tokens(TOKENS.tokenize_str(json.dumps(value, ensure_ascii=False)))
        and matcher.is_accepting()
    )


@pytest.mark.parametrize(
    ("schema", "right", "wrong"),
    [
        pytest.param({"type": "string", "format": "password"}, "x", 1, id="a format that is an annotation"),
        pytest.param({"type": "string", "format": "uri-reference"}, "x", 1, id="another"),
        pytest.param({"type": "array", "uniqueItems": False}, [1, 1], "x", id="uniqueItems: false"),
        pytest.param({"type": "integer", "format": "int32"}, 7, "x", id="a format of numbers"),
        pytest.param({"type": "string", "nullable": True, "example": "x"}, "x", 1, id="OpenAPI"),
        pytest.param({"type": "integer", "minimum": 3, "exclusiveMinimum": True}, 4, 3, id="draft 4"),
        pytest.param(
            {"items": [{"type": "string"}], "additionalItems": False, "type": "array"},
            ["x"],
            ["x", 1],
            id="draft 7: a list of items",
        ),
        pytest.param(
            {"$ref": "#/definitions/a%20b", "definitions": {"a b": {"type": "string"}}},
            "x",
            1,
            id="a pointer",
        ),
        pytest.param(
            {"$ref": "#a", "$defs": {"b": {"$anchor": "a", "type": "string"}}}, "x", 1, id="an anchor"
        ),
        pytest.param(
            {"$id": "http://a.b/c", "$ref": "d", "$defs": {"e": {"$id": "d", "type": "string"}}},
            "x",
            1,
            id="an id within",
        ),
        pytest.param(
            {"$ref": "#/components/a", "components": {"a": {"type": "string"}}},
            "x",
            1,
            id="an unknown keyword",
        ),
        pytest.param(
            {
                "$schema": "http://json-schema.org/draft-07/schema#",
                "$ref": "#/definitions/a",
                "type": "integer",
                "definitions": {"a": {"type": "string"}},
            },
            "x",
            1,
            id="draft 7: what is beside a reference says nothing",
        ),
        pytest.param(
            {"type": "object", "properties": {"a": True}, "unevaluatedProperties": False},
            {"a": 1},
            {"b": 1},
            id="unevaluatedProperties without alternatives",
        ),
        pytest.param(
            {"type": "object", "properties": {"a": {"$ref": "#"}}, "additionalProperties": False},
            {"a": {"a": {}}},
            {"b": {}},
            id="recursion",
        ),
    ],
)
def test_all_of_these_is_held_while_an_answer_is_written(schema: Any, right: object, wrong: object) -> None:  # noqa: ANN401 - any JSON
    """No matter who checks; and the check agrees."""
    text = json.dumps(schema)

    for grammar in (compile_schema(text), compile_schema(relax_schema(text))):
        assert _takes(grammar, right)
        assert not _takes(grammar, wrong)
    assert find_mismatch(right, text) is None
    assert find_mismatch(wrong, text) is not None


@pytest.mark.parametrize(
    ("schema", "right", "checked", "wrong"),
    [
        pytest.param({"type": "array", "uniqueItems": True}, [1, 2], [1, 1], "x", id="uniqueItems"),
        pytest.param(
            {"oneOf": [{"type": "string", "maxLength": 3}, {"type": "string", "minLength": 2}]},
            "x",
            "xx",
            1,
            id="oneOf that overlaps",
        ),
        pytest.param({"type": "string", "not": {"const": "x"}}, "y", "x", 1, id="not"),
        pytest.param(
            {"type": "object", "if": {"required": ["a"]}, "then": {"required": ["b"]}},
            {"a": 1, "b": 1},
            {"a": 1},
            "x",
            id="if",
        ),
        pytest.param(
            {"type": "object", "dependencies": {"a": ["b"], "c": {"maxProperties": 1}}},
            {"c": 1},
            {"a": 1},
            "x",
            id="dependencies",
        ),
        pytest.param(
            {"type": "object", "dependentRequired": {"a": ["b"]}},
            {"b": 1},
            {"a": 1},
            [],
            id="dependentRequired",
        ),
        pytest.param(
            {"type": "object", "dependentSchemas": {"a": False}},
            {"b": 1},
            {"a": 1},
            [],
            id="dependentSchemas",
        ),
        pytest.param(
            {"type": "object", "propertyNames": {"maxLength": 2}},
            {"ab": 1},
            {"abc": 1},
            1,
            id="propertyNames",
        ),
        pytest.param(
            {"type": "object", "properties": {"a": {}, "b": {}}, "minProperties": 1},
            {"b": 1},
            {},
            1,
            id="minProperties",
        ),
        pytest.param(
            {"type": "object", "properties": {"a": {}, "b": {}}, "maxProperties": 1},
            {"b": 1},
            {"a": 1, "b": 2},
            1,
            id="maxProperties",
        ),
        pytest.param({"type": "array", "contains": {"const": 1}}, [2, 1], [2], 1, id="contains"),
        pytest.param({"type": "string", "pattern": "^(?!no)"}, "yes", "none", 1, id="look-ahead"),
        pytest.param(
            {"type": "string", "pattern": r"\bred\b"}, "a red car", "reddish", 1, id="word boundary"
        ),
        pytest.param(
            {"type": "object", "patternProperties": {"^a": {"const": 1}, "b$": {"type": "integer"}}},
            {"ab": 1},
            {"ab": 2},
            1,
            id="patterns of names that overlap",
        ),
        pytest.param(
            {"allOf": [{"properties": {"a": True}}, {"type": "object"}], "unevaluatedProperties": False},
            {"a": 1},
            {"b": 1},
            1,
            id="unevaluatedProperties",
        ),
        pytest.param(
            {"type": "object", "properties": {"a": {"allOf": [{"$ref": "#"}, {"maxProperties": 1}]}}},
            {"a": {"b": 1}},
            {"a": {"b": 1, "c": 1}},
            1,
            id="recursion with more beside it",
        ),
        pytest.param({"type": "integer", "multipleOf": 99991}, 99991, 99992, "x", id="a large multipleOf"),
        pytest.param(
            {"type": "string", "allOf": [{"pattern": letter} for letter in "abcdefgh"]},
            "abcdefgh",
            "abcd",
            1,
            id="many patterns together",
        ),
    ],
)
def test_the_rest_of_these_is_checked_afterwards(
    schema: Any,  # noqa: ANN401 - any JSON
    right: object,
    checked: object,
    wrong: object,
) -> None:
    """An answer that only the check can tell can be written; what the grammar knows cannot."""
    text = json.dumps(schema)
    relaxed = relax_schema(text)
    grammar = compile_schema(relaxed)

    assert _takes(grammar, right)
    assert _takes(grammar, checked)
    assert not _takes(grammar, wrong)
    assert find_mismatch(right, text) is None
    assert find_mismatch(checked, text) is not None
    with pytest.raises(ConfigurationError):
        compile_schema(text)
    assert _takes(compile_schema(relax_schema(relaxed)), checked)


@pytest.mark.parametrize(
    ("schema", "problem"),
    [
        pytest.param(
            '{"$ref": "https://a.b/c"}', "refers to 'https://a.b/c', which is not in it", id="elsewhere"
        ),
        pytest.param(
            '{"$ref": "file:///etc/passwd"}', "refers to 'file:///etc/passwd', which is", id="a file"
        ),
        pytest.param('{"$ref": "#/$defs/a"}', "refers to '#/$defs/a', which is not in it", id="nowhere"),
        pytest.param('{"type": "wish"}', "is none: at type, 'wish' is not valid", id="no type"),
        pytest.param(
            '{"minLength": "3"}', "is none: at minLength, '3' is not of type 'integer'", id="no count"
        ),
        pytest.param('["a"]', 'is ["a"], which is no JSON object', id="no object"),
        pytest.param("{", "is no JSON: Expecting property name", id="no JSON"),
        pytest.param(
            '{"type": "string", "minLength": 5, "maxLength": 3}', "minLength (5) is greater", id="empty"
        ),
        pytest.param(
            '{"type": "integer", "minimum": 1e20}', "more than 64 bits cannot be sent on", id="too long"
        ),
        pytest.param('{"pattern": "(a"}', "pattern '(a', which is no regular expression", id="no pattern"),
        pytest.param('{"pattern": "(a{999}){999}"}', "which repeats too much", id="a pattern that repeats"),
        pytest.param(
            '{"unevaluatedProperties": false, "allOf": [{"patternProperties": {"a": true}}]}',
            "which cannot be checked together",
            id="what cannot be checked",
        ),
        pytest.param(
            '{"type": "object", "properties": {"child": {"$ref": "#"}}, "required": ["child"]}',
            "has no answer that ends: every value of the schema would have to hold another",
            id="endless",
        ),
        pytest.param(
            '{"$ref": "#/$defs/a", "$defs": {'
            '"a": {"type": "array", "minItems": 1, "items": {"$ref": "#/$defs/b"}},'
            '"b": {"anyOf": [{"$ref": "#/$defs/a"}, {"$ref": "#/$defs/b2"}]}, "b2": {"$ref": "#/$defs/a"}}}',
            "every value of a would have to hold another of its kind",
            id="endless in a circle",
        ),
        pytest.param('{"$ref": "#"}', "goes in a circle: the schema refers to itself", id="itself"),
        pytest.param(
            '{"$ref": "#/$defs/a", "$defs": {"a": {"anyOf": [{"$ref": "#/$defs/a"}, {"type": "null"}]}}}',
            "goes in a circle: a refers to itself about the same value",
            id="itself among others",
        ),
    ],
)
def test_what_cannot_be_used_is_refused_in_our_words(schema: str, problem: str) -> None:
    """Before any work, in whatever way it was to be used."""
    with pytest.raises(ConfigurationError) as caught:
        relax_schema(schema)

    assert problem in str(caught.value)


@pytest.mark.parametrize(
    "schema",
    [
        '{"type": "object", "properties": {"child": {"$ref": "#"}}}',
        '{"type": ["object", "null"], "properties": {"child": {"$ref": "#"}}, "required": ["child"]}',
        '{"type": "array", "items": {"$ref": "#"}}',
        '{"type": "object", "properties": {"a": {"anyOf": [{"$ref": "#"}, true]}}, "required": ["a"]}',
    ],
)
def test_recursion_that_may_end_is_taken(schema: str) -> None:
    """Somewhere in its circle is a value without another."""
    compile_schema(schema)
    relax_schema(schema)


def test_no_message_names_an_option_of_the_library() -> None:
    """Users cannot set them."""
    overlapping = '{"oneOf": [{"type": "string"}, {"maxLength": 3}]}'
    with pytest.raises(ConfigurationError) as caught:
        compile_schema(overlapping)

    assert "alternatives of a oneOf may overlap" in str(caught.value)
    assert "coerce" not in str(caught.value)
    assert compile_schema(relax_schema(overlapping))


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "integer"},
        {"type": "number"},
        {"type": ["integer", "null"]},
        {},
        {"type": "integer", "minimum": 5},
    ],
    ids=str,
)
def test_a_number_has_at_most_64_bits_while_it_is_written(schema: Any) -> None:  # noqa: ANN401 - any JSON
    """Otherwise the row would be refused after the work."""
    for grammar in (compile_schema(json.dumps(schema)), compile_schema(relax_schema(json.dumps(schema)))):
        assert _takes(grammar, 2**63 - 1024)
        assert not _takes(grammar, 2**63)
        assert _takes(grammar, -(2**63) + 1024) is ("minimum" not in schema)
        assert not _takes(grammar, -(2**63))


def test_a_check_that_would_take_forever_says_so() -> None:
    """Alternatives within alternatives double the work with every level."""
    steps = {f"a{i}": {"allOf": [{"$ref": f"#/$defs/a{i - 1}"}] * 2} for i in range(1, 40)}
    schema = json.dumps({"$ref": "#/$defs/a39", "$defs": {"a0": {"type": "string"}, **steps}})

    assert "too involved to be checked" in str(find_mismatch("x", schema))


def test_multiples_are_those_that_are_written() -> None:
    """In binary 0.3 is no multiple of 0.1."""
    assert find_mismatch(0.3, '{"multipleOf": 0.1}') is None
    assert find_mismatch(0.35, '{"multipleOf": 0.1}') == "0.35 is not a multiple of 0.1"
