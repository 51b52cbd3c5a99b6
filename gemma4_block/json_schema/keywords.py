"""The keywords of JSON Schema 2020-12 that bind a value, and where schemas stand within a schema."""

from collections.abc import Callable, Iterator
from typing import Final, TypeAlias

from gemma4_block.json_value import JsonValue

Schema: TypeAlias = dict[str, JsonValue]
"""A schema that is not true or false alone."""

# Source: https://json-schema.org/draft/2020-12/json-schema-core and json-schema-validation.
_SCHEMA: Final = (
    "additionalProperties",
    "contains",
    "else",
    "if",
    "items",
    "not",
    "propertyNames",
    "then",
    "unevaluatedItems",
    "unevaluatedProperties",
)
_SCHEMAS: Final = ("allOf", "anyOf", "oneOf", "prefixItems")
_NAMED_SCHEMAS: Final = ("dependentSchemas", "patternProperties", "properties")
_VALUES: Final = (
    "const",
    "dependentRequired",
    "enum",
    "exclusiveMaximum",
    "exclusiveMinimum",
    "format",
    "maxContains",
    "maximum",
    "maxItems",
    "maxLength",
    "maxProperties",
    "minContains",
    "minimum",
    "minItems",
    "minLength",
    "minProperties",
    "multipleOf",
    "pattern",
    "required",
    "type",
    "uniqueItems",
)

BINDING: Final = frozenset((*_SCHEMA, *_SCHEMAS, *_NAMED_SCHEMAS, *_VALUES))
"""The keywords, references apart, that an answer can break."""


def map_schemas(schema: Schema, change: Callable[[JsonValue], JsonValue]) -> Schema:
    """Return a schema with every schema that stands directly in it changed, definitions apart.

    Args:
        schema: It stays as it is.
        change: Takes a schema, which may be true or false, and returns another.

    Returns:
        The same keywords in the same order. What should be a schema and cannot be one is kept.

    """
    changed: Schema = {}
    for keyword, value in schema.items():
        match value:
            case dict() | bool() if keyword in _SCHEMA:
                changed[keyword] = change(value)
            case list() if keyword in _SCHEMAS:
                changed[keyword] = [change(part) for part in value]
            case dict() if keyword in _NAMED_SCHEMAS:
                changed[keyword] = {name: change(part) for name, part in value.items()}
            case _:
                changed[keyword] = value
    return changed


def inner_schemas(schema: Schema) -> Iterator[tuple[str, JsonValue]]:
    """Yield every schema that stands directly in a schema, with its keyword, definitions apart."""
    for keyword, value in schema.items():
        match value:
            case dict() | bool() if keyword in _SCHEMA:
                yield keyword, value
            case list() if keyword in _SCHEMAS:
                yield from ((keyword, part) for part in value)
            case dict() if keyword in _NAMED_SCHEMAS:
                yield from ((keyword, part) for part in value.values())


def find_patterns(schema: Schema) -> list[str]:
    """Return the regular expressions that stand directly in a schema, for its value and for its names."""
    pattern, names = schema.get("pattern"), schema.get("patternProperties")
    own = [pattern] if isinstance(pattern, str) else []
    return own + (list(names) if isinstance(names, dict) else [])
