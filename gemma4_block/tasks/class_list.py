"""Word a list of classes so that each of them stays one."""

import json
from collections.abc import Sequence


def list_classes(classes: Sequence[str]) -> str:
    """Return classes as one text, with commas between them; one that has a comma itself is put in quotes.

    Args:
        classes: At least one.

    Returns:
        The text for a question.

    Example:
        >>> list_classes(["cat", "red, blue", 'a "cat"'])
        'cat, "red, blue", a "cat"'

    """
    return ", ".join(json.dumps(name, ensure_ascii=False) if "," in name else name for name in classes)
