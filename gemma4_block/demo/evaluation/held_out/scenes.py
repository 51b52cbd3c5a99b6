"""Put held-out pictures together: one thing about each is made hard, all else is easy."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

import cv2
import numpy as np
import numpy.typing as npt

from gemma4_block.demo.evaluation.held_out.fields import Field, disc, hull, ray_star, slab
from gemma4_block.demo.evaluation.held_out.surfaces import SURFACES, Surface
from gemma4_block.demo.evaluation.held_out.things import HELD_OUT_WAYS
from gemma4_block.demo.scenes import order_boxes
from gemma4_block.demo.training.drawing import COLORS, EVERYDAY_KINDS, SHAPE_KINDS, Picture, Thing

Rng = np.random.Generator
Box = tuple[float, float, float, float]

_INKS = {
    "blue": (40, 80, 220), "green": (40, 150, 70), "orange": (250, 140, 20), "purple": (130, 50, 170),
    "red": (215, 35, 40), "yellow": (240, 215, 40),
}  # fmt: skip
_TRIES = 200


@dataclass(frozen=True, kw_only=True, slots=True)
class Condition:
    """What kind of pictures to draw.

    Attributes:
        surface: One of `SURFACES`.
        count: Least and most things.
        size: Least and largest size over the square root of the area.
        ratio: Width over height.
        unit_px: Square root of the area in pixels.
        everyday: Share of everyday things among all.
        turn: Largest angle in degrees, to either side.
        border: Width of a line around things, over their size; 0 for none.
        is_hollow: Whether things are lines only, in their own ink.
        overlap: Largest share of a box that another one covers.
        jitter: Standard deviation of inks in grey levels.
        repeat: How often a thing is of the same kind as one before.

    """

    surface: str = "white"
    count: tuple[int, int] = (1, 5)
    size: tuple[float, float] = (0.15, 0.32)
    ratio: float = 1.0
    unit_px: float = 400.0
    everyday: float = 0.0
    turn: float = 0.0
    border: float = 0.0
    is_hollow: bool = False
    overlap: float = 0.0
    jitter: float = 8.0
    repeat: float = 0.3


_EASY = Condition()
CONDITIONS: Mapping[str, Condition] = MappingProxyType(
    {
        **{f"{surface} background": replace(_EASY, surface=surface) for surface in SURFACES},
        "outlines": replace(_EASY, is_hollow=True, border=0.1),
        "borders": replace(_EASY, border=0.05),
        "overlaps": replace(_EASY, overlap=0.3, count=(2, 5)),
        "rotation": replace(_EASY, turn=180.0),
        "colour jitter": replace(_EASY, jitter=20.0),
        "six to eight": replace(_EASY, count=(6, 8), size=(0.1, 0.22)),
        "three or more alike": replace(_EASY, count=(3, 6), repeat=0.85),
        "small": replace(_EASY, size=(0.05, 0.09)),
        "large": replace(_EASY, count=(1, 1), size=(0.7, 0.9)),
        "16:9": replace(_EASY, ratio=16 / 9),
        "9:16": replace(_EASY, ratio=9 / 16),
        "4:1": replace(_EASY, ratio=4.0, size=(0.15, 0.3)),
        "1:4": replace(_EASY, ratio=0.25, size=(0.15, 0.3)),
        "everyday things": replace(_EASY, everyday=1.0, size=(0.22, 0.4), count=(1, 4)),
        "shapes and things": replace(_EASY, everyday=0.5, size=(0.2, 0.35), count=(1, 4)),
    }
)
"""The kinds of wide pictures, one a row of the evaluation."""


def draw_held_out(rng: Rng, condition: Condition) -> Picture:
    """Draw a picture of a kind.

    Args:
        rng: Source of every choice.
        condition: Its kind.

    Returns:
        The picture, and the truth about it as the training's generator says it.

    """
    width = round(condition.unit_px * np.sqrt(condition.ratio))
    height = round(condition.unit_px / np.sqrt(condition.ratio))
    surface = SURFACES[condition.surface](rng, width, height)
    owners = np.full((height, width), -1, dtype=np.int16)
    things: list[Thing] = []
    for _ in range(int(rng.integers(condition.count[0], condition.count[1] + 1))):
        thing = _add(rng, condition, surface, owners, things)
        if thing is not None:
            things.append(thing)
    order = order_boxes([thing.box_xyxy_px for thing in things], height)
    places = np.array([*np.argsort(order), -1], dtype=np.int16)
    return Picture(
        image=np.clip(surface, 0, 255).astype(np.uint8),
        things=tuple(things[index] for index in order),
        owners=places[owners],
    )


def _choose(rng: Rng, condition: Condition, things: list[Thing]) -> tuple[str, str | None]:
    if things and rng.random() < condition.repeat:
        like = things[int(rng.integers(len(things)))]
        return like.kind, like.color
    if rng.random() < condition.everyday:
        return EVERYDAY_KINDS[int(rng.integers(len(EVERYDAY_KINDS)))], None
    return SHAPE_KINDS[int(rng.integers(len(SHAPE_KINDS)))], COLORS[int(rng.integers(len(COLORS)))]


def _shape_field(kind: str) -> Field:
    return {
        "circle": disc(0, 0, 0.95),
        "square": slab(0, 0, 0.78, 0.78),
        "star": ray_star(5, 0.45),
        "triangle": hull((0, -0.95), (0.92, 0.7), (-0.92, 0.7)),
    }[kind]


def _add(
    rng: Rng, condition: Condition, surface: Surface, owners: npt.NDArray[np.int16], things: list[Thing]
) -> Thing | None:
    """Draw one more thing where there is a place and it can be seen; None where there is none."""
    height, width = owners.shape
    unit = float(np.sqrt(height * width))
    kind, color = _choose(rng, condition, things)
    layers = [(_shape_field(kind), 1.0)] if color is not None else HELD_OUT_WAYS[kind](rng)
    for _ in range(_TRIES):
        half = rng.uniform(*condition.size) * unit / 2
        half = min(half, 0.46 * min(height, width))
        angle = np.radians(rng.uniform(-1, 1) * condition.turn * (1.0 if color is not None else 0.08))
        x0, y0 = rng.uniform(half, width - half), rng.uniform(half, height - half)
        # Strokes reach over the outline, and stars over the unit square when they are turned.
        reach = int(half * 1.25) + 3
        left, top = max(0, int(x0) - reach), max(0, int(y0) - reach)
        right, bottom = min(width, int(x0) + reach), min(height, int(y0) + reach)
        ys, xs = np.mgrid[top:bottom, left:right].astype(np.float64)
        dx, dy = (xs + 0.5 - x0) / half, (ys + 0.5 - y0) / half
        x, y = np.cos(angle) * dx + np.sin(angle) * dy, np.cos(angle) * dy - np.sin(angle) * dx
        distances = [(field(x, y) * half, tone) for field, tone in layers]
        line = max(1.0, condition.border * 2 * half) if condition.border else 0.0
        whole = np.minimum.reduce([distance for distance, _ in distances]) - line / 2 < 0
        rows, columns = np.nonzero(whole.any(axis=1))[0], np.nonzero(whole.any(axis=0))[0]
        box = (float(left + columns[0]), float(top + rows[0]), float(left + columns[-1] + 1),
               float(top + rows[-1] + 1))  # fmt: skip
        region = surface[top:bottom, left:right]
        ink = _draw_ink(rng, condition, color)
        if not _has_place(condition, box, unit, things, color) or not _is_seen(
            ink, region[whole].mean(axis=0)
        ):
            continue
        _ink_layers(region, distances, ink, line, is_hollow=condition.is_hollow)
        owners[top:bottom, left:right][whole] = len(things)
        return Thing(kind=kind, color=color, box_xyxy_px=box)
    return None


def _draw_ink(rng: Rng, condition: Condition, color: str | None) -> npt.NDArray[np.float64]:
    ink = np.array(_INKS[color]) if color is not None else rng.uniform(20, 235, size=3)
    return np.clip(ink + rng.normal(0, condition.jitter, size=3), 0, 255)


def _is_seen(ink: npt.NDArray[np.float64], below: npt.NDArray[np.float64]) -> bool:
    pair = np.array([[ink, below]], dtype=np.float32) / 255
    lab = cv2.cvtColor(pair, cv2.COLOR_RGB2LAB)[0]
    return bool(np.linalg.norm(lab[0] - lab[1]) > 40)


def _has_place(condition: Condition, box: Box, unit: float, things: list[Thing], color: str | None) -> bool:
    for thing in things:
        other = thing.box_xyxy_px
        gap = max(box[0] - other[2], other[0] - box[2], box[1] - other[3], other[1] - box[3])
        if gap >= 0.02 * unit:
            continue
        across = min(box[2], other[2]) - max(box[0], other[0])
        along = min(box[3], other[3]) - max(box[1], other[1])
        smaller = min((one[2] - one[0]) * (one[3] - one[1]) for one in (box, other))
        if max(0.0, across) * max(0.0, along) > condition.overlap * smaller or condition.overlap == 0:
            return False
        if color == thing.color:
            return False
    return True


def _ink_layers(
    region: Surface,
    distances: list[tuple[npt.NDArray[np.float64], float]],
    ink: npt.NDArray[np.float64],
    line_px: float,
    *,
    is_hollow: bool,
) -> None:
    """Blend the parts into the surface, in their order, with soft edges of a pixel."""
    for distance, tone in distances:
        toned = ink * tone if tone <= 1 else ink + (255 - ink) * (tone - 1)
        if not is_hollow:
            cover = np.clip(0.5 - distance, 0, 1)[..., None]
            region[:] = region * (1 - cover) + toned * cover
        if line_px:
            cover = np.clip(0.5 - (np.abs(distance) - line_px / 2), 0, 1)[..., None]
            region[:] = region * (1 - cover) + (ink if is_hollow else np.array([25.0, 25.0, 25.0])) * cover
