"""Read pictures as Pillow knows them, files included, in their true colours and the right way up."""

from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps, UnidentifiedImageError

from gemma4_block.contract import RgbImage
from gemma4_block.errors import PromptError
from gemma4_block.images import to_rgb

# Grey of more than 8 bits, which a conversion to RGB would cut off.
_DEEP_GREY: Final = {"I", "I;16", "I;16B", "I;16L", "I;16N", "F"}


def open_picture(path: Path, *, max_pixels: int) -> RgbImage:
    """Read an image file.

    Args:
        path: In any format that Pillow reads; of several frames the first is taken.
        max_pixels: The operator's limit, which is checked before the file is decoded.

    Returns:
        `(H, W, 3)` uint8 RGB, turned as its EXIF data say.

    Raises:
        PromptError: There is no such file, it is no image, damaged, or too large.

    """
    try:
        with Image.open(path) as image:
            return convert_picture(image, max_pixels=max_pixels)
    except FileNotFoundError as error:
        raise PromptError(f"There is no image file {path}. Give the path of one that is there.") from error
    except (UnidentifiedImageError, Image.DecompressionBombError, OSError, ValueError, SyntaxError) as error:
        if isinstance(error, PromptError):
            raise
        raise PromptError(f"{path} cannot be read as an image: {error}. Save it as PNG or JPEG.") from error


def convert_picture(image: Image.Image, *, max_pixels: int) -> RgbImage:
    """Return a Pillow image as an array.

    Palettes and CMYK are converted, transparency is blended over white, and grey of 16 bits is scaled.

    Args:
        image: Of any mode.
        max_pixels: The operator's limit.

    Returns:
        `(H, W, 3)` uint8 RGB, turned as its EXIF data say.

    Raises:
        PromptError: It is too large, or its values cannot be an image.

    """
    width, height = image.size
    if width * height > max_pixels:
        raise PromptError(
            f"The image is {width} x {height} pixels; {max_pixels} in all are allowed. Shrink it first, or "
            "raise GEMMA4_BLOCK_MAX_IMAGE_PIXELS."
        )
    turned = ImageOps.exif_transpose(image)
    if turned.mode in _DEEP_GREY:
        deep: npt.NDArray[Any] = np.asarray(turned)
        # Pillow keeps 16 bits in 32 where its mode is I.
        return to_rgb(deep.astype(np.uint16) if deep.dtype == np.int32 else deep, "rgb")
    return to_rgb(np.asarray(turned.convert("RGBA" if turned.has_transparency_data else "RGB")), "rgb")
