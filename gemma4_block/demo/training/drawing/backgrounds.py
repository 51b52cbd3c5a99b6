"""Backgrounds of every kind: plain, tinted, dark, in gradients, patterns and clouds, with clutter on them."""

from collections.abc import Callable

import cv2
import numpy as np
import numpy.typing as npt

from gemma4_block.demo.training.drawing.picture import RgbImage

Rng = np.random.Generator
_Canvas = npt.NDArray[np.float32]


def draw_background(rng: Rng, width: int, height: int, *, difficulty: float) -> RgbImage:
    """Draw a background.

    Args:
        rng: Source of every choice.
        width: In pixels.
        height: In pixels.
        difficulty: 0 for plain light ones only, 1 for all.

    Returns:
        `(height, width, 3)` uint8, RGB.

    """
    if rng.random() > difficulty:
        return np.full((height, width, 3), rng.uniform(225, 256, size=3), dtype=np.uint8)
    draw = _KINDS[int(rng.choice(len(_KINDS), p=_ODDS))]
    canvas = draw(rng, width, height)
    if rng.random() < 0.3:
        canvas = np.clip(canvas, 0, 255)
        for _ in range(int(rng.integers(3, 25))):
            _scribble(rng, canvas)
    if rng.random() < 0.15:
        canvas *= _light(rng, width, height)
    return np.clip(canvas, 0, 255).astype(np.uint8)


def _color(rng: Rng) -> npt.NDArray[np.float32]:
    """Return a colour of a background: light, dark, grey or tinted."""
    choice = rng.random()
    if choice < 0.3:
        color = rng.uniform(215, 256, size=3)
    elif choice < 0.5:
        color = rng.uniform(0, 60, size=3)
    elif choice < 0.7:
        color = np.full(3, rng.uniform(30, 230)) + rng.normal(0, 5, size=3)
    else:
        color = rng.uniform(20, 245, size=3)
    return np.clip(color, 0, 255).astype(np.float32)


def _near(rng: Rng, color: npt.NDArray[np.float32], spread: float) -> npt.NDArray[np.float32]:
    return np.clip(color + rng.normal(0, spread, size=3) + rng.normal(0, spread), 0, 255).astype(np.float32)


def _plain(rng: Rng, width: int, height: int) -> _Canvas:
    return np.full((height, width, 3), _color(rng), dtype=np.float32)


def _gradient(rng: Rng, width: int, height: int) -> _Canvas:
    angle = rng.uniform(0, 2 * np.pi)
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    if rng.random() < 0.3:
        ramp = np.hypot(x - rng.uniform(0, width), y - rng.uniform(0, height))
    else:
        ramp = np.cos(angle) * x + np.sin(angle) * y
    ramp = (ramp - ramp.min()) / max(1e-6, float(np.ptp(ramp)))
    start = _color(rng)
    end = _near(rng, start, 60) if rng.random() < 0.6 else _color(rng)
    blend: _Canvas = start + ramp[..., None] * (end - start)
    return blend


def _clouds(rng: Rng, width: int, height: int) -> _Canvas:
    """Smooth noise of several scales, as in a photograph that is out of focus."""
    field = np.zeros((height, width, 3), dtype=np.float32)
    start = int(rng.integers(2, 7))
    channels = 3 if rng.random() < 0.5 else 1
    strength = rng.uniform(15, 70)
    for octave in range(4):
        side = start * 2**octave
        small = rng.normal(0, 1, size=(side, side, channels)).astype(np.float32)
        grown = cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC).reshape(
            height, width, channels
        )
        field += grown * strength * 0.55**octave
    return _color(rng) + field


