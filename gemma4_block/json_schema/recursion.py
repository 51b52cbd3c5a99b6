"""Refuse schemas whose references never come to an end."""

from collections.abc import Callable, Iterable, Iterator

from gemma4_block.errors import ConfigurationError
from gemma4_block.json_schema.bundle import Bundle, definition_name
from gemma4_block.json_schema.keywords import Schema, inner_schemas
from gemma4_block.json_value import JsonValue

# Their schemas are about the same value, not about a part of it.
_IN_PLACE = {"allOf", "anyOf", "dependentSchemas", "else", "if", "not", "oneOf", "then"}


def check_recursion(bundle: Bundle) -> None:
    """Refuse a schema that refers to itself without an end.

    Args:
        bundle: The schema.

    Raises:
        ConfigurationError: A reference leads back to itself about the same value, or every value that it
            allows would have to hold another of its kind.

    """
    _check_circles(bundle)
    # One whose schema is false is taken for one that ends: it is never begun.
    finite = _settle(bundle, lambda name, settled: _can_end(bundle.definitions[name], settled))
    for name in bundle.definitions:
        if name not in finite:
            raise ConfigurationError(
                f"The JSON Schema has no answer that ends: every value of {_word(name)} would have to hold "
                "another of its kind. Make one of its properties optional, or allow null or an empty list "
                "there."
            )


def _word(name: str) -> str:
    # The number before it is the bundle's own; the root is referred to as "#".
    return name.partition("-")[2] or "the schema"


def _check_circles(bundle: Bundle) -> None:
    needs = {name: set(_same_value(schema)) for name, schema in bundle.definitions.items()}
    ended = _settle(bundle, lambda name, settled: needs[name] <= settled)
    for name in bundle.definitions:
        if name not in ended:
            raise ConfigurationError(
                f"The JSON Schema goes in a circle: {_word(name)} refers to itself about the same value. "
                "Refer to it from a property or an item instead."
            )


def _settle(bundle: Bundle, is_settled: Callable[[str, set[str]], bool]) -> set[str]:
    """Return the definitions that are settled, where each may need others to be settled before it."""
    settled: set[str] = set()
    # Those that are referred to come later, so that mostly one round is enough.
    waiting = list(reversed(list(bundle.definitions)))
    while True:
        before = len(waiting)
        for name in waiting:
            if is_settled(name, settled):
                settled.add(name)
        waiting = [name for name in waiting if name not in settled]
        if len(waiting) == before:
            return settled


def _same_value(schema: JsonValue) -> Iterable[str]:
    if not isinstance(schema, dict):
        return
    if "$ref" in schema:
        yield definition_name(schema["$ref"])
    for keyword, part in inner_schemas(schema):
        if keyword in _IN_PLACE:
            yield from _same_value(part)


def _can_end(schema: JsonValue, finite: set[str]) -> bool:
    if not isinstance(schema, dict):
        return True
    referred = "$ref" not in schema or definition_name(schema["$ref"]) in finite
    if not referred or not all(_can_end(part, finite) for part in _list(schema, "allOf")):
        return False
    for keyword in ("anyOf", "oneOf"):
        if (parts := _list(schema, keyword)) and not any(_can_end(part, finite) for part in parts):
            return False
    return all(_can_end(part, finite) for part in _needed(schema))


def _list(schema: Schema, keyword: str) -> list[JsonValue]:
    parts = schema.get(keyword)
    return parts if isinstance(parts, list) else []


def _needed(schema: Schema) -> Iterator[JsonValue]:
    """Yield the schemas of what every value of a schema holds; none where it may be a number, say."""
    match schema.get("type"):
        case "object" | ["object"]:
            properties = schema.get("properties")
            if isinstance(properties, dict):
                required = map(str, _list(schema, "required"))
                yield from (properties[name] for name in required if name in properties)
        case "array" | ["array"]:
            least, first = schema.get("minItems", 0), _list(schema, "prefixItems")
            if isinstance(least, int | float):
                yield from first[: int(least)]
                if least > len(first) and "items" in schema:
                    yield schema["items"]
