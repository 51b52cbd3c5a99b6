"""Backgrounds of the second generator, each kind by its name."""

from collections.abc import Callable, Mapping
from types import MappingProxyType

import cv2
import numpy as np
import numpy.typing as npt

Rng = np.random.Generator
Surface = npt.NDArray[np.float64]


def _flat(low: float, high: float, tint: float) -> Callable[[Rng, int, int], Surface]:
    def fill(rng: Rng, width: int, height: int) -> Surface:
        color = rng.uniform(low, high) + rng.uniform(-tint, tint, size=3)
        return np.broadcast_to(np.clip(color, 0, 255), (height, width, 3)).copy()

    return fill


def _gradient(rng: Rng, width: int, height: int) -> Surface:
    corners = rng.uniform(60, 250, size=(2, 2, 3)) * 0.5 + rng.uniform(20, 125)
    return cv2.resize(corners, (width, height), interpolation=cv2.INTER_LINEAR).astype(np.float64)


def _texture(rng: Rng, width: int, height: int) -> Surface:
    """Noise whose strength falls with its frequency, as in stone, sand or cloth."""
    y, x = np.fft.fftfreq(height)[:, None], np.fft.fftfreq(width)[None, :]
    falloff = np.hypot(x * rng.uniform(0.5, 2), y) + 1 / max(width, height)
    waves = np.fft.fft2(rng.normal(size=(height, width))) / falloff ** rng.uniform(0.8, 1.4)
    grain = np.real(np.fft.ifft2(waves))
    grain *= rng.uniform(8, 18) / grain.std()
    return rng.uniform(70, 225, size=3) + grain[..., None]


def _clutter(rng: Rng, width: int, height: int) -> Surface:
    """Bent lines and specks, a little lighter or darker than what they lie on."""
    surface = np.full((height, width, 3), rng.uniform(150, 235) + rng.uniform(-15, 15, size=3))
    unit = np.sqrt(width * height)
    for _ in range(int(rng.integers(8, 20))):
        ink = surface[0, 0] + rng.choice([-1, 1]) * rng.uniform(12, 28)
        steps = np.cumsum(rng.normal(0, 0.03, size=(24, 2)) + rng.normal(0, 0.02, size=2), axis=0) * unit
        path = (steps + rng.uniform(0, 1, size=2) * (width, height)).astype(np.int32)
        cv2.polylines(surface, [path], False, ink.tolist(), max(1, int(unit * 0.006)), cv2.LINE_AA)  # noqa: FBT003
    for _ in range(int(rng.integers(10, 40))):
        ink = surface[0, 0] + rng.choice([-1, 1]) * rng.uniform(12, 28)
        place = (int(rng.integers(width)), int(rng.integers(height)))
        cv2.circle(surface, place, max(1, int(unit * 0.004)), ink.tolist(), -1, cv2.LINE_AA)
    return surface


def _photograph(rng: Rng, width: int, height: int) -> Surface:
    """Soft light and shade, unequal lighting and the noise of a camera."""
    small = rng.uniform(60, 200, size=(4, 4, 3)) * 0.5 + rng.uniform(30, 110)
    soft = cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC)
    shade = np.linspace(rng.uniform(0.75, 1), rng.uniform(0.75, 1), width)[None, :, None]
    return soft * shade + rng.normal(0, rng.uniform(4, 9), size=soft.shape)


SURFACES: Mapping[str, Callable[[Rng, int, int], Surface]] = MappingProxyType(
    {
        "white": _flat(240, 255, 3),
        "tinted": _flat(130, 210, 45),
        "grey": _flat(90, 190, 4),
        "dark": _flat(8, 50, 8),
        "gradient": _gradient,
        "texture": _texture,
        "clutter": _clutter,
        "photograph": _photograph,
    }
)
"""Each takes a source of chance, width and height, and returns `(H, W, 3)` in grey levels of 0 to 255."""
