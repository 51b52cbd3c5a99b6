"""The four plain shapes."""

import numpy as np

from gemma4_block.demo.training.drawing.outlines import Drawing, Part


def draw_shape(rng: np.random.Generator, kind: str) -> Drawing:
    """Return the outline of a circle, square, star or triangle, each a little different every time."""
    if kind == "square":
        corners = np.array([[-1.0, -1.0], [1.0, -1.0], [1.0, 1.0], [-1.0, 1.0]]) * 0.8
    elif kind == "triangle":
        lean = rng.normal(0, 0.2) if rng.random() < 0.4 else 0.0
        corners = np.array([[np.clip(lean, -0.8, 0.8), -0.95], [0.95, 0.75], [-0.95, 0.75]])
        corners[0, 1] *= rng.uniform(0.8, 1.15)
    else:
        corners = _round(rng, kind)
    return [Part(corners * np.array([1.0, rng.uniform(0.9, 1.1)]))]


def _round(rng: np.random.Generator, kind: str) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    tips = 5 if rng.random() < 0.8 else int(rng.integers(4, 8))
    count = 48 if kind == "circle" else 2 * tips
    angles = -np.pi / 2 + 2 * np.pi * np.arange(count) / count
    radii = np.full(count, 1.0)
    if kind == "star":
        radii[1::2] *= rng.uniform(0.36, 0.56)
    return np.stack([radii * np.cos(angles), radii * np.sin(angles)], axis=1)
