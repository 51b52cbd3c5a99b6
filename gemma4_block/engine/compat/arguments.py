"""Read the arguments of the calls that `inference_models` users know."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from PIL.Image import Image as PillowImage

from gemma4_block.contract import GenerationConfig, RgbImage
from gemma4_block.errors import PromptError
from gemma4_block.images import ColorOrder, to_rgb
from gemma4_block.pictures import convert_picture, open_picture
from gemma4_block.settings import get_generation_defaults

Image = npt.NDArray[Any] | torch.Tensor | PillowImage | Path | str
"""An array, a tensor, an image of Pillow, or the path of a file."""

_SYSTEM_PROMPT_MARK = "<system_prompt>"


def split_system_prompt(prompt: str | None) -> tuple[str, str]:
    """Return question and system prompt, each the environment's default where it is missing.

    The split is at the first `<system_prompt>`; what follows, further marks included, is the system prompt.

    Args:
        prompt: The question, and a system prompt after the mark.

    Returns:
        Both.

    Raises:
        PromptError: It is no text.

    """
    if not isinstance(prompt, str | None):
        raise PromptError(f"The prompt is a {type(prompt).__name__}; it must be text.")
    defaults = get_generation_defaults()
    question, _, system = ("" if prompt is None else prompt).partition(_SYSTEM_PROMPT_MARK)
    return (
        question if question.strip() else defaults.image_prompt,
        system if system.strip() else defaults.system_prompt,
    )


def read_images(
    images: Image | list[Image], color_format: ColorOrder | None, *, max_pixels: int
) -> tuple[RgbImage, ...]:
    """Return one image, a list, or a `(N, C, H, W)` tensor as RGB images.

    Args:
        images: Arrays, tensors, Pillow's images, or paths of files.
        color_format: Of arrays and tensors; None means BGR for arrays and RGB for tensors.
        max_pixels: The operator's limit, which files and Pillow's images are held to before they are decoded.

    Returns:
        RGB images in the order given.

    Raises:
        PromptError: There is none, or one of them cannot be an image.

    """
    if isinstance(images, torch.Tensor) and images.ndim == 4:  # noqa: PLR2004 - a batch of images
        images = list(images.unbind())
    listed = images if isinstance(images, list) else [images]
    if not listed:
        raise PromptError("The list of images is empty. Give at least one, or ask about none with `answer`.")
    return tuple(read_image(image, color_format, max_pixels=max_pixels) for image in listed)


def read_image(image: Image, color_format: ColorOrder | None, *, max_pixels: int) -> RgbImage:
    """Return one image as RGB.

    Args:
        image: An array, a tensor, an image of Pillow, or the path of a file.
        color_format: Of an array or tensor; None means BGR for arrays and RGB for tensors.
        max_pixels: The operator's limit, which files and Pillow's images are held to before they are decoded.

    Returns:
        `(H, W, 3)` uint8 RGB.

    Raises:
        PromptError: It cannot be an image.
        ConfigurationError: The colour format is neither of the two.

    """
    if isinstance(image, str) and "://" in image:
        raise PromptError(
            f"{image!r} is an address; images are not fetched. Save the file and give its path."
        )
    if isinstance(image, str | Path):
        return open_picture(Path(image), max_pixels=max_pixels)
    if isinstance(image, PillowImage):
        return convert_picture(image, max_pixels=max_pixels)
    default: ColorOrder = "bgr" if isinstance(image, np.ndarray) else "rgb"
    return to_rgb(image, default if color_format is None else color_format)


def fill_generation(
    *,
    max_new_tokens: int | None,
    do_sample: bool | None,
    temperature: float | None,
    top_p: float | None,
    top_k: int | None,
    repetition_penalty: float | None,
    seed: int | None,
    stop: Sequence[str],
) -> GenerationConfig:
    """Fill what a call leaves open with `INFERENCE_MODELS_GEMMA4_DEFAULT_*`.

    Args:
        max_new_tokens: None means the default, as for all others.
        do_sample: Draw tokens by chance.
        temperature: Where tokens are drawn by chance.
        top_p: Where tokens are drawn by chance.
        top_k: Where tokens are drawn by chance.
        repetition_penalty: None means none.
        seed: None means a new draw every time.
        stop: Texts that end the answer.

    Returns:
        How to answer.

    Raises:
        ConfigurationError: The options cannot work together.

    """
    defaults = get_generation_defaults()
    is_sampled = defaults.do_sample if do_sample is None else do_sample
    if is_sampled:
        temperature = defaults.temperature if temperature is None else temperature
        top_p = defaults.top_p if top_p is None else top_p
        top_k = defaults.top_k if top_k is None else top_k
    return GenerationConfig(
        max_new_tokens=defaults.max_new_tokens if max_new_tokens is None else max_new_tokens,
        do_sample=is_sampled,
        temperature=temperature,
        top_p=top_p,
        top_k=top_k,
        repetition_penalty=repetition_penalty,
        seed=seed,
        # A text alone would be taken for a list of letters; the contract refuses it.
        stop=stop if isinstance(stop, str) else tuple(stop),  # type: ignore[arg-type]
    )
