"""Bring prompts to one length."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch.nn.utils.rnn import pad_sequence

from gemma4_block.engine.runner.vision import PreparedImage

ChoiceIds = tuple[tuple[tuple[int, ...], ...], ...]
"""Groups of alternatives as token ids."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PreparedPrompt:
    """A prompt whose text and images have become tensors.

    Attributes:
        index: Its place in the call.
        input_ids: Token ids, image placeholders expanded.
        image_tokens: How many of them are placeholders.
        images: What stands in the places of the placeholders, in order.
        prefix_length: How many tokens there are up to the last placeholder; 0 without any,
            or where nothing follows.
        schema: JSON Schema that the answer is held to; None where it is free.
        choices: What the answer is chosen from, each alternative also as text in `choice_texts`; empty where
            it is written.
        choice_texts: The same as the prompt gave them.
        needs_token_scores: Whether the answer should say how sure the model was of each token.

    """

    index: int
    input_ids: tuple[int, ...]
    image_tokens: int
    images: tuple[PreparedImage, ...]
    prefix_length: int = 0
    schema: str | None = None
    choices: ChoiceIds = ()
    choice_texts: tuple[tuple[str, ...], ...] = ()
    needs_token_scores: bool = False


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


def mark_images(input_ids: torch.Tensor, image_token_id: int) -> torch.Tensor:
    """Return the model's `mm_token_type_ids`: int64 like the tokens `(B, L)`, 1 at the places of images."""
    return (input_ids == image_token_id).long()


def pad_images(images: Sequence[PreparedImage], *, device: torch.device) -> dict[str, torch.Tensor]:
    """Return the image part of the model's inputs, for callers who know the model's own.

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


def find_prefix(input_ids: Sequence[int], image_token_id: int) -> int:
    """Return how many tokens of a prompt others may begin with as well.

    Args:
        input_ids: Of the prompt.
        image_token_id: Marks the places of soft tokens.

    Returns:
        Tokens up to the last image; 0 without any, or where nothing follows it.

    Example:
        >>> find_prefix([5, 9, 9, 6, 7], image_token_id=9)
        3
        >>> find_prefix([5, 6, 7], image_token_id=9)
        0

    """
    places = [place for place, token_id in enumerate(input_ids) if token_id == image_token_id]
    length = places[-1] + 1 if places else 0
    return length if length < len(input_ids) else 0
