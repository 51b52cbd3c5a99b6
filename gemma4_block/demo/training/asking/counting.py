"""Ask for counts and for whether something is there."""

from collections.abc import Callable

import numpy as np

from gemma4_block.demo import phrases
from gemma4_block.demo.scenes import COLORS, SHAPE_KINDS
from gemma4_block.demo.training.asking import names
from gemma4_block.demo.training.asking.turn import Turn, pick, think
from gemma4_block.demo.training.drawing import EVERYDAY_KINDS, Picture, Thing

SENTENCE_SYSTEM_PROMPTS = (
    "Answer with a number first, then one short sentence.",
    "Answer with a number first, then one short sentence.",
    "Say the number first, then one short sentence.",
    "Start with a number, then write a short sentence.",
)
"""With one of these, a count is followed by a sentence."""
_COUNT = (
    *phrases.COUNT,
    "How many {} are clearly visible?", "How many {} are visible?", "How many {} can you see?",
    "How many {} are shown?", "Count all {}.",
)  # fmt: skip

Noun = tuple[str, Callable[[Thing], bool]]
"""One of something, as in `red circle`, and what it fits."""


def draw_noun(rng: np.random.Generator, picture: Picture) -> Noun:
    """Return what may be counted: often, but not always, something that is there."""
    choice = rng.random()
    if choice < 0.1:
        return "shape", lambda thing: thing.is_shape
    if choice < 0.2:
        return "object", lambda _: True
    if picture.things and rng.random() < 0.68:
        seen = picture.things[int(rng.integers(len(picture.things)))]
        return _name(rng, seen.kind, seen.color)
    if choice < 0.3:
        return pick(rng, names.FOREIGN), lambda _: False
    if choice < 0.6:
        return _name(rng, pick(rng, EVERYDAY_KINDS), None)
    return _name(rng, pick(rng, SHAPE_KINDS), pick(rng, COLORS))


def _name(rng: np.random.Generator, kind: str, color: str | None) -> Noun:
    """Return what is counted where one such thing is in mind: by its label, its kind or its colour."""
    choice = rng.random()
    if color is None or choice < 0.3:
        return kind, lambda thing: thing.kind == kind
    if choice < 0.55:
        return f"{color} shape", lambda thing: thing.color == color
    return f"{color} {kind}", lambda thing: thing.color == color and thing.kind == kind


def count_turn(rng: np.random.Generator, picture: Picture, *, as_sentence: bool) -> Turn:
    """Ask for a count, answered with a number alone or with a sentence after it."""
    noun, fits = draw_noun(rng, picture)
    counted = [thing for thing in picture.things if fits(thing)]
    several = "people" if noun == "person" and rng.random() < 0.3 else names.plural(noun)
    question = pick(rng, _COUNT).format(several)
    answer = write_sentence(len(counted), noun) if as_sentence else str(len(counted))
    return Turn(
        kind="sentence" if as_sentence else "count",
        question=question,
        answer=answer,
        thought=think(picture, counted),
    )


def write_sentence(count: int, noun: str) -> str:
    """Return a number and the same as a sentence."""
    if count == 1:
        return f"1. There is 1 {noun}."
    return f"{count}. There are {count or 'no'} {names.plural(noun)}."


def present_turn(rng: np.random.Generator, picture: Picture) -> Turn:
    """Ask whether something is there."""
    noun, fits = draw_noun(rng, picture)
    found = [thing for thing in picture.things if fits(thing)]
    question = pick(rng, phrases.PRESENT).replace("a {}", "{}").format(names.with_article(noun))
    return Turn(
        kind="present", question=question, answer="yes" if found else "no", thought=think(picture, found)
    )
