"""Ask for facts in fields: small forms of integers, booleans, choices and short texts, as users name them."""

import json
from dataclasses import dataclass

import numpy as np

from gemma4_block.demo.scenes import COLORS
from gemma4_block.demo.training.asking import names
from gemma4_block.demo.training.asking.counting import draw_noun
from gemma4_block.demo.training.asking.describing import NO_TEXT, describe
from gemma4_block.demo.training.asking.outstanding import OUTSTANDING, find_outstanding
from gemma4_block.demo.training.asking.turn import Turn, pick, think
from gemma4_block.demo.training.drawing import Picture
from gemma4_block.reading import JsonValue
from gemma4_block.tasks import TASKS, TaskRequest

Rng = np.random.Generator

_PROMPTS = (
    "Describe the image.",
    "Look at the image.",
    "Fill in the form.",
    "What do you see?",
    "Count.",
    "Answer about this picture.",
    "Inspect the picture.",
    "Report what is there.",
)
_TASK = TASKS["structured-answering"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Field:
    """One field of a form.

    Attributes:
        name: Its key.
        words: What the user says of it; "" where the name says all.
        schema: Its JSON Schema.
        value: The true answer.

    """

    name: str
    words: str
    schema: dict[str, JsonValue]
    value: JsonValue


@dataclass(frozen=True, kw_only=True, slots=True)
class Form:
    """A form to be filled in, and how it is filled in rightly.

    Attributes:
        prompt: The user's own words before it; None for none.
        structure: Fields, or a JSON Schema, as a workflow's `output_structure`.
        values: The true answer.

    """

    prompt: str | None
    structure: dict[str, JsonValue]
    values: dict[str, JsonValue]


def structured_turn(rng: Rng, picture: Picture) -> Turn:
    """Ask for the fields of a form, in the words of the task."""
    form = draw_form(rng, picture)
    request = TaskRequest(
        images=(picture.image,), image_seq_length=70, prompt=form.prompt, output_structure=form.structure
    )
    return Turn(
        kind="structured",
        question=_TASK.ask(request).text,
        answer=json.dumps(form.values, ensure_ascii=False),
        thought=think(picture),
    )


def draw_form(rng: Rng, picture: Picture) -> Form:
    """Choose one to five fields, named with a description, with choices, or by a JSON Schema."""
    fields: dict[str, Field] = {}
    for _ in range(int(rng.choice((1, 2, 3, 4, 5), p=(0.15, 0.25, 0.35, 0.15, 0.1)))):
        field = _draw_field(rng, picture)
        if field is not None:
            fields.setdefault(field.name, field)
    if not fields:
        field = _count_field(rng, picture)
        fields[field.name] = field
    structure = _as_schema(rng, fields) if rng.random() < 0.4 else _as_fields(rng, fields)
    return Form(
        prompt=pick(rng, _PROMPTS) if rng.random() < 0.4 else None,
        structure=structure,
        values={name: field.value for name, field in fields.items()},
    )


def _as_fields(rng: Rng, fields: dict[str, Field]) -> dict[str, JsonValue]:
    by_schema = rng.random() < 0.25
    structure: dict[str, JsonValue] = {}
    for name, field in fields.items():
        if "enum" in field.schema and not by_schema:
            structure[name] = field.schema["enum"]
        else:
            structure[name] = dict(field.schema) if by_schema or not field.words else field.words
    return structure


def _as_schema(rng: Rng, fields: dict[str, Field]) -> dict[str, JsonValue]:
    has_words = rng.random() < 0.4
    properties: dict[str, JsonValue] = {
        name: {**field.schema, "description": field.words} if has_words and field.words else {**field.schema}
        for name, field in fields.items()
    }
    schema: dict[str, JsonValue] = {"type": "object", "properties": properties, "required": list(fields)}
    if rng.random() < 0.4:
        schema["additionalProperties"] = False
    return schema


def _draw_field(rng: Rng, picture: Picture) -> Field | None:
    choice = rng.random()
    if choice < 0.42:
        return _count_field(rng, picture)
    if choice < 0.64:
        return _presence_field(rng, picture)
    if choice < 0.9:
        return _outstanding_field(rng, picture)
    return _text_field(rng, picture)


def _count_field(rng: Rng, picture: Picture) -> Field:
    noun, fits = draw_noun(rng, picture)
    several = names.plural(noun)
    key = several.replace(" ", "_")
    total = ("total", "count", "number", "objects", "total_count") if noun == "object" else (key,)
    wordings = (
        f"number of {several}",
        f"how many {several} there are",
        f"count of {several}",
        f"{several}, a number",
    )
    schema: dict[str, JsonValue] = {"type": "integer"}
    if rng.random() < 0.25:
        schema["minimum"] = 0
    return Field(
        name=pick(rng, (*total, f"{noun.replace(' ', '_')}_count", key, f"num_{key}")),
        words=pick(rng, wordings),
        schema=schema,
        value=sum(fits(thing) for thing in picture.things),
    )


def _presence_field(rng: Rng, picture: Picture) -> Field:
    noun, fits = draw_noun(rng, picture)
    key = noun.replace(" ", "_")
    wordings = (
        f"whether there is {names.with_article(noun)}",
        f"true if there is {names.with_article(noun)}",
        f"is there {names.with_article(noun)}?",
        f"whether {names.with_article(noun)} is visible",
    )
    return Field(
        name=pick(rng, (f"has_{key}", f"{key}_present", f"is_{key}_visible", f"{key}_visible")),
        words=pick(rng, wordings),
        schema={"type": "boolean"},
        value=any(fits(thing) for thing in picture.things),
    )


def _outstanding_field(rng: Rng, picture: Picture) -> Field | None:
    """Return the label, kind or colour of the only thing, or of one that stands out."""
    is_only = len(picture.things) == 1
    which = "" if is_only and rng.random() < 0.7 else pick(rng, tuple(OUTSTANDING))
    thing = picture.things[0] if not which and is_only else find_outstanding(picture, which)
    if thing is None:
        return None
    said = OUTSTANDING[which] if which else "the object"
    before = f"{which}_" if which else ""
    asks = int(rng.integers(3)) if thing.color is not None else int(rng.integers(2))
    name, words, value, others = (
        (f"{before}object", f"what {said} is", thing.label, names.LABELS),
        (f"{before}kind", f"kind of {said}", thing.kind, names.KINDS),
        (f"{before}color", f"color of {said}", thing.color, COLORS),
    )[asks]
    schema: dict[str, JsonValue] = {"type": "string"}
    if rng.random() < 0.65:
        wrong = [other for other in others if other != value]
        count = int(rng.integers(1, min(6, len(wrong)) + 1))
        choices: list[JsonValue] = [value, *(wrong[index] for index in rng.permutation(len(wrong))[:count])]
        order = rng.permutation(len(choices)).tolist()
        schema = {"enum": [choices[index] for index in order]}
        if rng.random() < 0.4:
            schema = {"type": "string", **schema}
    return Field(name=name, words=words, schema=schema, value=value)


def _text_field(rng: Rng, picture: Picture) -> Field:
    if picture.writing is None and rng.random() < 0.7:
        return Field(
            name=pick(rng, ("description", "caption", "summary", "content")),
            words=pick(rng, ("what the image shows", "description of the image", "short description")),
            schema={"type": "string"},
            value=describe(picture),
        )
    return Field(
        name=pick(rng, ("text", "label", "sign", "word", "reading")),
        words=pick(
            rng, ("text in the image", "text of the sign", "what is written", "the text that is written")
        ),
        schema={"type": "string"},
        value=NO_TEXT if picture.writing is None else picture.writing.text,
    )
