"""Write an event for people and for programs: what happened, then key=value."""

import json


def log_line(event: str, /, **fields: str | float) -> str:
    """Return one line of the log.

    Args:
        event: What happened, in a word.
        **fields: What a program may want to read. Times are seconds, sizes are bytes. A text with more than
            letters, digits and the signs of paths and ids is quoted as in JSON.

    Returns:
        The line, without its end.

    >>> log_line("Load", model="gemma-4-demo", outcome="failed", seconds=0.5, reason="no such file")
    'Load: model=gemma-4-demo outcome=failed seconds=0.500 reason="no such file"'
    """
    return f"{event}: {' '.join(f'{name}={_write(value)}' for name, value in fields.items())}"


def _write(value: str | float) -> str:
    match value:
        case int():
            return str(value)
        case float():
            return f"{value:.3f}"
        case str():
            is_plain = value != "" and all(sign.isalnum() or sign in "-_./:+@" for sign in value)
            return value if is_plain else json.dumps(value, ensure_ascii=False)
