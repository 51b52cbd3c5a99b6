"""Find the thing that stands out: the largest, the leftmost and so on."""

from collections.abc import Mapping
from types import MappingProxyType

import numpy as np

from gemma4_block.demo.training.asking.turn import Turn, pick, think
from gemma4_block.demo.training.drawing import Picture, Thing

OUTSTANDING: Mapping[str, str] = MappingProxyType(
    {
        "largest": "the largest object",
        "smallest": "the smallest object",
        "leftmost": "the object furthest left",
        "rightmost": "the object furthest right",
        "topmost": "the object at the top",
        "lowest": "the object at the bottom",
    }
)
"""What can be asked for, and how it is said."""


def find_outstanding(picture: Picture, which: str) -> Thing | None:
    """Return the thing; None where another one comes close, so that nobody could say."""
    if not picture.things:
        return None
    height, width = picture.image.shape[:2]

    def measure(thing: Thing) -> float:
        x1, y1, x2, y2 = thing.box_xyxy_px
        size = float(np.log((x2 - x1) * (y2 - y1)))
        x, y = (x1 + x2) / 2 / width * 5, (y1 + y2) / 2 / height * 5
        measures: dict[str, float] = {
            "largest": -size,
            "smallest": size,
            "leftmost": x,
            "rightmost": -x,
            "topmost": y,
            "lowest": -y,
        }
        return measures[which]

    first, *others = sorted(picture.things, key=measure)
    if others and measure(others[0]) - measure(first) < 0.4:
        return None
    return first


def outstanding_turn(rng: np.random.Generator, picture: Picture) -> Turn | None:
    """Ask for one of them; None where none stands out."""
    which = pick(rng, tuple(OUTSTANDING))
    thing = find_outstanding(picture, which)
    if thing is None:
        return None
    said = OUTSTANDING[which]
    question = pick(rng, (f"What is {said}?", f"Which is {said}?", f"Name {said}."))
    return Turn(kind="outstanding", question=question, answer=thing.label, thought=think(picture, [thing]))
