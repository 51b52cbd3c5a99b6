"""Patterns of JSON Schemas: whether a grammar can hold a text to one, and whether a text has one."""

import re
from typing import Final

from gemma4_block.errors import ConfigurationError
from gemma4_block.json_schema.library import find_problem, form_grammar

LONGEST_PATTERN: Final = 2_000
"""Characters of a pattern in a grammar.

Source: measured, see tests/json_schema/test_hostile.py; one of 18,000 takes 0.9 s and 160 MB for a token."""

# An escaped sign, a set of signs, how often at least, as in {3} or {3,5}, or any other sign.
_PART: Final = re.compile(r"\\.|\[(?:\\.|[^\]\\])*\]|\{(\d+)[^}]*\}|.", re.DOTALL)
# The engine of expressions writes what must be there out in full. Source: measured, a million take 1.6 s and
# 280 MB.
_MOST_WRITTEN_OUT: Final = 200_000


def has_grammar(pattern: str) -> bool:
    """Say whether a grammar can hold a text to a pattern."""
    if len(pattern) > LONGEST_PATTERN:
        return False
    return find_problem(form_grammar({"type": "string", "pattern": pattern})) is None


def check_searchable(pattern: str) -> None:
    """Refuse a pattern that cannot be looked for in a text.

    Args:
        pattern: A regular expression.

    Raises:
        ConfigurationError: It is none, or would take too much memory.

    """
    import regex

    if _count_written_out(pattern) > _MOST_WRITTEN_OUT:
        raise ConfigurationError(
            f"The JSON Schema has the pattern {pattern[:100]!r}, which repeats too much. Take smaller "
            "counts, or minLength."
        )
    try:
        regex.compile(pattern)
    except (regex.error, RecursionError, OverflowError) as error:
        raise ConfigurationError(
            f"The JSON Schema has the pattern {pattern[:100]!r}, which is no regular expression: {error}. "
            "Correct it."
        ) from error


def search(pattern: str, text: str, *, seconds: float) -> bool:
    """Say whether a text has a pattern somewhere.

    Args:
        pattern: A regular expression that `check_searchable` takes.
        text: Where to look.
        seconds: How long at most.

    Returns:
        Whether it has.

    Raises:
        TimeoutError: It takes longer.

    """
    # Not the standard library's: a pattern may take that one years, and it knows no \p{L}.
    import regex

    return regex.search(pattern, text, timeout=max(seconds, 0.001)) is not None


def _count_written_out(pattern: str) -> int:
    """Return how many signs a pattern has at most where its counts are written out in full."""
    groups = [0]
    last = 0
    for part in _PART.finditer(pattern):
        if part[1] is not None:
            added = last * max(0, int(part[1][:12]) - 1)
            last += added
        elif part[0] == "(":
            groups.append(0)
            last = added = 0
        elif part[0] == ")" and len(groups) > 1:
            last = added = groups.pop()
        else:
            last = added = 1
        groups[-1] += added
    return sum(groups)
