"""Turn the images of a call into data URLs, each different image once."""

import asyncio
import base64
import hashlib

import cv2
import numpy as np

from gemma4_block.contract import RgbImage
from gemma4_block.engine.remote.once import Once
from gemma4_block.errors import PromptError

# zlib's fastest; the default takes five times as long for a tenth less on photographs, and so does lossless
# WebP: 467 ms and 1,172 kB against 88 ms and 1,357 kB, for 768 x 768 pixels of noise as in a photograph.
_COMPRESSION = 1
# A call of more holds its first images no longer than it must.
_MOST_IMAGES = 256


class ImageUrls:
    """The images of one call. Used in one event loop."""

    def __init__(self) -> None:
        self._once: Once[tuple[bytes, tuple[int, int]], str] = Once(_MOST_IMAGES)

    async def find(self, image: RgbImage, size_wh: tuple[int, int]) -> str:
        """Return the data URL of an image, encoded beside the loop when it is first asked for.

        Args:
            image: `(H, W, 3)` uint8, RGB.
            size_wh: Width and height to send.

        Returns:
            A lossless PNG.

        Raises:
            PromptError: It cannot be encoded.

        """
        key = (await asyncio.to_thread(_fingerprint, image), size_wh)
        return await self._once.find(key, lambda: asyncio.to_thread(encode, image, size_wh))


def encode(image: RgbImage, size_wh: tuple[int, int]) -> str:
    """Return an image as the data URL of a PNG.

    Args:
        image: `(H, W, 3)` uint8, RGB.
        size_wh: Width and height to send.

    Returns:
        The URL.

    Raises:
        PromptError: It cannot be encoded.

    """
    pixels = image if image.shape[1::-1] == size_wh else shrink(image, size_wh)
    try:
        is_done, data = cv2.imencode(
            ".png", cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_PNG_COMPRESSION, _COMPRESSION]
        )
    except cv2.error as error:
        raise PromptError(f"The image cannot be written as PNG: {error}. Shrink it first.") from error
    assert is_done, "OpenCV writes PNG to memory"
    return f"data:image/png;base64,{base64.b64encode(data.tobytes()).decode()}"


def shrink(image: RgbImage, size_wh: tuple[int, int]) -> RgbImage:
    """Scale an image exactly as the model's own processor does.

    Args:
        image: `(H, W, 3)` uint8, RGB.
        size_wh: Width and height that it gets.

    Returns:
        `(H, W, 3)` uint8, RGB.

    """
    # Loaded where it is used: torch takes seconds, and small images need none of it.
    import torch
    from torchvision.transforms.v2 import InterpolationMode, functional

    width, height = size_wh
    # A copy, because torch takes no array that must not be written to, nor a mirrored one.
    tensor = torch.from_numpy(image.copy()).permute(2, 0, 1)
    scaled: RgbImage = (
        functional.resize(
            tensor, size=[height, width], interpolation=InterpolationMode.BICUBIC, antialias=True
        )
        .permute(1, 2, 0)
        .contiguous()
        .numpy()
    )
    return scaled


def _fingerprint(image: RgbImage) -> bytes:
    # The shape tells images apart whose bytes are the same.
    return hashlib.blake2b(np.ascontiguousarray(image).data, person=str(image.shape).encode()[:16]).digest()
