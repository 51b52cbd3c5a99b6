"""Tell fields that a user names from a JSON Schema, and put fields into words and into a schema."""

import json
from collections.abc import Mapping
from typing import Final
from urllib.parse import quote

from gemma4_block.errors import PromptError
from gemma4_block.reading import JsonValue
from gemma4_block.tasks.inputs import OutputStructure

_TYPES: Final = {"array", "boolean", "integer", "null", "number", "object", "string"}
# What may stand in a schema. Source: json-schema.org, drafts 4 to 2020-12, and OpenAPI's `nullable` and
# `example`; draft 4's `id` is left out, because it is a likely name of a field.
_KEYWORDS: Final = {
    *(
        "$anchor",
        "$comment",
        "$defs",
        "$dynamicAnchor",
        "$dynamicRef",
        "$id",
        "$ref",
        "$schema",
        "$vocabulary",
    ),
    *("additionalItems", "additionalProperties", "allOf", "anyOf", "const", "contains", "contentEncoding"),
    *("contentMediaType", "contentSchema", "default", "definitions", "dependencies", "dependentRequired"),
    *("dependentSchemas", "deprecated", "description", "else", "enum", "example", "examples"),
    *("exclusiveMaximum", "exclusiveMinimum", "format", "if", "items", "maxContains", "maximum", "maxItems"),
    *("maxLength", "maxProperties", "minContains", "minimum", "minItems", "minLength", "minProperties"),
    *("multipleOf", "not", "nullable", "oneOf", "pattern", "patternProperties", "prefixItems", "properties"),
    *("propertyNames", "readOnly", "required", "then", "title", "type", "unevaluatedItems"),
    *("unevaluatedProperties", "uniqueItems", "writeOnly"),
}
# Deeper forms than this are better said in a schema, and no recursion here can run out.
_MAX_LEVELS: Final = 16
_SCALAR: dict[str, JsonValue] = {"type": ["string", "number", "boolean", "null"]}
_MEANT: Final = (
    "The value of a field is its description as text, a list of two or more texts to choose from, a "
    'dictionary of fields, or a JSON Schema such as {"type": "boolean"}.'
)


def is_schema(structure: OutputStructure) -> bool:
    """Say whether a dictionary is a JSON Schema, and not fields.

    It is one where `$schema` says so, and where `type` is `object` beside `properties`, or `array` beside
    `items`. It is also one where all its keys are keywords of JSON Schema (or begin with `x-`) and one of
    these has the form that JSON Schema gives it: `type`, `enum`, `const`, `properties`, `anyOf`, `oneOf`,
    `allOf`, `$ref`, `$defs`, `definitions`. All else is fields, so that a field may be named like a keyword.

    Args:
        structure: What the user gave, or the value of a field.

    Returns:
        False for an empty one.

    Example:
        >>> is_schema({"color": "of the car"}), is_schema({"type": "how the car is built"})
        (False, False)
        >>> is_schema({"type": "boolean"}), is_schema({"type": "string", "color": "of the car"})
        (True, False)

    """
    if isinstance(structure.get("$schema"), str):
        return True
    has_properties = _is_schemas(structure.get("properties"))
    kind = structure.get("type")
    if (kind == "object" and has_properties) or (kind == "array" and _is_one(structure.get("items"))):
        return True
    return all(name in _KEYWORDS or name.startswith("x-") for name in structure) and (
        has_properties
        or _is_type(kind)
        or isinstance(structure.get("enum"), list)
        or "const" in structure
        or any(_is_list_of_schemas(structure.get(name)) for name in ("anyOf", "oneOf", "allOf"))
        or isinstance(structure.get("$ref"), str)
        or any(_is_schemas(structure.get(name)) for name in ("$defs", "definitions"))
    )


def word_fields(fields: OutputStructure) -> str:
    """Put fields into words, in their order.

    Args:
        fields: What `fields_schema` takes.

    Returns:
        One line.

    Raises:
        PromptError: As in `fields_schema`.

    Example:
        >>> word_fields({"color": ["red", "blue"], "plate": "text of the plate"})
        '"color": one of "red", "blue"; "plate": text of the plate'

    """
    return "; ".join(f'"{name}": {_word(value, name, 1)}' for name, value in fields.items())


