"""Keep the numbers of an answer within what the next steps and the grammar can carry."""

import math
from decimal import Decimal
from typing import Final

from gemma4_block.errors import ConfigurationError
from gemma4_block.json_schema.keywords import Schema
from gemma4_block.json_value import JsonValue

# The largest that is both a signed integer of 64 bits and a double, which is what the library keeps it in.
_MOST: Final = 2**63 - 1024
# These say by themselves what the value is, or bind it elsewhere.
_OTHERWISE: Final = ("$ref", "const", "enum")
_PARTS: Final = ("allOf", "anyOf", "oneOf")


def bound_numbers(schema: Schema) -> Schema:
    """Return a schema whose numbers have at most 64 bits, where it allows numbers.

    Args:
        schema: It stays as it is.

    Returns:
        The same with a `minimum` and a `maximum`.

    Raises:
        ConfigurationError: It asks for longer ones alone, or names one.

    """
    _check_values([schema.get("const"), schema.get("enum")])
    kinds = schema.get("type")
    names = kinds if isinstance(kinds, list) else [kinds]
    if not {"integer", "number", None}.intersection(map(_name, names)):
        return schema
    if any(keyword in schema for keyword in _OTHERWISE):
        return schema
    if kinds is None and any(keyword in schema for keyword in _PARTS):
        return schema
    bounded = dict(schema)
    _bound(bounded, "minimum", "exclusiveMinimum", sign=-1)
    _bound(bounded, "maximum", "exclusiveMaximum", sign=1)
    return bounded


def count_remainders(step: JsonValue) -> int:
    """Return how many remainders a grammar must tell apart to write the multiples of a number.

    Args:
        step: The value of `multipleOf`.

    Returns:
        At least 1.

    Example:
        >>> count_remainders(5), count_remainders(0.25), count_remainders(0.01)
        (5, 25, 1)
        >>> count_remainders(10**400) == 10**400
        True

    """
    # A whole number may be too large for `isfinite`.
    if not isinstance(step, int | float) or (isinstance(step, float) and not math.isfinite(step)):
        return 1
    number = Decimal(repr(step))
    if number == number.to_integral_value():
        return max(1, int(number))
    return int("".join(map(str, number.as_tuple().digits)))


def _name(kind: JsonValue) -> str | None:
    return kind if isinstance(kind, str) else None


def _bound(schema: Schema, inclusive: str, exclusive: str, *, sign: int) -> None:
    for keyword in (inclusive, exclusive):
        value = schema.get(keyword)
        if not isinstance(value, int | float):
            continue
        if sign * value < -_MOST:
            raise ConfigurationError(
                f"The JSON Schema has {keyword} {str(value)[:40]}, and numbers of more than 64 bits cannot "
                "be sent on. Take a text for them."
            )
        if sign * value > _MOST:
            schema[keyword] = sign * _MOST
    if inclusive not in schema and exclusive not in schema:
        schema[inclusive] = sign * _MOST


def _check_values(values: list[JsonValue]) -> None:
    waiting = values
    while waiting:
        value = waiting.pop()
        match value:
            case list():
                waiting += value
            case dict():
                waiting += value.values()
            case int() if abs(value) > _MOST:
                raise ConfigurationError(
                    f"The JSON Schema allows {str(value)[:40]}, and numbers of more than 64 bits cannot be "
                    "sent on. Take a text for them."
                )
