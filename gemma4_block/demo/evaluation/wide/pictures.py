"""The pictures of the second generator that questions are asked about, and the true boxes in them."""

from dataclasses import replace

import numpy as np

from gemma4_block.demo.evaluation.held_out import CONDITIONS, Condition, draw_held_out, draw_words
from gemma4_block.demo.evaluation.held_out.surfaces import SURFACES
from gemma4_block.demo.evaluation.scoring import LabelledBox
from gemma4_block.demo.training.drawing import Picture, Thing

Rng = np.random.Generator

ASPECT_RATIOS = ("white background", "16:9", "9:16", "4:1", "1:4")
"""The conditions that differ in width over height; the first are squares."""
_MIXED = replace(CONDITIONS["shapes and things"], count=(1, 5), size=(0.16, 0.32))
_CROP = Condition(count=(1, 1), size=(0.5, 0.85), everyday=0.5, turn=30.0, unit_px=200.0)
_BACKPACKS = replace(_MIXED, everyday=1.0, size=(0.2, 0.34), count=(1, 4))


def draw_pictures(rng: Rng, condition: Condition, count: int) -> list[Picture]:
    """Draw pictures of a condition, each with something in it."""
    pictures: list[Picture] = []
    while len(pictures) < count:
        picture = draw_held_out(rng, condition)
        if picture.things:
            pictures.append(picture)
    return pictures


def draw_mixed(rng: Rng, count: int) -> list[Picture]:
    """Draw one to five shapes and things on every kind of background in turn."""
    return _on_every_surface(rng, _MIXED, count)


def draw_crops(rng: Rng, count: int) -> list[Picture]:
    """Draw single shapes and things that fill most of their picture, on every kind of background in turn."""
    return _on_every_surface(rng, _CROP, count)


def draw_texts(rng: Rng, count: int, *, are_numbers: bool) -> list[Picture]:
    """Write words, or numbers."""
    return [draw_words(rng, is_number=are_numbers) for _ in range(count)]


def draw_backpacks(rng: Rng, count: int) -> list[Picture]:
    """Draw one to four things, among them one backpack or more in three of four pictures."""
    pictures: list[Picture] = []
    while len(pictures) < count:
        (picture,) = _on_every_surface(rng, _BACKPACKS, 1, start=len(pictures))
        has_any = any(thing.kind == "backpack" for thing in picture.things)
        if has_any == (len(pictures) % 4 != 3):
            pictures.append(picture)
    return pictures


def find_truth(picture: Picture) -> list[LabelledBox]:
    """Return the true boxes, in 0-1000 of the whole image, unrounded."""
    return [true_box(picture, thing) for thing in picture.things]


def true_box(picture: Picture, thing: Thing) -> LabelledBox:
    """Return the true box of one thing, in 0-1000 of the whole image, unrounded."""
    height, width = picture.image.shape[:2]
    x1, y1, x2, y2 = thing.box_xyxy_px
    box = (1000 * y1 / height, 1000 * x1 / width, 1000 * y2 / height, 1000 * x2 / width)
    return LabelledBox(label=thing.label, box_yxyx_1000=box)


def list_labels(picture: Picture) -> list[str]:
    """Return what is in a picture, each once, in alphabetical order."""
    return sorted({thing.label for thing in picture.things})


def _on_every_surface(rng: Rng, condition: Condition, count: int, *, start: int = 0) -> list[Picture]:
    names = list(SURFACES)
    return [
        picture
        for index in range(count)
        for picture in draw_pictures(rng, replace(condition, surface=names[(start + index) % len(names)]), 1)
    ]
