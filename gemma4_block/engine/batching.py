"""Group prompts into left-padded batches of one visual token budget."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch.nn.utils.rnn import pad_sequence

from gemma4_block.contract import ImageSeqLength
from gemma4_block.engine.vision import PreparedImage

ChoiceIds = tuple[tuple[tuple[int, ...], ...], ...]
"""Groups of alternatives as token ids."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PreparedPrompt:
    """A prompt whose text and images have become tensors.

    Attributes:
        index: Its place in the call.
        input_ids: Token ids, image placeholders expanded.
        image_tokens: How many of them are placeholders.
        image_seq_length: The budget of its images; None where it has none.
        images: What stands in the places of the placeholders, in order.
        schema: JSON Schema that the answer is held to; None where it is free.
        choices: What the answer is chosen from, each alternative also as text in `choice_texts`; empty where
            it is written.
        choice_texts: The same as the prompt gave them.
        needs_token_scores: Whether the answer should say how sure the model was of each token.

    """

    index: int
    input_ids: tuple[int, ...]
    image_tokens: int
    image_seq_length: ImageSeqLength | None
    images: tuple[PreparedImage, ...]
    schema: str | None = None
    choices: ChoiceIds = ()
    choice_texts: tuple[tuple[str, ...], ...] = ()
    needs_token_scores: bool = False


def group_prompts(
    prompts: Sequence[PreparedPrompt], *, max_batch_size: int
) -> Iterator[list[PreparedPrompt]]:
    """Yield batches of at most `max_batch_size` prompts that share a budget, neighbours in length.

    Prompts without images form groups of their own: they need no vision tensors. So do those whose answers
    are chosen: they need no writing.
    """
    groups: dict[tuple[ImageSeqLength | None, bool], list[PreparedPrompt]] = defaultdict(list)
    for prompt in prompts:
        groups[prompt.image_seq_length, bool(prompt.choices)].append(prompt)
    for group in groups.values():
        by_length = sorted(group, key=lambda prompt: len(prompt.input_ids))
        for start in range(0, len(by_length), max_batch_size):
            yield by_length[start : start + max_batch_size]


def pad_texts(
    texts: Sequence[Sequence[int]], *, pad_token_id: int, image_token_id: int, device: torch.device
) -> dict[str, torch.Tensor]:
    """Return the text part of the model's inputs for a batch, padded on the left.

    Args:
        texts: Token ids, image placeholders included; at least one.
        pad_token_id: Fills the left.
        image_token_id: Marks the places of soft tokens.
        device: Where the tensors go.

    Returns:
        `input_ids`, `attention_mask` and `mm_token_type_ids`, each `(B, L)` int64, the last 1 at
        image places.

    """
    longest = max(len(text) for text in texts)
    ids = torch.full((len(texts), longest), pad_token_id, dtype=torch.long)
    mask = torch.zeros_like(ids)
    for row, text in enumerate(texts):
        ids[row, longest - len(text) :] = torch.tensor(text)
        mask[row, longest - len(text) :] = 1
    inputs = {
        "input_ids": ids,
        "attention_mask": mask,
        "mm_token_type_ids": (ids == image_token_id).long(),
    }
    return {name: tensor.to(device) for name, tensor in inputs.items()}


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
