"""Say what in an answer does not match its JSON Schema, in bounded time."""

from functools import lru_cache
from typing import Final

from gemma4_block.errors import ConfigurationError
from gemma4_block.json_schema.bundle import Bundle, every_schema, read_schema
from gemma4_block.json_schema.keywords import Schema, find_patterns
from gemma4_block.json_schema.patterns import check_searchable
from gemma4_block.json_value import JsonValue

# A schema of every day takes a few milliseconds; alternatives within alternatives may take any time.
_SECONDS: Final = 0.5
_SHOWN_CHARACTERS: Final = 200


def check_checkable(bundle: Bundle) -> None:
    """Refuse a schema that no answer can be checked against in bounded time and memory.

    Args:
        bundle: The schema.

    Raises:
        ConfigurationError: A pattern is none or repeats too much, or `unevaluatedProperties` is there beside
            patterns of names.

    """
    keywords: set[str] = set()
    for schema in every_schema(bundle):
        keywords.update(schema)
        for pattern in find_patterns(schema):
            check_searchable(pattern)
    if {"patternProperties", "unevaluatedProperties"} <= keywords:
        # The validator looks for these with the standard library's expressions, which have no limit of time.
        raise ConfigurationError(
            "The JSON Schema has unevaluatedProperties and patternProperties, which cannot be checked "
            "together. Take additionalProperties instead of unevaluatedProperties."
        )


def find_mismatch(value: JsonValue, schema: str) -> str | None:
    """Return what in an answer does not match a schema.

    Args:
        value: The answer.
        schema: The JSON Schema as text, which `relax_schema` took.

    Returns:
        The place and what is wrong there, in words; None where all is right.

    Example:
        >>> find_mismatch({"codes": [7, 7]}, '{"properties": {"codes": {"uniqueItems": true}}}')
        'codes: [7, 7] has non-unique elements'

    """
    # Loaded where they are used, because the builder's forms need none of it.
    from jsonschema.exceptions import best_match

    from gemma4_block.json_schema.validator import TimeUpError, find_errors

    try:
        error = best_match(find_errors(value, _write(schema), seconds=_SECONDS))
    except (TimeUpError, RecursionError):
        return (
            "the schema is too involved to be checked for this answer; simplify its alternatives or patterns"
        )
    if error is None:
        return None
    place = "/".join(map(str, error.absolute_path))
    return f"{place}: {_shorten(error.message)}" if place else _shorten(error.message)


@lru_cache(maxsize=64)
def _write(schema: str) -> Schema:
    return read_schema(schema).write()


def _shorten(message: str) -> str:
    if len(message) <= _SHOWN_CHARACTERS:
        return message
    half = _SHOWN_CHARACTERS // 2
    return f"{message[:half]} ... {message[-half:]}"
