"""Choose the part of a JSON Schema that a grammar holds an answer to."""

import math
from collections.abc import Callable, Iterator
from typing import Final

from gemma4_block.errors import ConfigurationError
from gemma4_block.json_schema.bundle import Bundle, definition_name, every_schema
from gemma4_block.json_schema.keywords import Schema, find_patterns, inner_schemas, map_schemas
from gemma4_block.json_schema.numbers import bound_numbers, count_remainders
from gemma4_block.json_schema.patterns import LONGEST_PATTERN, has_grammar
from gemma4_block.json_value import JsonValue

# Any other is an annotation, as JSON Schema itself says. Source: the formats that llguidance 1.9 takes.
_FORMATS: Final = {
    *("date", "date-time", "duration", "email", "hostname", "ipv4", "ipv6", "time", "uri", "uuid"),
}
# Source: the keywords that llguidance 1.9 calls unimplemented.
_NO_GRAMMAR: Final = {
    *("contains", "dependentRequired", "dependentSchemas", "else", "if", "maxContains", "minContains", "not"),
    *("propertyNames", "then", "unevaluatedItems", "unevaluatedProperties", "uniqueItems"),
}
# The library has grammars for these, but not always, and its work for several at once is not limited.
_HARD: Final = {
    *("format", "maxLength", "maxProperties", "minLength", "minProperties", "multipleOf", "pattern"),
    "patternProperties",
}
# Where patterns must hold together, every one more doubles the work, and multiples multiply it; the library's
# limits do not count that. Source: measured, see tests/json_schema/test_hostile.py: 8 patterns take 10 ms,
# 12 take 50 ms, 18 take 19 s; multiples of 9,973 take 60 ms, those of ten numbers near 1,000 never end.
_MOST_PATTERNS: Final = 6
_MOST_REMAINDERS: Final = 10_000

# The name of the definition that allows anything, written once because its grammar is long.
_ANY: Final = "any"
_ANYTHING: Final[Schema] = {"$ref": f"#/$defs/{_ANY}"}


def exact_schema(bundle: Bundle) -> Schema:
    """Return a schema in the form in which a grammar can hold an answer to all of it.

    Args:
        bundle: What the answer must match.

    Returns:
        The same without what says nothing, such as formats that are annotations.

    Raises:
        ConfigurationError: It asks for what no grammar can ensure.

    """
    exact = _with_bounds(bundle)
    found = sorted(
        {keyword for schema in every_schema(exact) for keyword in schema if keyword in _NO_GRAMMAR}
    )
    if found:
        raise ConfigurationError(
            f"The JSON Schema cannot be used: {', '.join(found)} cannot be ensured while an answer is "
            "written. Leave it out and check the answer."
        )
    problem = _find_hard(exact)
    if problem is not None:
        raise ConfigurationError(f"The JSON Schema cannot be used: {problem}.")
    return exact.write()


def relaxed_schemas(bundle: Bundle) -> Iterator[Schema]:
    """Return what a grammar can hold of a schema, more at first and then less.

    Args:
        bundle: What the answer must match.

    Returns:
        Schemas that allow every answer that the schema itself allows and that can be written; never one that
        is too much work.

    """
    exact = _with_bounds(bundle)
    relaxed = (_change(exact, relax) for relax in (_relax, _relax_more, _relax_most))
    return (one.write() for one in relaxed if _find_hard(one) is None)


def _with_bounds(bundle: Bundle) -> Bundle:
    """Bound all numbers, and leave out what says nothing."""
    bounded = _change(bundle, _without_annotations)
    is_used = any(schema.get("$ref") == _ANYTHING["$ref"] for schema in every_schema(bounded))
    anything = {_ANY: bound_numbers({})} if is_used else {}
    return Bundle(root=bounded.root, definitions={**bounded.definitions, **anything})


def _without_annotations(schema: Schema) -> Schema:
    if not schema:
        return _ANYTHING
    kept = dict(schema)
    if schema.get("format") not in _FORMATS:
        kept.pop("format", None)
    if schema.get("uniqueItems") is False:
        del kept["uniqueItems"]
    return bound_numbers(kept)


