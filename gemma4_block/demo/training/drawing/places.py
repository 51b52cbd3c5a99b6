"""Pictograms of what stands in a street or a room."""

import numpy as np

from gemma4_block.demo.training.drawing.outlines import Drawing, arc, box, ellipse, line, polygon

Rng = np.random.Generator


def car_side(rng: Rng) -> Drawing:
    """A car from the side with two wheels, a roof and windows."""
    roof, back, front = rng.uniform(-0.6, -0.45), rng.uniform(-0.6, -0.4), rng.uniform(0.25, 0.4)
    return [
        polygon((back - 0.2, -0.05), (back, roof), (front, roof), (front + 0.32, -0.05)),
        polygon(
            (back - 0.08, -0.08), (back + 0.04, roof + 0.1), (-0.1, roof + 0.1), (-0.1, -0.08), role="light"
        ),
        polygon(
            (0.0, -0.08), (0.0, roof + 0.1), (front - 0.04, roof + 0.1), (front + 0.2, -0.08), role="light"
        ),
        box(-1, -0.1, 1, 0.4, radius=0.14),
        ellipse(-0.55, 0.4, 0.24, 0.24, "dark"),
        ellipse(0.55, 0.4, 0.24, 0.24, "dark"),
        ellipse(-0.55, 0.4, 0.1, 0.1, "light"),
        ellipse(0.55, 0.4, 0.1, 0.1, "light"),
    ]


def car_front(rng: Rng) -> Drawing:
    """A car from the front with a windscreen, lamps and a grille."""
    roof = rng.uniform(0.5, 0.62)
    return [
        box(-0.85, 0.5, -0.55, 0.85, "dark", radius=0.06),
        box(0.55, 0.5, 0.85, 0.85, "dark", radius=0.06),
        polygon((-0.8, 0.0), (-roof, -0.7), (roof, -0.7), (0.8, 0.0)),
        polygon((-0.64, -0.05), (-roof + 0.1, -0.58), (roof - 0.1, -0.58), (0.64, -0.05), role="light"),
        box(-0.95, -0.05, 0.95, 0.6, radius=0.15),
        ellipse(-0.68, 0.18, 0.14, 0.11, "light"),
        ellipse(0.68, 0.18, 0.14, 0.11, "light"),
        box(-0.35, 0.15, 0.35, 0.35, "dark"),
    ]


def car_van(rng: Rng) -> Drawing:
    """A small van: a box with a sloping front."""
    nose = rng.uniform(0.6, 0.75)
    return [
        polygon((-1, -0.6), (nose - 0.25, -0.6), (nose, -0.05), (1, 0.05), (1, 0.45), (-1, 0.45)),
        polygon((0.1, -0.5), (nose - 0.3, -0.5), (nose - 0.12, -0.08), (0.1, -0.08), role="light"),
        *(box(x, -0.5, x + 0.4, -0.08, "light") for x in (-0.88, -0.4)),
        ellipse(-0.55, 0.45, 0.23, 0.23, "dark"),
        ellipse(0.55, 0.45, 0.23, 0.23, "dark"),
    ]


def bicycle_frame(rng: Rng) -> Drawing:
    """A bicycle from the side."""
    width, rim = rng.uniform(0.07, 0.1), rng.uniform(0.36, 0.42)
    y = 0.3
    return [
        arc(-0.57, y, rim, rim, 0.1, "dark"),
        arc(0.57, y, rim, rim, 0.1, "dark"),
        line(-0.57, y, -0.25, -0.3, width),
        line(-0.25, -0.3, 0.4, -0.35, width),
        line(-0.57, y, 0.0, y, width),
        line(0.0, y, 0.42, -0.35, width),
        line(0.0, y, -0.3, -0.45, width),
        line(0.57, y, 0.36, -0.6, width),
        line(-0.45, -0.48, -0.15, -0.48, 0.12, "second"),
        line(0.36, -0.6, 0.6, rng.uniform(-0.72, -0.58), 0.1, "second"),
    ]


def bicycle_spokes(rng: Rng) -> Drawing:
    """A bicycle whose wheels have spokes."""
    parts = list(bicycle_frame(rng))
    for x in (-0.57, 0.57):
        for angle in np.arange(0, np.pi, np.pi / 3) + rng.uniform(0, 1):
            dx, dy = 0.38 * np.cos(angle), 0.38 * np.sin(angle)
            parts.append(line(x - dx, 0.3 - dy, x + dx, 0.3 + dy, 0.03, "dark"))
    return parts


def house_gable(rng: Rng) -> Drawing:
    """A house with a pointed roof, a door and windows."""
    eaves = rng.uniform(-0.25, 0.0)
    parts = [
        box(-0.72, eaves, 0.72, 0.95),
        polygon((-0.98, eaves), (0, -0.95), (0.98, eaves), role="second"),
        box(-0.15, 0.4, 0.17, 0.95, "dark"),
        box(-0.55, 0.15, -0.28, 0.45, "light"),
        box(0.3, 0.15, 0.57, 0.45, "light"),
    ]
    if rng.random() < 0.5:
        parts.insert(0, box(0.4, -0.85, 0.6, -0.3, "dark"))
    return parts


def house_wide(rng: Rng) -> Drawing:
    """A wide house with a sloping roof and a row of windows."""
    inset = rng.uniform(0.25, 0.4)
    return [
        box(-0.92, -0.1, 0.92, 0.8),
        polygon((-1, -0.08), (-1 + inset, -0.7), (1 - inset, -0.7), (1, -0.08), role="second"),
        *(box(x, 0.12, x + 0.26, 0.42, "light") for x in (-0.75, -0.35, 0.5)),
        box(0.05, 0.2, 0.32, 0.8, "dark"),
    ]


def chair_side(rng: Rng) -> Drawing:
    """A chair from the side: a back, a seat and legs."""
    width, seat = rng.uniform(0.13, 0.2), rng.uniform(0.0, 0.2)
    return [
        line(-0.5, -1, -0.42, seat, width),
        line(-0.5, seat, 0.55, seat, width + 0.04),
        line(-0.42, seat, -0.52, 1, width * 0.8),
        line(0.45, seat, 0.55, 1, width * 0.8),
    ]


def chair_front(rng: Rng) -> Drawing:
    """A chair from the front: a back of slats or a cushion, a seat and legs."""
    parts = [
        box(-0.5, 0.1, -0.36, 1),
        box(0.36, 0.1, 0.5, 1),
        box(-0.58, 0.05, 0.58, 0.3, "second", radius=0.06),
        box(-0.5, -1, -0.36, 0.1),
        box(0.36, -1, 0.5, 0.1),
    ]
    if rng.random() < 0.5:
        return [*parts, box(-0.45, -0.95, 0.45, -0.2, "second", radius=0.12)]
    return [*parts, *(box(-0.4, y, 0.4, y + 0.14) for y in (-0.92, -0.58, -0.25))]


WAYS = {
    "car": (car_side, car_side, car_front, car_van),
    "bicycle": (bicycle_frame, bicycle_spokes),
    "house": (house_gable, house_wide),
    "chair": (chair_side, chair_front),
}
"""The ways to draw each of these things."""
