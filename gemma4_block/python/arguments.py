"""Check what a Python program hands to a task; Python itself holds nobody to a type."""

import json
from collections.abc import Mapping, Sequence

from gemma4_block.errors import ConfigurationError, PromptError
from gemma4_block.reading import JsonValue
from gemma4_block.tasks import OutputStructure


def read_structure(structure: OutputStructure) -> dict[str, JsonValue]:
    """Return fields or a JSON Schema as plain JSON.

    Args:
        structure: What a caller gave.

    Returns:
        The same as dictionaries and lists.

    Raises:
        ConfigurationError: It is no dictionary, or holds what JSON cannot.

    """
    if not isinstance(structure, Mapping):
        raise ConfigurationError(
            f"schema is a {type(structure).__name__}; it must be a dictionary: fields, as in "
            '{"color": "color of the car"}, or a JSON Schema.'
        )
    try:
        plain: dict[str, JsonValue] = json.loads(json.dumps(dict(structure), allow_nan=False))
    except (TypeError, ValueError, RecursionError) as error:
        raise ConfigurationError(
            f"schema is no JSON: {error}. Use texts, numbers, lists and dictionaries only."
        ) from error
    return plain


def read_classes(classes: Sequence[str]) -> tuple[str, ...]:
    """Return class names as a tuple.

    Args:
        classes: What a caller gave.

    Returns:
        The same texts in the same order.

    Raises:
        ConfigurationError: They are no list of texts.

    """
    if isinstance(classes, str) or not isinstance(classes, Sequence):
        raise ConfigurationError(
            f'classes is a {type(classes).__name__}; it must be a list of texts, as in ["cat", "dog"].'
        )
    for place, name in enumerate(classes):
        if not isinstance(name, str):
            raise ConfigurationError(f"Class {place + 1} is a {type(name).__name__}; it must be text.")
    return tuple(classes)


def read_prompt(prompt: str | None) -> str | None:
    """Return a prompt.

    Args:
        prompt: What a caller gave.

    Returns:
        The same.

    Raises:
        PromptError: It is no text.

    """
    if not isinstance(prompt, str | None):
        raise PromptError(f"The prompt is a {type(prompt).__name__}; it must be text.")
    return prompt
