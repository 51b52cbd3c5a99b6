"""Say what in an answer does not match its JSON Schema, in bounded time."""

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from typing import TYPE_CHECKING, Final, TypeAlias

from gemma4_block.errors import ConfigurationError
from gemma4_block.json_schema.bundle import Bundle, every_schema, read_schema
from gemma4_block.json_schema.keywords import Schema, find_patterns
from gemma4_block.json_schema.patterns import check_searchable, search
from gemma4_block.reading import JsonValue

if TYPE_CHECKING:
    from jsonschema.exceptions import ValidationError
    from jsonschema.protocols import Validator

# A schema of every day takes a millisecond; alternatives within alternatives may take any time.
_SECONDS: Final = 1.0
_SHOWN_CHARACTERS: Final = 200

_Errors: TypeAlias = "Iterable[ValidationError] | None"
_Keyword: TypeAlias = "Callable[[Validator, JsonValue, JsonValue, Schema], _Errors]"


class _TimeUpError(Exception):
    """The check takes too long."""


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
    from jsonschema.exceptions import best_match

    check = _Check(deadline=time.monotonic() + _SECONDS)
    try:
        error = best_match(check.find_errors(value, _written(schema)))
    except (_TimeUpError, RecursionError):
        return (
            "the schema is too involved to be checked for this answer; simplify its alternatives or patterns"
        )
    if error is None:
        return None
    place = "/".join(map(str, error.absolute_path))
    return f"{place}: {_shorten(error.message)}" if place else _shorten(error.message)


@lru_cache(maxsize=64)
def _written(schema: str) -> Schema:
    return read_schema(schema).write()


def _shorten(message: str) -> str:
    if len(message) <= _SHOWN_CHARACTERS:
        return message
    half = _SHOWN_CHARACTERS // 2
    return f"{message[:half]} ... {message[-half:]}"


@dataclass(frozen=True, kw_only=True, slots=True)
class _Check:
    """The check of one answer.

    Attributes:
        deadline: When to give up, by `time.monotonic`.

    """

    deadline: float

    def find_errors(self, value: JsonValue, schema: Schema) -> "Iterator[ValidationError]":
        from jsonschema import Draft202012Validator
        from jsonschema.validators import extend

        ours: dict[str, _Keyword] = {
            "additionalProperties": self._additional_properties,
            "multipleOf": _multiple_of,
            "pattern": self._pattern,
            "patternProperties": self._pattern_properties,
        }
        keywords = {
            name: self._timed(ours.get(name, keyword))
            for name, keyword in Draft202012Validator.VALIDATORS.items()
        }
        errors: Iterator[ValidationError] = extend(Draft202012Validator, keywords)(schema).iter_errors(value)
        return errors

    def _timed(self, keyword: _Keyword) -> _Keyword:
        def timed(validator: "Validator", bound: JsonValue, value: JsonValue, schema: Schema) -> _Errors:
            if time.monotonic() > self.deadline:
                raise _TimeUpError
            return keyword(validator, bound, value, schema)

        return timed

    def _has(self, pattern: JsonValue, text: str) -> bool:
        try:
            return search(str(pattern), text, seconds=self.deadline - time.monotonic())
        except TimeoutError as error:
            raise _TimeUpError from error

    def _pattern(self, _: "Validator", pattern: JsonValue, value: JsonValue, __: Schema) -> _Errors:
        from jsonschema.exceptions import ValidationError

        if isinstance(value, str) and not self._has(pattern, value):
            yield ValidationError(f"{value!r} does not match the pattern {pattern!r}")

    def _pattern_properties(
        self, validator: "Validator", patterns: JsonValue, value: JsonValue, _: Schema
    ) -> _Errors:
        if isinstance(value, dict) and isinstance(patterns, dict):
            for pattern, schema in patterns.items():
                for name, part in value.items():
                    if self._has(pattern, name):
                        yield from validator.descend(part, schema, path=name, schema_path=pattern)

    def _additional_properties(
        self, validator: "Validator", rest: JsonValue, value: JsonValue, schema: Schema
    ) -> _Errors:
        if not isinstance(value, dict):
            return
        known, patterns = schema.get("properties", {}), schema.get("patternProperties", {})
        for name, part in value.items():
            if name not in known and not any(self._has(pattern, name) for pattern in patterns):
                yield from validator.descend(part, rest, path=name)


def _multiple_of(_: "Validator", step: JsonValue, value: JsonValue, __: Schema) -> _Errors:
    from jsonschema.exceptions import ValidationError

    # By what is written: in binary 0.3 is no multiple of 0.1.
    if isinstance(value, int | float) and not isinstance(value, bool):
        if (Fraction(repr(value)) / Fraction(repr(step))).denominator != 1:
            yield ValidationError(f"{value} is not a multiple of {step}")
