"""Draw the wide pictures of the training: any background, shapes, everyday things and words."""

from gemma4_block.demo.training.drawing.composing import MAX_THINGS, Limits, draw_picture
from gemma4_block.demo.training.drawing.picture import (
    COLORS,
    EVERYDAY_KINDS,
    SHAPE_KINDS,
    Letter,
    Picture,
    Thing,
    Writing,
)

__all__ = [
    "COLORS",
    "EVERYDAY_KINDS",
    "MAX_THINGS",
    "SHAPE_KINDS",
    "Letter",
    "Limits",
    "Picture",
    "Thing",
    "Writing",
    "draw_picture",
]
