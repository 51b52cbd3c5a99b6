"""Choose inks: what a colour name may look like, and what stands out from a background."""

import colorsys

import numpy as np
import numpy.typing as npt

Rgb = tuple[int, int, int]

# Hue in degrees, saturation and brightness, each from and to. Between two names lies a gap.
_LOOKS = {
    "blue": ((208, 245), (0.6, 1.0), (0.5, 1.0)),
    "green": ((95, 158), (0.5, 1.0), (0.4, 0.85)),
    "orange": ((23, 36), (0.8, 1.0), (0.9, 1.0)),
    "purple": ((268, 298), (0.5, 1.0), (0.45, 0.85)),
    "red": ((-11, 9), (0.72, 1.0), (0.65, 1.0)),
    "yellow": ((49, 60), (0.65, 1.0), (0.88, 1.0)),
}


def mix_ink(rng: np.random.Generator, color: str) -> Rgb:
    """Return one of the looks of a colour name."""
    hue, saturation, brightness = (rng.uniform(*span) for span in _LOOKS[color])
    return _from_hsv(hue, saturation, brightness)


def mix_any(rng: np.random.Generator) -> Rgb:
    """Return any colour, greys, browns and dark ones included."""
    return _from_hsv(rng.uniform(0, 360), rng.uniform(0, 1) ** 0.7, rng.uniform(0.1, 1.0))


def stands_out(ink: Rgb, background: npt.NDArray[np.float64], *, least: float) -> bool:
    """Say whether an ink is seen on a mean background colour `(3,)` of 0 to 255; below 150 people miss it."""
    return distance(ink, background) >= least


def distance(a: Rgb, b: npt.NDArray[np.float64]) -> float:
    """Return how different two colours look, 0 to about 765; Source: compuphase.com/cmetric.htm."""
    red_mean = (a[0] + float(b[0])) / 2
    red, green, blue = (a[0] - float(b[0])), (a[1] - float(b[1])), (a[2] - float(b[2]))
    weighted = (2 + red_mean / 256) * red**2 + 4 * green**2 + (2 + (255 - red_mean) / 256) * blue**2
    return float(np.sqrt(weighted))


def shade(ink: Rgb, factor: float) -> Rgb:
    """Return an ink darker (below 1) or lighter (above 1, towards white at 2)."""
    if factor <= 1:
        return _as_rgb(np.array(ink) * factor)
    return _as_rgb(np.array(ink) + (255 - np.array(ink)) * (factor - 1))


def _from_hsv(hue_degrees: float, saturation: float, brightness: float) -> Rgb:
    return _as_rgb(np.array(colorsys.hsv_to_rgb(hue_degrees % 360 / 360, saturation, brightness)) * 255)


def _as_rgb(values: npt.NDArray[np.float64]) -> Rgb:
    red, green, blue = np.clip(np.round(values), 0, 255).astype(int).tolist()
    return red, green, blue