def _pattern(rng: Rng, width: int, height: int) -> _Canvas:
    """Stripes, checks, a grid or dots of two colours that are near each other."""
    period = rng.uniform(0.03, 0.2) * np.sqrt(width * height)
    angle = rng.choice([0.0, np.pi / 2, np.pi / 4, rng.uniform(0, np.pi)])
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    along, across = np.cos(angle) * x + np.sin(angle) * y, np.cos(angle) * y - np.sin(angle) * x
    first, second = (np.sin(2 * np.pi * part / period) for part in (along, across))
    kind = int(rng.integers(4))
    mask = (first > 0, (first > 0) ^ (second > 0), (first > 0.95) | (second > 0.95), (first + second) > 1.5)[
        kind
    ]
    color = _color(rng)
    other = _near(rng, color, rng.uniform(8, 40))
    canvas = np.where(mask[..., None], other, color).astype(np.float32)
    return cv2.GaussianBlur(canvas, (3, 3), 0).astype(np.float32)


def _grain(rng: Rng, width: int, height: int) -> _Canvas:
    """A rough surface: paper, cloth, asphalt."""
    grain = rng.normal(0, rng.uniform(5, 25), size=(height, width, 1)).astype(np.float32)
    blurred = cv2.GaussianBlur(grain, (0, 0), sigmaX=rng.uniform(0.4, 4), sigmaY=rng.uniform(0.4, 4))
    spread = float(blurred.std())
    return _color(rng) + blurred.reshape(height, width, 1) * (rng.uniform(4, 20) / max(1e-3, spread))


def _room(rng: Rng, width: int, height: int) -> _Canvas:
    """Two surfaces that meet: a wall and a floor, or the sky and the ground."""
    canvas = _gradient(rng, width, height) if rng.random() < 0.5 else _plain(rng, width, height)
    left, right = (rng.uniform(0.3, 0.85, size=1) + rng.normal(0, 0.03, size=2)) * height
    corners = np.array([[0, left], [width, right], [width, height], [0, height]], dtype=np.int32)
    cv2.fillPoly(canvas, [corners], _color(rng).tolist(), cv2.LINE_AA)
    return canvas


_KINDS: tuple[Callable[[Rng, int, int], _Canvas], ...] = (_plain, _gradient, _clouds, _pattern, _grain, _room)
_ODDS = (0.38, 0.17, 0.17, 0.1, 0.1, 0.08)


def _scribble(rng: Rng, canvas: _Canvas) -> None:
    """Put a stroke, a bow, a dot or a grey blotch on the canvas, near to the colour that is there."""
    height, width = canvas.shape[:2]
    unit = float(np.sqrt(height * width))
    x, y = int(rng.integers(width)), int(rng.integers(height))
    ink = _near(rng, canvas[y, x], rng.uniform(10, 30)).tolist()
    kind = int(rng.integers(4))
    if kind == 0:
        end = (int(x + rng.normal(0, 0.3) * unit), int(y + rng.normal(0, 0.3) * unit))
        cv2.line(canvas, (x, y), end, ink, max(1, int(rng.uniform(0.002, 0.012) * unit)), cv2.LINE_AA)
    elif kind == 1:
        axes = (int(rng.uniform(0.05, 0.4) * unit), int(rng.uniform(0.05, 0.4) * unit))
        start = rng.uniform(0, 360)
        thickness = max(1, int(rng.uniform(0.002, 0.01) * unit))
        cv2.ellipse(
            canvas,
            (x, y),
            axes,
            rng.uniform(0, 360),
            start,
            start + rng.uniform(40, 160),
            ink,
            thickness,
            cv2.LINE_AA,
        )
    elif kind == 2:
        cv2.circle(canvas, (x, y), max(1, int(rng.uniform(0.003, 0.01) * unit)), ink, -1, cv2.LINE_AA)
    else:
        blotch = np.array([x, y]) + rng.normal(0, rng.uniform(0.03, 0.15), size=(7, 2)) * unit
        cv2.fillPoly(canvas, [cv2.convexHull(blotch.astype(np.int32))], ink, cv2.LINE_AA)


def _light(rng: Rng, width: int, height: int) -> _Canvas:
    """Return how bright each pixel is: darker away from a lamp."""
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    away = np.hypot((x / width - rng.uniform(0, 1)), (y / height - rng.uniform(0, 1)))
    light: _Canvas = (1.1 - rng.uniform(0.1, 0.6) * away)[..., None].astype(np.float32)
    return light
