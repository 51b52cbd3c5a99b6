"""Choose the visual token budget of images where the step leaves it open."""

import math
from collections.abc import Sequence
from typing import Final

from gemma4_block.contract import ImageSeqLength, RgbImage

# Patches of 16 pixels, pooled 3 by 3. Source: image_processing_gemma4.py in transformers 5.15.
_SOFT_TOKEN_SIDE_PX: Final = 48


def fit_image_seq_length(
    wish: ImageSeqLength, trained: tuple[ImageSeqLength, ...], images: Sequence[RgbImage]
) -> ImageSeqLength:
    """Return the smallest trained budget that shrinks none of the images, at most the wish.

    Every image is scaled to its budget, up as well as down. Where it is scaled up, a larger budget adds time
    and no pixel that was not there before.

    Args:
        wish: What the task wants where images are large enough.
        trained: Budgets that the checkpoint was trained for.
        images: Those of one prompt.

    Returns:
        One of the trained budgets; the smallest of them where all are above the wish.

    >>> import numpy as np
    >>> crop, frame = np.zeros((64, 64, 3), np.uint8), np.zeros((480, 640, 3), np.uint8)
    >>> fit_image_seq_length(280, (70, 140, 280, 560, 1120), [crop])
    70
    >>> fit_image_seq_length(280, (70, 140, 280, 560, 1120), [crop, frame])
    280
    >>> fit_image_seq_length(70, (280,), [crop])
    280
    """
    offered = sorted(length for length in trained if length <= wish) or [min(trained)]
    fitting = (length for length in offered if all(_holds(length, image) for image in images))
    return next(fitting, offered[-1])


def _holds(length: ImageSeqLength, image: RgbImage) -> bool:
    """Say whether the image processor leaves both sides of an image as long as they are, or longer."""
    height, width = image.shape[:2]
    scale = math.sqrt(length * _SOFT_TOKEN_SIDE_PX**2 / (height * width))
    return all(scale * side // _SOFT_TOKEN_SIDE_PX * _SOFT_TOKEN_SIDE_PX >= side for side in (height, width))
