"""Paint drawings of unit coordinates onto a canvas."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from gemma4_block.demo.training.drawing.inks import Rgb, shade
from gemma4_block.demo.training.drawing.outlines import Drawing, Role
from gemma4_block.demo.training.drawing.picture import Box, Points, RgbImage

# OpenCV draws at fixed-point positions with this many fractional bits.
_SUBPIXEL_BITS = 4


@dataclass(frozen=True, kw_only=True, slots=True)
class Pose:
    """Where and how a drawing stands: mirrored, then scaled, turned and moved."""

    x_px: float
    y_px: float
    half_width_px: float
    half_height_px: float
    angle: float = 0.0
    is_mirrored: bool = False

    def place(self, points: Points) -> Points:
        """Move points from the unit square to pixels."""
        sign = -1 if self.is_mirrored else 1
        scaled = points * np.array([sign * self.half_width_px, self.half_height_px])
        cos, sin = np.cos(self.angle), np.sin(self.angle)
        turned = scaled @ np.array([[cos, sin], [-sin, cos]])
        moved: Points = turned + np.array([self.x_px, self.y_px])
        return moved


@dataclass(frozen=True, kw_only=True, slots=True)
class Look:
    """How a drawing is painted.

    Attributes:
        inks: Fill of each role.
        stroke_px: Width of lines around the parts; 0 for none.
        stroke: Colour of these lines.
        is_hollow: Whether only the lines are painted.
        fade: How much darker the lower right of the fill is, 0 to 1.

    """

    inks: Mapping[Role, Rgb]
    stroke_px: int = 0
    stroke: Rgb = (0, 0, 0)
    is_hollow: bool = False
    fade: float = 0.0


def box_around(outlines: Sequence[Points], grow_px: float = 0.0) -> Box:
    """Return the tight box around outlines, grown at every side."""
    every = np.concatenate(outlines)
    (x1, y1), (x2, y2) = every.min(axis=0).tolist(), every.max(axis=0).tolist()
    return x1 - grow_px, y1 - grow_px, x2 + grow_px, y2 + grow_px


def paint(image: RgbImage, drawing: Drawing, outlines: Sequence[Points], look: Look) -> None:
    """Paint the parts of a drawing, whose outlines in pixels are given, in their order."""
    fixed = [np.round(points * 2**_SUBPIXEL_BITS).astype(np.int32) for points in outlines]
    for part, points in zip(drawing, fixed, strict=True):
        if not look.is_hollow:
            ink = look.inks[part.role]
            cv2.fillPoly(image, [points], ink, cv2.LINE_AA, _SUBPIXEL_BITS)
            if look.fade and part.role == "body":
                _fade(image, points, ink, look.fade)
        if look.stroke_px:
            is_closed = True
            cv2.polylines(
                image, [points], is_closed, look.stroke, look.stroke_px, cv2.LINE_AA, _SUBPIXEL_BITS
            )


def cover(owners: npt.NDArray[np.int16], outlines: Sequence[Points], owner: int) -> None:
    """Write an owner's number under all of its outlines."""
    for points in outlines:
        cv2.fillPoly(owners, [np.round(points).astype(np.int32)], (owner,))


def _fade(image: RgbImage, points: npt.NDArray[np.int32], ink: Rgb, strength: float) -> None:
    x, y, width, height = cv2.boundingRect(points >> _SUBPIXEL_BITS)
    x2, y2 = min(image.shape[1], x + width + 1), min(image.shape[0], y + height + 1)
    x, y = max(0, x), max(0, y)
    if x >= x2 or y >= y2:
        return
    mask = np.zeros((y2 - y, x2 - x), dtype=np.uint8)
    moved = points - np.array([x, y]) * 2**_SUBPIXEL_BITS
    cv2.fillPoly(mask, [moved.astype(np.int32)], (255,), cv2.LINE_AA, _SUBPIXEL_BITS)
    ramp = np.add.outer(np.linspace(0, 0.5, y2 - y), np.linspace(0, 0.5, x2 - x))[..., None]
    deep = np.array(ink) + ramp * (np.array(shade(ink, 1 - strength)) - np.array(ink))
    part = mask[..., None] / 255
    region = image[y:y2, x:x2]
    region[:] = np.round(region * (1 - part) + deep * part).astype(np.uint8)