def _relax(schema: Schema) -> Schema:
    relaxed = {keyword: value for keyword, value in schema.items() if keyword not in _NO_GRAMMAR}
    pattern = relaxed.get("pattern")
    if isinstance(pattern, str) and not has_grammar(pattern):
        del relaxed["pattern"]
    if not all(map(has_grammar, _names(relaxed.get("patternProperties")))):
        _drop_pattern_properties(relaxed)
    properties, required = relaxed.get("properties"), relaxed.get("required")
    if isinstance(properties, dict) and not set(properties) <= set(map(str, _items(required))):
        # The library counts properties only where all of them are required.
        relaxed.pop("minProperties", None)
        relaxed.pop("maxProperties", None)
    return _with_any_of(relaxed)


def _relax_more(schema: Schema) -> Schema:
    relaxed = _relax(schema)
    _drop_pattern_properties(relaxed)
    return {keyword: value for keyword, value in relaxed.items() if keyword not in _HARD}


def _relax_most(schema: Schema) -> Schema:
    relaxed = _relax_more(schema)
    if "$ref" in relaxed:
        return {"$ref": relaxed["$ref"]}
    for keyword in ("anyOf", "allOf"):
        if keyword in relaxed and len(relaxed) > 1:
            del relaxed[keyword]
    parts = relaxed.get("allOf")
    return relaxed if not isinstance(parts, list) else {"allOf": parts[:1]}


def _with_any_of(schema: Schema) -> Schema:
    """Write alternatives that exclude each other as alternatives, which allows more."""
    alternatives = schema.pop("oneOf", None)
    if alternatives is None:
        return schema
    if "anyOf" not in schema:
        return {**schema, "anyOf": alternatives}
    together: list[JsonValue] = [*_items(schema.get("allOf")), {"anyOf": alternatives}]
    return {**schema, "allOf": together}


def _drop_pattern_properties(schema: Schema) -> None:
    # `additionalProperties` is about the names that no pattern has, so it would bind the wrong ones.
    if schema.pop("patternProperties", None) is not None:
        schema.pop("additionalProperties", None)


def _find_hard(bundle: Bundle) -> str | None:
    steps = [schema["multipleOf"] for schema in every_schema(bundle) if "multipleOf" in schema]
    if math.prod(map(count_remainders, steps)) > _MOST_REMAINDERS:
        return (
            f"its multipleOf ({', '.join(map(str, steps[:5]))}) multiply to more than {_MOST_REMAINDERS}. "
            "Leave some out"
        )
    patterns = [pattern for schema in every_schema(bundle) for pattern in find_patterns(schema)]
    if any(len(pattern) > LONGEST_PATTERN for pattern in patterns):
        return f"a pattern has more than {LONGEST_PATTERN} characters. Shorten it"
    counts: dict[str, int] = {}
    for schema in every_schema(bundle):
        if _holds_together(schema) and _count_patterns(schema, bundle, counts) > _MOST_PATTERNS:
            return f"more than {_MOST_PATTERNS} patterns may have to hold together. Leave some out"
    return None


def _holds_together(schema: Schema) -> bool:
    parts = [keyword for keyword in ("$ref", "anyOf", "oneOf") if keyword in schema]
    own = len(schema) > len(parts) + ("allOf" in schema)
    return len(parts) + len(_items(schema.get("allOf"))) + own > 1


def _count_patterns(schema: JsonValue, bundle: Bundle, counts: dict[str, int]) -> int:
    """Count the patterns of a schema and of all that it refers to, up to one more than are allowed."""
    if not isinstance(schema, dict):
        return 0
    own = len(find_patterns(schema)) + ("format" in schema)
    inner = sum(_count_patterns(part, bundle, counts) for _, part in inner_schemas(schema))
    referred = 0
    if "$ref" in schema:
        name = definition_name(schema["$ref"])
        if name not in counts:
            # What is reached again within itself counts there alone.
            counts[name] = 0
            counts[name] = _count_patterns(bundle.definitions[name], bundle, counts)
        referred = counts[name]
    return min(own + inner + referred, _MOST_PATTERNS + 1)


def _change(bundle: Bundle, change: Callable[[Schema], Schema]) -> Bundle:
    def change_one(schema: Schema) -> Schema:
        return change(map_schemas(schema, change_all))

    def change_all(schema: JsonValue) -> JsonValue:
        return change_one(schema) if isinstance(schema, dict) else schema

    return Bundle(
        root=change_one(bundle.root),
        definitions={name: change_all(schema) for name, schema in bundle.definitions.items()},
    )


def _items(value: JsonValue) -> list[JsonValue]:
    return value if isinstance(value, list) else []


def _names(value: JsonValue) -> list[str]:
    return list(value) if isinstance(value, dict) else []
