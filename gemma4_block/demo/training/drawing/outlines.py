"""Outlines in a unit square, x right and y down from -1 to 1, which all drawings are put together from."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from gemma4_block.demo.training.drawing.picture import Points

Role = Literal["body", "second", "dark", "light"]
"""Which of a drawing's inks fills a part."""


@dataclass(frozen=True, slots=True)
class Part:
    """A closed outline `(N, 2)`, and the ink that fills it."""

    points: Points
    role: Role = "body"


Drawing = Sequence[Part]
"""Parts in the order in which they are painted."""


def polygon(*corners: tuple[float, float], role: Role = "body") -> Part:
    """Return a polygon through the corners."""
    return Part(np.array(corners, dtype=np.float64), role)


def ellipse(
    x: float, y: float, rx: float, ry: float, role: Role = "body", *, start: float = 0.0, end: float = 360.0
) -> Part:
    """Return an ellipse, or the segment of one between two angles in degrees, clockwise from the right."""
    angles = np.radians(np.linspace(start, end, 33))
    return Part(np.stack([x + rx * np.cos(angles), y + ry * np.sin(angles)], axis=1), role)


def box(x1: float, y1: float, x2: float, y2: float, role: Role = "body", *, radius: float = 0.0) -> Part:
    """Return an upright rectangle with rounded corners."""
    if radius <= 0:
        return polygon((x1, y1), (x2, y1), (x2, y2), (x1, y2), role=role)
    radius = min(radius, (x2 - x1) / 2, (y2 - y1) / 2)
    corners = [
        ellipse(x2 - radius, y2 - radius, radius, radius, start=0, end=90),
        ellipse(x1 + radius, y2 - radius, radius, radius, start=90, end=180),
        ellipse(x1 + radius, y1 + radius, radius, radius, start=180, end=270),
        ellipse(x2 - radius, y1 + radius, radius, radius, start=270, end=360),
    ]
    return Part(np.concatenate([corner.points[::4] for corner in corners]), role)


def line(  # noqa: PLR0917
    x1: float, y1: float, x2: float, y2: float, width: float, role: Role = "body"
) -> Part:
    """Return a straight stroke as the rectangle that it covers."""
    along = np.array([x2 - x1, y2 - y1])
    across = np.array([-along[1], along[0]]) / max(1e-6, float(np.hypot(*along))) * width / 2
    a, b = np.array([x1, y1]), np.array([x2, y2])
    return Part(np.stack([a + across, b + across, b - across, a - across]), role)


def arc(  # noqa: PLR0917
    x: float, y: float, rx: float, ry: float, width: float, role: Role = "body",
    *, start: float = 0.0, end: float = 360.0,
) -> Part:  # fmt: skip
    """Return a bent stroke along an ellipse, or all around it, between two angles in degrees."""
    angles = np.radians(np.linspace(start, end, 33))
    outer = np.stack([x + (rx + width / 2) * np.cos(angles), y + (ry + width / 2) * np.sin(angles)], axis=1)
    inner = np.stack([x + (rx - width / 2) * np.cos(angles), y + (ry - width / 2) * np.sin(angles)], axis=1)
    return Part(np.concatenate([outer, inner[::-1]]), role)