def fields_schema(fields: OutputStructure) -> dict[str, JsonValue]:
    """Return the JSON Schema of an object that has these fields and no other.

    Args:
        fields: Name to description, to texts of which one is the value, to more fields, or to the
            field's own schema. A description alone allows a simple value or a list of them.

    Returns:
        A schema that refers to nothing outside of it.

    Raises:
        PromptError: The value of a field is none of these.

    """
    schema = _object(fields, "", "#", 1)
    # Said once, because the length of schemas is limited.
    value: JsonValue = {"anyOf": [_SCALAR, {"type": "array", "items": _SCALAR}]}
    return {**schema, "$defs": {"value": value}}


def _object(fields: OutputStructure, path: str, pointer: str, level: int) -> dict[str, JsonValue]:
    properties: dict[str, JsonValue] = {}
    for name, value in fields.items():
        # As a JSON Pointer in a URI.
        step = quote(name.replace("~", "~0").replace("/", "~1"), safe="", errors="replace")
        below = f"{pointer}/properties/{step}"
        properties[name] = _field_schema(value, f"{path}{name}", below, level)
    return {
        "type": "object",
        "properties": properties,
        "required": list(fields),
        "additionalProperties": False,
    }


def _field_schema(value: JsonValue, path: str, pointer: str, level: int) -> JsonValue:
    _check_field(value, path, level)
    match value:
        case list():
            return {"enum": value}
        case dict() if is_schema(value):
            return _move(value, pointer)
        case dict():
            return _object(value, f"{path}.", pointer, level + 1)
    return {"$ref": "#/$defs/value"}


def _word(value: JsonValue, path: str, level: int) -> str:
    _check_field(value, path, level)
    match value:
        case list():
            return "one of " + ", ".join(json.dumps(choice, ensure_ascii=False) for choice in value)
        case dict() if is_schema(value):
            return f"JSON that matches this JSON Schema: {_dump(value)}"
        case dict():
            inner = (f'"{name}": {_word(part, f"{path}.{name}", level + 1)}' for name, part in value.items())
            return f"an object with these keys ({'; '.join(inner)})"
    return str(value)


def _dump(schema: JsonValue) -> str:
    try:
        return json.dumps(schema, ensure_ascii=False, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise PromptError(
            f"output_structure is no JSON: {error}. Use texts, numbers, lists and objects only."
        ) from error


def _check_field(value: JsonValue, path: str, level: int) -> None:
    problem: str | None = None
    match value:
        case str():
            return
        case list():
            problem = _choice_problem(value)
        case dict() if not value:
            problem = "is an empty dictionary"
        case dict():
            if level == _MAX_LEVELS and not is_schema(value):
                problem = f"holds fields within fields beyond {_MAX_LEVELS} levels"
        case _:
            problem = f"is {_dump(value)}"
    if problem is not None:
        raise PromptError(f"In output_structure, the field {path!r} {problem}. {_MEANT}{_hint(path)}")


def _choice_problem(value: list[JsonValue]) -> str | None:
    if not all(isinstance(choice, str) for choice in value):
        return f"is a list, {_dump(value)[:80]}, of more than texts"
    if len(value) == 0:
        return "is an empty list"
    if len(set(map(str, value))) == 1:
        # Above all ["string"], which is meant as a list of texts.
        return f"is a list of one text, {value[0]!r}, which leaves no choice"
    return None


def _hint(path: str) -> str:
    name = path.rpartition(".")[2]
    if name not in _KEYWORDS:
        return ""
    return (
        f" If {name} is meant as a keyword of a JSON Schema, say its type beside it, and leave out what is "
        "no keyword."
    )


def _move(schema: JsonValue, pointer: str) -> JsonValue:
    # A schema's references count from its own root, which is now further down.
    match schema:
        case list():
            return [_move(part, pointer) for part in schema]
        case dict():
            moved: dict[str, JsonValue] = {}
            for name, part in schema.items():
                if name == "$ref" and isinstance(part, str) and part.startswith("#"):
                    moved[name] = pointer + part[1:]
                else:
                    moved[name] = part if name in {"enum", "const"} else _move(part, pointer)
            return moved
    return schema


def _is_type(value: JsonValue) -> bool:
    kinds = value if isinstance(value, list) else [value]
    return bool(kinds) and all(isinstance(kind, str) and kind in _TYPES for kind in kinds)


def _is_one(value: JsonValue) -> bool:
    return isinstance(value, Mapping | bool)


def _is_schemas(value: JsonValue) -> bool:
    return isinstance(value, Mapping) and all(map(_is_one, value.values()))


def _is_list_of_schemas(value: JsonValue) -> bool:
    return isinstance(value, list) and bool(value) and all(map(_is_one, value))
