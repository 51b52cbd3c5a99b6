"""Forms about wide pictures, of one to five fields of every type, and how they are filled in rightly."""

from dataclasses import dataclass

import numpy as np

from gemma4_block.demo.evaluation.wide.pictures import list_labels
from gemma4_block.demo.training.asking import KINDS, LABELS, find_outstanding, plural, with_article
from gemma4_block.demo.training.drawing import Picture
from gemma4_block.reading import JsonValue

Rng = np.random.Generator

_CHOICES = 4


@dataclass(frozen=True, kw_only=True, slots=True)
class Form:
    """A form.

    Attributes:
        structure: Its fields, or their JSON Schema, as a workflow's `output_structure`.
        values: The true answer.

    """

    structure: dict[str, JsonValue]
    values: dict[str, JsonValue]


@dataclass(frozen=True, kw_only=True, slots=True)
class _Field:
    name: str
    words: str
    schema: dict[str, JsonValue]
    value: JsonValue


def draw_form(rng: Rng, picture: Picture, fields: int, *, as_schema: bool) -> Form:
    """Ask for so many facts about a picture.

    Args:
        rng: Source of every choice.
        picture: Has one thing or more.
        fields: 1 to 5.
        as_schema: Whether the user writes a JSON Schema instead of a description of each field.

    Returns:
        The form: first two counts, then whether something is there, what the largest thing is, and how many
        things there are; of less fields some of these.

    """
    drawn = [_count(rng, picture), _presence(rng, picture), _largest(rng, picture), _total(picture)]
    drawn.append(_kind_count(rng, picture, [field.name for field in drawn]))
    chosen = [drawn[index] for index in rng.permutation(len(drawn))[:fields]]
    if as_schema:
        properties: dict[str, JsonValue] = {field.name: {**field.schema} for field in chosen}
        structure: dict[str, JsonValue] = {
            "type": "object",
            "properties": properties,
            "required": [field.name for field in chosen],
        }
    else:
        structure = {field.name: field.schema.get("enum", field.words) for field in chosen}
    return Form(structure=structure, values={field.name: field.value for field in chosen})


def _count(rng: Rng, picture: Picture) -> _Field:
    label = _likely(rng, list_labels(picture), LABELS)
    several = plural(label)
    return _Field(
        name=several.replace(" ", "_"),
        words=f"number of {several}",
        schema={"type": "integer"},
        value=sum(thing.label == label for thing in picture.things),
    )


def _kind_count(rng: Rng, picture: Picture, taken: list[str]) -> _Field:
    present = sorted({thing.kind for thing in picture.things})
    kinds = [kind for kind in KINDS if plural(kind) not in taken]
    kind = _likely(rng, [kind for kind in present if kind in kinds], kinds)
    return _Field(
        name=plural(kind),
        words=f"how many {plural(kind)} there are",
        schema={"type": "integer"},
        value=sum(thing.kind == kind for thing in picture.things),
    )


def _presence(rng: Rng, picture: Picture) -> _Field:
    label = _likely(rng, list_labels(picture), LABELS)
    return _Field(
        name=f"has_{label.replace(' ', '_')}",
        words=f"whether there is {with_article(label)}",
        schema={"type": "boolean"},
        value=any(thing.label == label for thing in picture.things),
    )


def _largest(rng: Rng, picture: Picture) -> _Field:
    """Ask what the largest thing is, or where none is clearly largest whether a thing is there."""
    thing = find_outstanding(picture, "largest")
    if thing is None:
        field = _presence(rng, picture)
        name = field.name.removeprefix("has_")
        return _Field(name=f"{name}_visible", words=field.words, schema=field.schema, value=field.value)
    wrong = [label for label in LABELS if label != thing.label]
    choices: list[JsonValue] = [
        thing.label,
        *(wrong[index] for index in rng.permutation(len(wrong))[: _CHOICES - 1]),
    ]
    order = rng.permutation(len(choices)).tolist()
    return _Field(
        name="largest_object",
        words="what the largest object is",
        schema={"enum": [choices[index] for index in order]},
        value=thing.label,
    )


def _total(picture: Picture) -> _Field:
    return _Field(
        name="objects",
        words="number of objects",
        schema={"type": "integer"},
        value=len(picture.things),
    )


def _likely(rng: Rng, present: list[str], known: tuple[str, ...] | list[str]) -> str:
    """Return one that is there, or in one of three cases any."""
    choices = present if present and rng.random() < 2 / 3 else known
    return choices[int(rng.integers(len(choices)))]
