"""A validator of jsonschema that gives up in time, and takes patterns and multiples as they are meant."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Protocol, TypeAlias

from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError
from jsonschema.validators import extend

from gemma4_block.json_schema.keywords import Schema
from gemma4_block.json_schema.patterns import search
from gemma4_block.json_value import JsonValue


class TimeUpError(Exception):
    """The check takes too long."""


class _Validator(Protocol):
    """What a keyword sees of the validator that it is a part of."""

    def descend(
        self, instance: JsonValue, schema: JsonValue, path: str | None = None
    ) -> Iterator[ValidationError]: ...


_Keyword: TypeAlias = Callable[[_Validator, JsonValue, JsonValue, Schema], Iterator[ValidationError]]


def find_errors(value: JsonValue, schema: Schema, *, seconds: float) -> Iterator[ValidationError]:
    """Find what in a value does not match a schema.

    Args:
        value: The value.
        schema: In one form, as a bundle writes it.
        seconds: How long to look, of this thread's own time.

    Returns:
        Errors of jsonschema, found while they are asked for.

    Raises:
        TimeUpError: It takes longer.

    """
    timed = _Timed(deadline=time.thread_time() + seconds)
    ours: dict[str, _Keyword] = {
        "additionalProperties": timed.additional_properties,
        "multipleOf": _multiple_of,
        "pattern": timed.pattern,
        "patternProperties": timed.pattern_properties,
    }
    keywords = {
        name: timed.limit(ours.pop(name, theirs)) for name, theirs in Draft202012Validator.VALIDATORS.items()
    }
    errors: Iterator[ValidationError]
    errors = extend(Draft202012Validator, keywords)(schema).iter_errors(value)  # type: ignore[no-untyped-call]
    return errors


@dataclass(frozen=True, kw_only=True, slots=True)
class _Timed:
    """The keywords that may take long.

    Attributes:
        deadline: When to give up, by `time.thread_time`, so that a busy machine does not count.

    """

    deadline: float

    def limit(self, keyword: _Keyword) -> _Keyword:
        """Return a keyword that gives up in time."""

        def limited(
            validator: _Validator, bound: JsonValue, value: JsonValue, schema: Schema
        ) -> Iterator[ValidationError]:
            if time.thread_time() > self.deadline:
                raise TimeUpError
            return keyword(validator, bound, value, schema)

        return limited

    def pattern(
        self, _: _Validator, pattern: JsonValue, value: JsonValue, __: Schema
    ) -> Iterator[ValidationError]:
        """Yield an error where a text has not the pattern."""
        if isinstance(value, str) and not self._has(str(pattern), value):
            yield ValidationError(f"{value!r} does not match the pattern {pattern!r}")

    def pattern_properties(
        self, validator: _Validator, patterns: JsonValue, value: JsonValue, _: Schema
    ) -> Iterator[ValidationError]:
        """Yield the errors of properties whose names have a pattern."""
        if not isinstance(value, dict) or not isinstance(patterns, dict):
            return
        for pattern, schema in patterns.items():
            for name, part in value.items():
                if self._has(pattern, name):
                    yield from validator.descend(part, schema, path=name)

    def additional_properties(
        self, validator: _Validator, rest: JsonValue, value: JsonValue, schema: Schema
    ) -> Iterator[ValidationError]:
        """Yield the errors of properties that are not named otherwise."""
        if not isinstance(value, dict):
            return
        known, patterns = schema.get("properties"), schema.get("patternProperties")
        names = known if isinstance(known, dict) else {}
        for name, part in value.items():
            if name in names:
                continue
            if isinstance(patterns, dict) and any(self._has(pattern, name) for pattern in patterns):
                continue
            if rest is False:
                yield ValidationError(f"the property {name!r} is not allowed")
            else:
                yield from validator.descend(part, rest, path=name)

    def _has(self, pattern: str, text: str) -> bool:
        try:
            return search(pattern, text, seconds=self.deadline - time.thread_time())
        except TimeoutError as error:
            raise TimeUpError from error


def _multiple_of(_: _Validator, step: JsonValue, value: JsonValue, __: Schema) -> Iterator[ValidationError]:
    # By what is written: in binary 0.3 is no multiple of 0.1.
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if is_number and (Fraction(repr(value)) / Fraction(repr(step))).denominator != 1:
        yield ValidationError(f"{value} is not a multiple of {step}")
