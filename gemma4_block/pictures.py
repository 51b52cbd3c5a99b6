"""Read pictures as Pillow knows them, files included, in their true colours and the right way up."""

from functools import lru_cache
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps, UnidentifiedImageError

from gemma4_block.contract import RgbImage
from gemma4_block.errors import PromptError
from gemma4_block.images import to_rgb

# Pillow's names. It knows others, and starts programs for some: Ghostscript for EPS.
_FORMATS: Final = {
    *("AVIF", "BMP", "DIB", "GIF", "ICO", "JPEG", "JPEG2000", "PNG", "PPM", "QOI", "TGA", "TIFF", "WEBP"),
}
# Grey of more than 8 bits, which a conversion to RGB would cut off.
_DEEP_GREY: Final = {"I", "I;16", "I;16B", "I;16L", "I;16N", "F"}


def picture_suffixes() -> frozenset[str]:
    """Return how the names of picture files end, such as `.png`, in small letters."""
    names = readable_formats()
    return frozenset(suffix for suffix, name in Image.registered_extensions().items() if name in names)


@lru_cache(maxsize=1)
def readable_formats() -> tuple[str, ...]:
    """Return the formats of the files that are read, in Pillow's names; some are not in every Pillow."""
    Image.init()
    return tuple(sorted(_FORMATS & Image.OPEN.keys()))


def open_picture(path: Path, *, max_pixels: int) -> RgbImage:
    """Read an image file.

    Args:
        path: In one of `readable_formats`; of several frames the first is taken.
        max_pixels: The operator's limit, which is checked before the file is decoded.

    Returns:
        `(H, W, 3)` uint8 RGB, turned as its EXIF data say.

    Raises:
        PromptError: There is no such file, it is no image, damaged, or too large.

    """
    try:
        with Image.open(path, formats=readable_formats()) as image:
            return convert_picture(image, max_pixels=max_pixels)
    except FileNotFoundError as error:
        raise PromptError(f"There is no image file {path}. Give the path of one that is there.") from error
    except UnidentifiedImageError as error:
        raise PromptError(f"{path} cannot be read as an image. Save it as PNG or JPEG.") from error
    except PromptError as error:
        raise PromptError(f"{path}: {error}") from error
    except (Image.DecompressionBombError, OSError, ValueError, SyntaxError) as error:
        raise PromptError(f"{path} cannot be read as an image: {error}. Save it as PNG or JPEG.") from error


def convert_picture(image: Image.Image, *, max_pixels: int) -> RgbImage:
    """Return a Pillow image as an array.

    Palettes and CMYK are converted, and transparency is blended over white. Grey of 16 bits is scaled, and
    grey in floats is 0-1 where no value is above 1.5, else 0-255.

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
        return to_rgb(_read_deep_grey(turned), "rgb")
    return to_rgb(np.asarray(turned.convert("RGBA" if turned.has_transparency_data else "RGB")), "rgb")


def _read_deep_grey(image: Image.Image) -> npt.NDArray[Any]:
    deep: npt.NDArray[Any] = np.asarray(image)
    if deep.dtype != np.int32:
        return deep
    # Pillow keeps 16 bits in 32 where its mode is I; true 32 bits have no white that could be known.
    low, high = int(deep.min()), int(deep.max())
    if low < 0 or high > np.iinfo(np.uint16).max:
        raise PromptError(
            f"The image's values run from {low} to {high} in 32 bits; grey must fit into 8 or 16 bits. Scale "
            "it first."
        )
    return deep.astype(np.uint16)
