"""Refuse fields that a task needs and that are missing, and fields that would do nothing."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from gemma4_block.errors import PromptError
from gemma4_block.reading import JsonValue

OutputStructure = Mapping[str, JsonValue]
"""Field name to description, or a JSON Schema."""

FieldName = Literal["prompt", "classes", "output_structure", "box_format"]
"""The fields of a step that some tasks look at."""

Use = Literal["required", "optional", "unused"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Inputs:
    """Which fields of a step a task looks at.

    Attributes:
        prompt: The user's own words.
        classes: The possible answers.
        output_structure: The form of the answer.
        box_format: How the checkpoint writes boxes. It has a default, so it is never missing or too much.

    """

    prompt: Use = "unused"
    classes: Use = "unused"
    output_structure: Use = "unused"
    box_format: Use = "unused"


def check_inputs(
    name: str,
    takes: Inputs,
    *,
    prompt: str | None,
    classes: Sequence[str],
    output_structure: OutputStructure | None,
) -> None:
    """Refuse a field that is missing, or that would do nothing.

    Args:
        name: The task.
        takes: What it looks at.
        prompt: The user's, or None.
        classes: The user's; may be empty.
        output_structure: The user's, or None.

    Raises:
        PromptError: One of them is missing or too much.

    """
    if takes.prompt == "required" and is_blank(prompt):
        raise PromptError(
            f"task_type {name} needs a prompt, and it is empty. Write a question or an instruction, "
            "or choose a task that needs none, such as caption or ocr."
        )
    if takes.prompt == "unused" and not is_blank(prompt):
        raise PromptError(
            f"task_type {name} brings its own question, and a prompt would do nothing. Leave prompt "
            f"empty, or choose {_list_tasks('prompt', 'required')} to ask your own."
        )
    if takes.classes == "required" and not classes:
        raise PromptError(
            f'task_type {name} needs classes, and there are none. List them, as in ["cat", "dog"].'
        )
    if takes.classes == "unused" and classes:
        raise PromptError(
            f"task_type {name} has no classes, and those given would do nothing. Leave classes empty, or "
            f"choose {_list_tasks('classes', 'required')}."
        )
    if takes.output_structure == "required" and not output_structure:
        raise PromptError(
            f"task_type {name} needs an output_structure, and it is empty. Name the fields of the answer, as "
            'in {"color": "color of the car"}, or give a JSON Schema.'
        )
    if takes.output_structure == "unused" and output_structure:
        raise PromptError(
            f"task_type {name} has a fixed form, and an output_structure would do nothing. Leave it empty, "
            f"or choose {_list_tasks('output_structure', 'required')}."
        )


def is_blank(text: str | None) -> bool:
    """Say whether a text says nothing."""
    return text is None or not text.strip()


def _list_tasks(field: FieldName, use: Use) -> str:
    """Return the names of the tasks that use a field in a way, as in "a, b or c"."""
    # Every task imports this module, and the registry every task.
    from gemma4_block.tasks.registry import TASKS

    *first, last = [task.name for task in TASKS.values() if getattr(task.takes, field) == use]
    return f"{', '.join(first)} or {last}" if first else last
