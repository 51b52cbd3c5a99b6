"""One question about a picture, and how the answers to all of them are put together."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from gemma4_block.demo.training.drawing import Picture, Thing

Language = Literal["english", "french"]
Kind = Literal[
    "describe", "stray", "count", "sentence", "present", "detect", "per class", "classify", "structured",
    "read", "color", "kind", "outstanding", "inside",
]  # fmt: skip
"""What is asked for; by it the progress of training is shown."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Turn:
    """One question about a picture.

    Attributes:
        kind: What is asked for.
        question: The user's text.
        answer: The whole answer.
        thought: What is written in the thought channel where thinking is on.

    """

    kind: Kind
    question: str
    answer: str
    thought: str


def pick(rng: np.random.Generator, choices: Sequence[str]) -> str:
    """Return one of the choices."""
    return choices[int(rng.integers(len(choices)))]


def think(picture: Picture, things: Sequence[Thing] | None = None) -> str:
    """Return the thought about some things, or about all and the text."""
    if things is not None:
        return ", ".join(thing.label for thing in things) if things else "nothing"
    said = [thing.label for thing in picture.things]
    if picture.writing is not None:
        said.append(picture.writing.text)
    return ", ".join(said) if said else "nothing"
