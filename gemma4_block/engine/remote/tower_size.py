"""Say at which size the vision tower of a served model sees an image."""

import json
import math
from dataclasses import dataclass

from gemma4_block.catalogue import find_variant
from gemma4_block.contract import ImageSeqLength

_PATCH_PX = 16
_POOLING = 3
"""Source: processor_config.json of google/gemma-4-E2B-it, and of the other published sizes."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TowerGeometry:
    """How an image becomes soft tokens.

    Attributes:
        unit_px: Sides are cut to multiples of this; a square of it is one soft token.

    """

    unit_px: int = _PATCH_PX * _POOLING

    def find_size(self, size_wh: tuple[int, int], budget: ImageSeqLength) -> tuple[int, int]:
        """Return the width and height that the tower sees.

        Args:
            size_wh: Of the image, in pixels, at least 1 each.
            budget: Most soft tokens.

        Returns:
            Multiples of the unit with the image's proportions, as many as the budget allows; more than the
            image has where that is small. Source: `get_aspect_ratio_preserving_size` in
            transformers/models/gemma4/image_processing_gemma4.py, version 5.15.

        """
        width, height = size_wh
        unit = self.unit_px
        factor = math.sqrt(budget * unit**2 / (width * height))
        columns, rows = math.floor(factor * width / unit), math.floor(factor * height / unit)
        if rows == 0:
            rows, columns = 1, min(width // height, budget)
        elif columns == 0:
            columns, rows = 1, min(height // width, budget)
        return columns * unit, rows * unit

    def find_sent_size(self, size_wh: tuple[int, int], budget: ImageSeqLength) -> tuple[int, int]:
        """Return the width and height to send.

        Args:
            size_wh: Of the image, in pixels.
            budget: Most soft tokens.

        Returns:
            What the tower sees where that is smaller and the server would leave it as it is; else the
            image's own, because scaling twice gives other pixels than scaling once.

        """
        seen = self.find_size(size_wh, budget)
        is_smaller = seen[0] * seen[1] < size_wh[0] * size_wh[1]
        return seen if is_smaller and self.find_size(seen, budget) == seen else size_wh

    def count_soft_tokens(self, size_wh: tuple[int, int], budget: ImageSeqLength) -> int:
        """Return how many soft tokens an image of a width and height becomes."""
        width, height = self.find_size(size_wh, budget)
        return (width // self.unit_px) * (height // self.unit_px)


def find_geometry(model_id: str) -> TowerGeometry:
    """Return the geometry of a model: that of the published sizes, or of the embedded checkpoint.

    Args:
        model_id: What workflows call it.

    Returns:
        Its geometry.

    """
    variant = find_variant(model_id)
    if variant is None or variant.directory is None:
        return TowerGeometry()
    config = json.loads((variant.directory / "processor_config.json").read_text(encoding="utf-8"))
    image = config["image_processor"]
    return TowerGeometry(unit_px=image["patch_size"] * image["pooling_kernel_size"])
