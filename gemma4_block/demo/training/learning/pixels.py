"""Cut pictures into patches as the image processor does, worn as cameras and files wear them."""

import cv2
import numpy as np
import torch
from torchvision.transforms.v2 import functional as tvf
from transformers.models.gemma4.image_processing_gemma4 import (
    convert_image_to_patches,
    get_aspect_ratio_preserving_size,
)

from gemma4_block.demo.scenes import RgbImage
from gemma4_block.demo.training.learning.architecture import PATCH_SIZE_PX, POOLING_KERNEL_SIZE


def cut_patches(
    rng: np.random.Generator, image: RgbImage, image_seq_length: int, *, wear: float
) -> tuple[torch.Tensor, tuple[int, int]]:
    """Wear, resize and cut an image.

    Args:
        rng: Source of every choice.
        image: `(H, W, 3)` uint8, RGB.
        image_seq_length: Its budget of soft tokens.
        wear: 0 for none, 1 for what cameras do at worst.

    Returns:
        `(P, 3 * patch**2)` float32 of 0 to 1, and how many rows and columns of soft tokens that are.

    """
    if rng.random() < 0.12 * wear:
        image = np.ascontiguousarray(cv2.GaussianBlur(image, (0, 0), rng.uniform(0.4, 1.3)))
    if rng.random() < 0.5:
        quality = int(rng.integers(95 - round(55 * wear), 97))
        _, encoded = cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])
        image = np.ascontiguousarray(cv2.imdecode(encoded, cv2.IMREAD_COLOR)[..., ::-1])
    height, width = get_aspect_ratio_preserving_size(
        height=image.shape[0],
        width=image.shape[1],
        patch_size=PATCH_SIZE_PX,
        max_patches=image_seq_length * POOLING_KERNEL_SIZE**2,
        pooling_kernel_size=POOLING_KERNEL_SIZE,
    )
    tensor = torch.from_numpy(image.copy()).permute(2, 0, 1)
    tensor = tvf.resize(tensor, [height, width], interpolation=tvf.InterpolationMode.BICUBIC, antialias=True)
    scaled = tensor.float() / 255
    if rng.random() < 0.5:
        strength = 0.002 + 0.05 * wear * rng.random() ** 2
        noise = rng.standard_normal(scaled.shape, dtype=np.float32) * np.float32(strength)
        scaled = (scaled + torch.from_numpy(noise)).clamp(0, 1)
    side = PATCH_SIZE_PX * POOLING_KERNEL_SIZE
    return convert_image_to_patches(scaled, PATCH_SIZE_PX), (height // side, width // side)
