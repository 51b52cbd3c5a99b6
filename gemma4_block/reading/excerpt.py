"""Quote an answer in a message without flooding it."""

_MAX_CHARACTERS = 120


def excerpt(text: str) -> str:
    """Return `text` in quotation marks, on one line, its middle left out where it is long.

    >>> excerpt("no cats")
    "'no cats'"
    """
    if len(text) <= _MAX_CHARACTERS:
        return repr(text)
    half = _MAX_CHARACTERS // 2
    return f"{text[:half]!r} ... {text[-half:]!r} ({len(text)} characters)"
