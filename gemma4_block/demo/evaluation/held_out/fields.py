"""Draw by distance: every outline is a function that says how far a point is outside of it.

The training draws polygons; here each pixel is asked instead, so that nothing is shared but the names.
Coordinates are those of a unit square, x right and y down from -1 to 1.
"""

from collections.abc import Callable
from typing import cast

import numpy as np
import numpy.typing as npt

Grid = npt.NDArray[np.float64]
Field = Callable[[Grid, Grid], Grid]
"""Takes x and y, and returns the distance to an outline, negative inside."""


def disc(x0: float, y0: float, radius: float, *, flatness: float = 1.0) -> Field:
    """Return a disc, or an ellipse whose height is `flatness` of its width."""
    return lambda x, y: (np.hypot(x - x0, (y - y0) / flatness) - radius) * min(1.0, flatness)


def slab(x0: float, y0: float, half_width: float, half_height: float, *, soft: float = 0.0) -> Field:
    """Return an upright rectangle around a middle, with corners of radius `soft`."""

    def distance(x: Grid, y: Grid) -> Grid:
        dx, dy = np.abs(x - x0) - half_width + soft, np.abs(y - y0) - half_height + soft
        outside = np.hypot(np.maximum(dx, 0), np.maximum(dy, 0))
        return cast("Grid", outside + np.minimum(np.maximum(dx, dy), 0) - soft)

    return distance


def rod(x1: float, y1: float, x2: float, y2: float, thickness: float) -> Field:
    """Return a stroke with round ends."""

    def distance(x: Grid, y: Grid) -> Grid:
        length = max(1e-9, (x2 - x1) ** 2 + (y2 - y1) ** 2)
        along = np.clip(((x - x1) * (x2 - x1) + (y - y1) * (y2 - y1)) / length, 0, 1)
        return np.hypot(x - x1 - along * (x2 - x1), y - y1 - along * (y2 - y1)) - thickness / 2

    return distance


def hull(*corners: tuple[float, float]) -> Field:
    """Return a convex polygon, its corners clockwise as seen with y down."""

    def distance(x: Grid, y: Grid) -> Grid:
        sides = []
        for (x1, y1), (x2, y2) in zip(corners, (*corners[1:], corners[0]), strict=True):
            length = max(1e-9, float(np.hypot(x2 - x1, y2 - y1)))
            sides.append(((x - x1) * (y2 - y1) - (y - y1) * (x2 - x1)) / length)
        return cast("Grid", np.maximum.reduce(sides))

    return distance


def ray_star(tips: int, inner: float) -> Field:
    """Return a star with a tip up, whose dents reach down to `inner` of its radius."""

    def distance(x: Grid, y: Grid) -> Grid:
        step = np.pi / tips
        angle = np.abs((np.arctan2(x, -y) + step) % (2 * step) - step)
        radius = np.hypot(x, y)
        px, py = radius * np.cos(angle), radius * np.sin(angle)
        ex, ey = inner * np.cos(step) - 1, inner * np.sin(step)
        return cast("Grid", ((px - 1) * ey - py * ex) / -np.hypot(ex, ey) * -1)

    return distance


def join(*fields: Field) -> Field:
    """Return all of them together."""
    return lambda x, y: cast("Grid", np.minimum.reduce([field(x, y) for field in fields]))


def cut(whole: Field, *holes: Field) -> Field:
    """Return one without the others."""
    return lambda x, y: cast("Grid", np.maximum.reduce([whole(x, y), *(-hole(x, y) for hole in holes)]))


def ring(x0: float, y0: float, radius: float, thickness: float, *, flatness: float = 1.0) -> Field:
    """Return the rim of a disc."""
    inner = disc(x0, y0, radius, flatness=flatness)
    return lambda x, y: np.abs(inner(x, y)) - thickness / 2
