"""A wide picture of the training and the truth about it."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from gemma4_block.demo.scenes import COLORS, SHAPE_KINDS

RgbImage = npt.NDArray[np.uint8]
Points = npt.NDArray[np.float64]
Box = tuple[float, float, float, float]

EVERYDAY_KINDS = (
    "apple", "backpack", "bicycle", "bird", "book", "bottle", "car", "cat", "chair", "clock", "cup", "dog",
    "fish", "flower", "house", "key", "person", "phone", "tree", "umbrella",
)  # fmt: skip
"""Things of everyday life that are drawn as pictograms."""

NOBODY = -1
"""In `Picture.owners`: no thing covers the pixel."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Thing:
    """A shape or a pictogram.

    Attributes:
        kind: One of `SHAPE_KINDS` or `EVERYDAY_KINDS`.
        color: Colour name of a shape; None for a pictogram, which has several.
        box_xyxy_px: Tight box in pixels of the picture, x right, y down, covered parts included.

    """

    kind: str
    color: str | None
    box_xyxy_px: Box

    @property
    def label(self) -> str:
        """Name it as answers do: `red circle`, `backpack`."""
        return self.kind if self.color is None else f"{self.color} {self.kind}"

    @property
    def is_shape(self) -> bool:
        """Say whether it is a plain shape, which has a colour."""
        return self.color is not None


@dataclass(frozen=True, kw_only=True, slots=True)
class Letter:
    """One drawn character and its box in pixels (x right, y down)."""

    char: str
    box_xyxy_px: Box


@dataclass(frozen=True, kw_only=True, slots=True)
class Writing:
    """Drawn text; its letters from left to right, without spaces, line by line."""

    text: str
    letters: tuple[Letter, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Picture:
    """A picture and the truth about it.

    Attributes:
        image: `(H, W, 3)` uint8, RGB.
        things: In the order of `scenes.order_boxes`.
        owners: `(H, W)` int16, the index in `things` of the topmost one at each pixel, or `NOBODY`.
        writing: The text in it; None where there is none.

    """

    image: RgbImage
    things: tuple[Thing, ...]
    owners: npt.NDArray[np.int16]
    writing: Writing | None = None


__all__ = ["COLORS", "EVERYDAY_KINDS", "NOBODY", "SHAPE_KINDS", "Box", "Letter", "Picture", "Points",
           "RgbImage", "Thing", "Writing"]  # fmt: skip
