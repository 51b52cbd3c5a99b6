"""Recognise a class that a model wrote a little differently."""

import unicodedata
from collections.abc import Callable, Sequence


def find_class(label: str, classes: Sequence[str]) -> str | None:
    """Return the class that `label` means.

    Exactly the same text comes first; then the one class that is the same without regard to case, outer white
    space, and space, underscore or hyphen between words; then without regard to punctuation around it too.

    Args:
        label: Written by a model.
        classes: What it may mean.

    Returns:
        One of `classes` as it stands there; None where none or more than one is meant.

    Example:
        >>> find_class("Traffic_Light.", ["traffic light", "car"])
        'traffic light'
        >>> find_class("CAR", ["car", "Car"])

    """
    if label in classes:
        return label
    for simplify in (_fold, _strip_punctuation):
        meant = _matches(label, classes, simplify)
        if meant:
            return meant.pop() if len(meant) == 1 else None
    return None


def _matches(label: str, classes: Sequence[str], simplify: Callable[[str], str]) -> set[str]:
    wanted = simplify(label)
    return {name for name in classes if wanted and simplify(name) == wanted}


def _fold(text: str) -> str:
    words = unicodedata.normalize("NFKC", text).casefold().replace("_", " ").replace("-", " ")
    return " ".join(words.split())


def _strip_punctuation(text: str) -> str:
    folded = _fold(text)
    start, end = 0, len(folded)
    while start < end and _is_outer(folded[start]):
        start += 1
    while end > start and _is_outer(folded[end - 1]):
        end -= 1
    return folded[start:end]


def _is_outer(character: str) -> bool:
    # P is punctuation, Z white space, C control; S keeps the signs of "C++" and of "5 €".
    return unicodedata.category(character)[0] in "PZC"
