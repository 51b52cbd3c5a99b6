"""Choose the questions about a picture."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType

import numpy as np

from gemma4_block.demo.training.asking import classes, counting, describing, outstanding, structures
from gemma4_block.demo.training.asking.turn import Kind, Language, Turn
from gemma4_block.demo.training.drawing import Picture
from gemma4_block.tasks import name_images, text

# What is asked about several pictures together.
_ODDS_OF_SEVERAL: Mapping[Kind, float] = MappingProxyType({"describe": 1.0, "count": 1.5, "present": 1.5})


def ask(
    rng: np.random.Generator,
    pictures: Sequence[Picture],
    language: Language = "english",
    *,
    count: int = 5,
    as_sentence: bool = False,
) -> list[Turn]:
    """Choose questions about pictures in varied wordings, with their answers.

    Args:
        rng: Source of every choice.
        pictures: One, or several that are asked about as if they were one; these have things only.
        language: Language of descriptions and of the names of colours and kinds.
        count: About how many questions.
        as_sentence: Whether the system prompt wants a sentence after a number.

    Returns:
        The turns, each to be asked on its own.

    """
    picture = pictures[0] if len(pictures) == 1 else _join(pictures)
    if as_sentence:
        return [counting.count_turn(rng, picture, as_sentence=True) for _ in range(count - 1)]
    odds = _weigh(picture) if len(pictures) == 1 else _ODDS_OF_SEVERAL
    total = sum(odds.values())
    kinds = list(odds)
    drawn = rng.choice(len(kinds), size=count, p=[weight / total for weight in odds.values()])
    turns = [turn for place in drawn if (turn := _ASKERS[kinds[place]](rng, picture, language)) is not None]
    turns = [_maybe_as_question(rng, turn) for turn in turns]
    return turns if len(pictures) == 1 else [_maybe_name_images(rng, turn, len(pictures)) for turn in turns]


def _join(pictures: Sequence[Picture]) -> Picture:
    """Return the first of them with the things of all, one picture after another."""
    assert all(picture.writing is None for picture in pictures)
    return replace(pictures[0], things=tuple(thing for picture in pictures for thing in picture.things))


def _weigh(picture: Picture) -> dict[Kind, float]:
    """Return how often each kind of question is asked about this picture."""
    odds: dict[Kind, float] = {
        "describe": 1.0,
        "stray": 0.7,
        "count": 1.4,
        "present": 0.8,
        "structured": 1.3,
        "per class": 0.9,
        "detect": 5.0,
        "read": 0.08,
    }
    if picture.things:
        odds["classify"] = 2.2 if len(picture.things) == 1 else 1.1
        odds["outstanding"] = 0.1 if len(picture.things) == 1 else 0.35
        odds["inside"] = 0.1 if len(picture.things) == 1 else 2.5
    if len(picture.things) == 1:
        odds["kind"] = 0.5
        if picture.things[0].color is not None:
            odds["color"] = 0.5
    if picture.writing is not None:
        odds["read"] = 5.0 if not picture.things else 3.0
        if not picture.things:
            odds |= {"detect": 0.3, "per class": 0.2, "count": 0.4, "present": 0.2}
    return odds


_Asker = Callable[[np.random.Generator, Picture, Language], Turn | None]

_ASKERS: Mapping[Kind, _Asker] = MappingProxyType(
    {
        "describe": describing.describe_turn,
        "stray": describing.stray_turn,
        "count": lambda rng, picture, _: counting.count_turn(rng, picture, as_sentence=False),
        "present": lambda rng, picture, _: counting.present_turn(rng, picture),
        "structured": lambda rng, picture, _: structures.structured_turn(rng, picture),
        "per class": lambda rng, picture, _: classes.per_class_turn(rng, picture),
        "detect": lambda rng, picture, _: classes.detect_turn(rng, picture),
        "classify": lambda rng, picture, _: classes.classify_turn(rng, picture),
        "outstanding": lambda rng, picture, _: outstanding.outstanding_turn(rng, picture),
        "color": describing.color_turn,
        "kind": describing.kind_turn,
        "inside": lambda rng, picture, _: classes.inside_turn(rng, picture),
        "read": lambda rng, picture, _: describing.read_turn(rng, picture),
    }
)


def _maybe_as_question(rng: np.random.Generator, turn: Turn) -> Turn:
    """Sometimes word a question of the user as the visual-question-answering task does."""
    if "JSON" in turn.question or rng.random() > 0.2:
        return turn
    return replace(turn, question=text.short_answer(turn.question))


def _maybe_name_images(rng: np.random.Generator, turn: Turn, count: int) -> Turn:
    """Mostly put the names of the images before a question about several, as the block does."""
    if rng.random() > 0.7:
        return turn
    return replace(turn, question=name_images(turn.question, count))
