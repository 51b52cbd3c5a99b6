"""The model's own inputs as tensors, for callers who prepare, change or generate from them themselves."""

from collections.abc import Mapping, Sequence
from hashlib import blake2b

import torch
from torch.nn.utils.rnn import pad_sequence

from gemma4_block.engine.family import ImageProcessor
from gemma4_block.engine.preprocess.prepared import PreparedImage, PreparedPrompt, find_prefix
from gemma4_block.errors import ConfigurationError


def pad_texts(
    texts: Sequence[Sequence[int]], *, pad_token_id: int, device: torch.device
) -> dict[str, torch.Tensor]:
    """Return the tokens of a batch, padded on the left.

    Args:
        texts: Token ids, image placeholders included; at least one.
        pad_token_id: Fills the left.
        device: Where the tensors go.

    Returns:
        `input_ids` and `attention_mask`, each `(B, L)` int64.

    """
    longest = max(len(text) for text in texts)
    ids = torch.full((len(texts), longest), pad_token_id, dtype=torch.long)
    mask = torch.zeros_like(ids)
    for row, text in enumerate(texts):
        ids[row, longest - len(text) :] = torch.tensor(text, dtype=torch.long)
        mask[row, longest - len(text) :] = 1
    return {"input_ids": ids.to(device), "attention_mask": mask.to(device)}


def pad_images(images: Sequence[PreparedImage], *, device: torch.device) -> dict[str, torch.Tensor]:
    """Return the image part of the model's inputs.

    Args:
        images: Images with pixels, in the order of their placeholders.
        device: Where the tensors go.

    Returns:
        `pixel_values` `(N, P, C)` float32 and `image_position_ids` `(N, P, 2)` int64, 0 and -1 at the padding
        of images with fewer patches; nothing without images.

    """
    if not images:
        return {}
    pixels = [image.pixel_values for image in images if image.pixel_values is not None]
    positions = [image.position_ids for image in images if image.position_ids is not None]
    assert len(pixels) == len(positions) == len(images), "images were prepared without the cache"
    return {
        "pixel_values": pad_sequence(pixels, batch_first=True).to(device),
        "image_position_ids": pad_sequence(positions, batch_first=True, padding_value=-1).to(device),
    }


def make_model_inputs(
    prompts: Sequence[PreparedPrompt], *, pad_token_id: int, image_token_id: int, device: torch.device
) -> dict[str, torch.Tensor]:
    """Return what the model takes for prompts whose images have pixels.

    Args:
        prompts: At least one.
        pad_token_id: Fills shorter texts on the left.
        image_token_id: Marks the places of images.
        device: Where the tensors go.

    Returns:
        `input_ids`, `attention_mask` and `mm_token_type_ids`, `(B, L)` int64 each, the last one 1 at the
        places of images; with images also what `pad_images` returns.

    """
    inputs = pad_texts([prompt.input_ids for prompt in prompts], pad_token_id=pad_token_id, device=device)
    marks = {"mm_token_type_ids": (inputs["input_ids"] == image_token_id).long()}
    images = [image for prompt in prompts for image in prompt.images]
    return inputs | marks | pad_images(images, device=device)


def read_model_inputs(
    inputs: Mapping[str, torch.Tensor], *, image_token_id: int, image_processor: ImageProcessor
) -> list[PreparedPrompt]:
    """Return the prompts that tensors made by `make_model_inputs` hold.

    Args:
        inputs: Of any number of prompts.
        image_token_id: Marks the places of images.
        image_processor: Knows how many patches become a soft token.

    Returns:
        One for each row.

    Raises:
        ConfigurationError: The images are not those of the texts, or a row has no text.

    """
    images: list[PreparedImage] = []
    if "pixel_values" in inputs:
        images = _unpad_images(inputs["pixel_values"], inputs["image_position_ids"], image_processor)
    prompts = []
    mask = inputs.get("attention_mask", torch.ones_like(inputs["input_ids"]))
    for index, (row, is_real) in enumerate(zip(inputs["input_ids"], mask.bool(), strict=True)):
        ids = tuple(row[is_real].tolist())
        if not ids:
            raise ConfigurationError(f"Row {index} of input_ids has no token that counts. Leave it out.")
        places = left = ids.count(image_token_id)
        own: list[PreparedImage] = []
        while left > 0 and images:
            own.append(images.pop(0))
            left -= own[-1].soft_tokens
        if left:
            raise _strange_images(f"row {index} has {places} image tokens, and they do not make as many")
        prompts.append(
            PreparedPrompt(
                index=index,
                input_ids=ids,
                image_tokens=places,
                images=tuple(own),
                prefix_length=find_prefix(ids, image_token_id),
            )
        )
    if images:
        raise _strange_images(f"{len(images)} of their images have no image tokens")
    return prompts


def _unpad_images(
    pixel_values: torch.Tensor, position_ids: torch.Tensor, image_processor: ImageProcessor
) -> list[PreparedImage]:
    images = []
    for pixels, positions in zip(pixel_values.cpu(), position_ids.cpu(), strict=True):
        is_patch = (positions != -1).all(dim=-1)
        own = pixels[is_patch].contiguous()
        known_by = blake2b(own.float().numpy().tobytes(), digest_size=32)
        known_by.update(positions[is_patch].numpy().tobytes())
        images.append(
            PreparedImage(
                key=(known_by.digest(), tuple(own.shape), None, None, None),
                soft_tokens=image_processor.count_soft_tokens(len(own)),
                pixel_values=own,
                position_ids=positions[is_patch],
            )
        )
    return images


def _strange_images(problem: str) -> ConfigurationError:
    return ConfigurationError(
        f"pixel_values do not fit input_ids: {problem}. Give what pre_process_generation returned."
    )
