"""Choose things for a picture, and find places for them."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from gemma4_block.demo.training.drawing import goods, living, places
from gemma4_block.demo.training.drawing.inks import Rgb, distance, mix_any, mix_ink, shade, stands_out
from gemma4_block.demo.training.drawing.outlines import Drawing, Role
from gemma4_block.demo.training.drawing.painting import Look, Pose, box_around, cover, paint
from gemma4_block.demo.training.drawing.picture import (
    COLORS,
    EVERYDAY_KINDS,
    NOBODY,
    SHAPE_KINDS,
    Box,
    Points,
    RgbImage,
    Thing,
)
from gemma4_block.demo.training.drawing.shapes import draw_shape

Rng = np.random.Generator

WAYS = goods.WAYS | living.WAYS | places.WAYS
"""The ways to draw each everyday thing."""
_TRIES = 50
# Least sizes over the square root of the area: a shape, something hollow, a pictogram.
_LEAST_SHAPE = 0.05
_LEAST_HOLLOW = 0.11
_LEAST_PICTOGRAM = 0.1
# How much of what is below may be hidden by one that lies above it.
_MOST_HIDDEN = 0.35
# As `inks.distance` measures it; a pictogram has thin lines.
_LEAST_CONTRAST = 150.0
_LEAST_PICTOGRAM_CONTRAST = 200.0


class Placer:
    """Places things on a canvas one after another, and keeps the truth about them."""

    def __init__(self, rng: Rng, canvas: RgbImage, difficulty: float, *, taken: Sequence[Box] = ()) -> None:
        self._rng = rng
        self._canvas = canvas
        self._difficulty = difficulty
        self._taken = list(taken)
        self._unit = float(np.sqrt(canvas.shape[0] * canvas.shape[1]))
        self.things: list[Thing] = []
        self.owners: npt.NDArray[np.int16] = np.full(canvas.shape[:2], NOBODY, dtype=np.int16)
        self._shape_share = float(rng.choice([1.0, 0.0, 0.5], p=[0.5, 0.28, 0.22]))
        self._repeat = float(rng.choice([0.1, 0.4, 0.75], p=[0.4, 0.4, 0.2]))
        self._may_overlap = rng.random() < 0.3 * difficulty

    def place(self, count: int) -> None:
        """Add up to so many things; fewer where no place is free."""
        rng = self._rng
        if not count:
            return
        low = 0.3 - 0.19 * self._difficulty
        if rng.random() < 0.2 * self._difficulty:
            low = _LEAST_SHAPE
        high = min(0.92, 1.1 / np.sqrt(count))
        common = np.exp(rng.uniform(np.log(low), np.log(high)))
        is_even = rng.random() < 0.5
        for _ in range(count):
            size = (
                common * rng.uniform(0.8, 1.25) if is_even else np.exp(rng.uniform(np.log(low), np.log(high)))
            )
            self._place_one(float(size))

    def _place_one(self, size: float) -> None:
        kind, color = self._choose()
        for attempt in range(_TRIES):
            smaller = size * 0.97**attempt
            if self._try(kind, color, smaller):
                return

    def _choose(self) -> tuple[str, str | None]:
        rng = self._rng
        if self.things and rng.random() < self._repeat:
            thing = self.things[int(rng.integers(len(self.things)))]
            return thing.kind, thing.color
        if rng.random() < self._shape_share:
            return (
                SHAPE_KINDS[int(rng.integers(len(SHAPE_KINDS)))],
                COLORS[int(rng.integers(len(COLORS)))],
            )
        # Backpacks are what the first example asks for.
        if rng.random() < 0.08:
            return "backpack", None
        return EVERYDAY_KINDS[int(rng.integers(len(EVERYDAY_KINDS)))], None

    def _try(self, kind: str, color: str | None, size: float) -> bool:
        rng = self._rng
        height, width = self._canvas.shape[:2]
        is_hollow = rng.random() < (0.15 if color is not None else 0.12) * self._difficulty
        least = _LEAST_PICTOGRAM if color is None else _LEAST_HOLLOW if is_hollow else _LEAST_SHAPE
        half = min(max(size, least) * self._unit, 0.96 * min(height, width)) / 2
        drawing = self._draw(kind, color)
        points = np.concatenate([part.points for part in drawing])
        half /= float(np.abs(points).max())
        turned = rng.random() < 0.5 * self._difficulty
        spread = np.pi if color is not None else 0.35
        stretch = rng.uniform(0.85, 1.15) if color is None else 1.0
        angle = rng.uniform(-spread, spread) if turned else 0.0
        mirrored = rng.random() < 0.5
        at_origin = Pose(x_px=0, y_px=0, half_width_px=half * stretch, half_height_px=half, angle=angle,
                         is_mirrored=mirrored)  # fmt: skip
        outlines = [at_origin.place(part.points) for part in drawing]
        stroke = max(1, round(2 * half * rng.uniform(0.06, 0.15))) if is_hollow else 0
        if not is_hollow and rng.random() < 0.2 * self._difficulty:
            stroke = max(1, round(2 * half * rng.uniform(0.02, 0.07)))
        if color is None:
            stroke = min(stroke, max(1, round(0.05 * half)))
        x1, y1, x2, y2 = box_around(outlines, stroke / 2)
        if x2 - x1 >= width - 2 or y2 - y1 >= height - 2:
            return False
        shift = np.array([rng.uniform(1 - x1, width - 1 - x2), rng.uniform(1 - y1, height - 1 - y2)])
        outlines = [part + shift for part in outlines]
        box = box_around(outlines, stroke / 2)
        if not self._is_free(box, outlines, color, kind):
            return False
        look = self._look(color, box, stroke, is_hollow=is_hollow)
        if look is None:
            return False
        paint(self._canvas, drawing, outlines, look)
        cover(self.owners, outlines, len(self.things))
        self.things.append(Thing(kind=kind, color=color, box_xyxy_px=box))
        return True

    def _draw(self, kind: str, color: str | None) -> Drawing:
        if color is not None:
            return draw_shape(self._rng, kind)
        ways = WAYS[kind]
        return ways[int(self._rng.integers(len(ways)))](self._rng)

    def _is_free(self, box: Box, outlines: Sequence[Points], color: str | None, kind: str) -> bool:
        gap = 0.012 * self._unit
        if any(_gap_px(box, other) < gap for other in self._taken):
            return False
        near = [index for index, thing in enumerate(self.things) if _gap_px(box, thing.box_xyxy_px) < gap]
        if not near:
            return True
        if not self._may_overlap:
            return False
        if any(
            self.things[index].color == color and (color or self.things[index].kind == kind) for index in near
        ):
            # Nobody could tell one from the other.
            return False
        below = self.owners.copy()
        cover(below, outlines, len(self.things))
        for index in near:
            area = float((self.owners == index).sum())
            x1, y1, x2, y2 = self.things[index].box_xyxy_px
            # What others hide already counts too, so that the last one does not hide the rest.
            if (
                area < 0.3 * (x2 - x1) * (y2 - y1)
                or float((below == index).sum()) < (1 - _MOST_HIDDEN) * area
            ):
                return False
        return True

    def _look(self, color: str | None, box: Box, stroke_px: int, *, is_hollow: bool) -> Look | None:
        """Choose inks that stand out from what is below; None where none was found."""
        x1, y1, x2, y2 = (max(0, round(edge)) for edge in box)
        below = self._canvas[y1 : y2 + 1, x1 : x2 + 1].reshape(-1, 3)
        mean = below.mean(axis=0)
        for _ in range(12):
            body = mix_any(self._rng) if color is None else mix_ink(self._rng, color)
            if stands_out(
                body, mean, least=_LEAST_CONTRAST if color is not None else _LEAST_PICTOGRAM_CONTRAST
            ):
                return self._dress(color, body, mean, stroke_px, is_hollow=is_hollow)
        return None

    def _dress(
        self, color: str | None, body: Rgb, mean: npt.NDArray[np.float64], stroke_px: int, *, is_hollow: bool
    ) -> Look:
        rng = self._rng
        fade = float(rng.uniform(0.15, 0.4)) if rng.random() < 0.15 * self._difficulty else 0.0
        line = body if is_hollow else self._line_ink(body)
        inks: dict[Role, Rgb]
        if color is not None:
            inks = {"body": body, "second": body, "dark": body, "light": body}
        elif rng.random() < 0.2:
            paper = tuple(int(part) for part in mean)
            inks = {"body": body, "second": body, "dark": body, "light": (paper[0], paper[1], paper[2])}
        else:
            second = mix_any(rng) if rng.random() < 0.4 else shade(body, float(rng.uniform(0.55, 0.8)))
            light = shade(body, float(rng.uniform(1.5, 1.95)))
            if distance(light, np.array(body, dtype=np.float64)) < 120:
                light = shade(body, 0.35)
            dark = shade(body, float(rng.uniform(0.1, 0.4)))
            inks = {"body": body, "second": second, "dark": dark, "light": light}
        return Look(inks=inks, stroke_px=stroke_px, stroke=line, is_hollow=is_hollow, fade=fade)

    def _line_ink(self, body: Rgb) -> Rgb:
        choice = self._rng.random()
        if choice < 0.5:
            return (15, 15, 15)
        if choice < 0.7:
            return (250, 250, 250)
        return shade(body, 0.5) if choice < 0.85 else mix_any(self._rng)


def _gap_px(a: Box, b: Box) -> float:
    """Distance between two boxes along the axis that separates them; negative where they overlap."""
    return max(a[0] - b[2], b[0] - a[2], a[1] - b[3], b[1] - a[3])
