"""The form of a block, read from its JSON Schema as the host's builder reads it."""

import json
from dataclasses import dataclass
from typing import Any, Literal

from roboflow_workflows.prototypes.block import WorkflowBlockManifest

Control = Literal["area", "choice", "connection", "text", "switch"]
"""`connection` takes the output of an input or a step, and nothing that is typed."""

Schema = dict[str, Any]


@dataclass(frozen=True, kw_only=True, slots=True)
class FormField:
    """A field of a form.

    Attributes:
        name: In workflow JSON.
        title: Its name for people.
        description: What it is for.
        control: How its value is given.
        shown: What stands in the control: the default or, where that is empty, an example.
        is_example: Whether it is an example.
        is_required: Whether the step cannot be saved without it, wherever it is shown.
        condition: When it is shown; None for always.
        is_shown_at_first: Whether a fresh step shows it.

    """

    name: str
    title: str
    description: str
    control: Control
    shown: str
    is_example: bool
    is_required: bool
    condition: str | None
    is_shown_at_first: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class Form:
    """The form of a block.

    Attributes:
        name: Of the block.
        short_description: What it is for.
        icon: Its name in Font Awesome.
        main: The fields that are always unfolded.
        optional: The fields below "Optional properties".

    """

    name: str
    short_description: str
    icon: str
    main: tuple[FormField, ...]
    optional: tuple[FormField, ...]


def read_form(manifest: type[WorkflowBlockManifest]) -> Form:
    """Return the form of a block.

    Args:
        manifest: Of the block.

    Returns:
        Its fields in the order of the builder.

    """
    schema: Schema = manifest.model_json_schema()
    main, optional = [], []
    for name, described in schema["properties"].items():
        if name != "type":
            is_main = name in schema["required"] or described.get("always_visible", False)
            (main if is_main else optional).append(_read_field(name, schema))
    return Form(
        name=schema["name"],
        short_description=schema["short_description"],
        icon=schema["ui_manifest"]["icon"],
        main=tuple(main),
        optional=tuple(optional),
    )


def _read_field(name: str, schema: Schema) -> FormField:
    described = schema["properties"][name]
    relevant_for = described.get("relevant_for", {})
    default = described.get("default")
    examples = described.get("examples", [])
    is_example = default is None and bool(examples)
    return FormField(
        name=name,
        title=described["title"],
        description=described.get("description", ""),
        control=_find_control(described),
        shown=_write(examples[0] if is_example else default, described),
        is_example=is_example,
        is_required=name in schema["required"] or any(use["required"] for use in relevant_for.values()),
        condition=" and ".join(_word_condition(other, use, schema) for other, use in relevant_for.items())
        or None,
        is_shown_at_first=all(
            schema["properties"][other].get("default") in use["values"] for other, use in relevant_for.items()
        ),
    )


def _find_control(described: Schema) -> Control:
    typed = [arm for arm in described.get("anyOf", [described]) if not arm.get("reference")]
    kinds = {arm.get("type") for arm in typed} - {"null"}
    if described.get("multiline"):
        return "area"
    if any("enum" in arm for arm in typed):
        return "choice"
    if not kinds:
        return "connection"
    return "switch" if kinds == {"boolean"} else "text"


def _write(value: object, described: Schema) -> str:
    named = described.get("values_metadata", {}).get(str(value))
    if named is not None:
        return str(named["name"])
    if value is None or isinstance(value, str):
        return "" if value is None else str(value)
    return json.dumps(value, ensure_ascii=False)


def _word_condition(other: str, use: Schema, schema: Schema) -> str:
    described = schema["properties"][other]
    values = [_write(value, described) if value is not True else "on" for value in use["values"]]
    *first, last = values
    listed = f"{', '.join(first)} or {last}" if first else last
    return f"{described['title']} is {listed}"
