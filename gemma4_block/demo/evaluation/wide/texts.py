"""Ask free questions about wide pictures: counts, descriptions, thoughts and French."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from gemma4_block.contract import Engine, ImageSeqLength, Prompt
from gemma4_block.demo import phrases
from gemma4_block.demo.evaluation.held_out import CONDITIONS
from gemma4_block.demo.evaluation.pairs import ask_pairs
from gemma4_block.demo.evaluation.scoring import Pair, Row, score_exact
from gemma4_block.demo.evaluation.wide.pictures import draw_mixed, draw_pictures
from gemma4_block.demo.training.asking import describe, plural
from gemma4_block.demo.training.drawing import Picture

_SHORT_TOKENS, _SENTENCE_TOKENS = 12, 96
_DESCRIBE = "Describe the image."
# Thinking must cost no more than these points.
_THINKING_LOSS = 0.05


@dataclass(frozen=True, kw_only=True, slots=True)
class Case:
    """A question about a picture, and its true answer."""

    picture: Picture
    question: str
    expected: str
    system: str | None = None


def judge_conditions(engine: Engine, budget: ImageSeqLength, count: int, seed: int) -> list[Row]:
    """Judge counts and descriptions on each kind of wide picture.

    Args:
        engine: Asked in batches.
        budget: Of each image.
        count: Pictures of each kind.
        seed: Root of all draws.

    Returns:
        Two rows for each kind.

    """
    rows = []
    for index, (name, condition) in enumerate(CONDITIONS.items()):
        rng = np.random.default_rng((seed, index))
        pictures = draw_pictures(rng, condition, count)
        everything = "objects" if condition.everyday else "shapes"
        counts = [
            case for picture in pictures for case in (count_all(picture, everything), count_one(rng, picture))
        ]
        descriptions = [describe_case(picture) for picture in pictures]
        rows += [
            score_exact(f"count, {name}", ask(engine, budget, counts, _SHORT_TOKENS), 0.85),
            score_exact(f"describe, {name}", ask(engine, budget, descriptions, _SENTENCE_TOKENS), 0.60),
        ]
    return rows


def judge_manners(engine: Engine, budget: ImageSeqLength, count: int, seed: int) -> list[Row]:
    """Judge descriptions while thinking, and in French, on shapes and things on all backgrounds."""
    pictures = draw_mixed(np.random.default_rng(seed), count)
    plain_cases = [describe_case(picture) for picture in pictures]
    plain = score_exact("describe, all backgrounds", ask(engine, budget, plain_cases, _SENTENCE_TOKENS), 0.60)
    thought = ask(engine, budget, plain_cases, 2 * _SENTENCE_TOKENS, thinks=True)
    french = [
        Case(
            picture=picture,
            question=_DESCRIBE,
            expected=describe(picture, "french"),
            system=phrases.FRENCH_SYSTEM_PROMPTS[0],
        )
        for picture in pictures
    ]
    return [
        plain,
        score_exact(
            "describe while thinking, all backgrounds", thought, max(0.0, plain.value - _THINKING_LOSS)
        ),
        score_exact("describe in French, all backgrounds", ask(engine, budget, french, _SENTENCE_TOKENS)),
    ]


def describe_case(picture: Picture) -> Case:
    """Ask for a description."""
    return Case(picture=picture, question=_DESCRIBE, expected=describe(picture))


def count_all(picture: Picture, everything: str) -> Case:
    """Ask for the number of all things, which are `shapes` or `objects`."""
    return Case(
        picture=picture, question=f"How many {everything} are there?", expected=str(len(picture.things))
    )


def count_one(rng: np.random.Generator, picture: Picture) -> Case:
    """Ask for the number of those that are like one of the picture."""
    thing = picture.things[int(rng.integers(len(picture.things)))]
    number = sum(other.label == thing.label for other in picture.things)
    return Case(picture=picture, question=f"How many {plural(thing.label)} are there?", expected=str(number))


def ask(
    engine: Engine,
    budget: ImageSeqLength,
    cases: Sequence[Case],
    max_new_tokens: int,
    *,
    thinks: bool = False,
) -> list[Pair]:
    """Return the expected and the given answer of every case."""
    prompts = [
        Prompt(text=case.question, images=(case.picture.image,), system=case.system, image_seq_length=budget)
        for case in cases
    ]
    expected = [case.expected for case in cases]
    return ask_pairs(engine, prompts, expected, max_new_tokens=max_new_tokens, thinks=thinks)
