"""Say whether the next step, and the server's reply, can carry a value."""

import math

from gemma4_block.reading import JsonValue

# The server writes replies with orjson, which knows no longer integers and no deeper nesting than 254
# levels, and would fail for all images of the request. A row is nested a few levels itself.
_INTEGERS = range(-(2**63), 2**64)
_MAX_DEPTH = 100


def find_unsendable(value: JsonValue, *, depth: int = 0) -> str | None:
    """Return what in a value cannot be sent, in words; None where all of it can be.

    Args:
        value: What a task read.
        depth: How many lists and objects it stands in.

    Returns:
        Words for a message.

    Example:
        >>> find_unsendable({"sides": [1, 2.5, None, "two"]})
        >>> find_unsendable({"serial": 2**64})
        'an integer of more than 64 bits'

    """
    match value:
        case bool() | None:
            return None
        case int():
            return None if value in _INTEGERS else "an integer of more than 64 bits"
        case float():
            return None if math.isfinite(value) else "a number beyond all bounds"
        case str():
            has_half = any("\ud800" <= character <= "\udfff" for character in value)
            return "half a surrogate pair" if has_half else None
    if depth == _MAX_DEPTH:
        return f"more than {_MAX_DEPTH} levels"
    parts = value if isinstance(value, list) else [*value, *value.values()]
    problems = (find_unsendable(part, depth=depth + 1) for part in parts)
    return next((problem for problem in problems if problem is not None), None)
