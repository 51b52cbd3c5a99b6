"""Group prompts into left-padded batches of one visual token budget."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch

from gemma4_block.contract import ImageSeqLength

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
        image_features: What the image processor returned, each with the images as first axis.
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
    image_features: dict[str, torch.Tensor]
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


def pad_batch(
    prompts: Sequence[PreparedPrompt], *, pad_token_id: int, image_token_id: int, device: torch.device
) -> dict[str, torch.Tensor]:
    """Return the model's inputs for a batch, padded on the left.

    Args:
        prompts: At least one, all of one budget.
        pad_token_id: Fills the left.
        image_token_id: Marks the places of soft tokens.
        device: Where the tensors go.

    Returns:
        `input_ids`, `attention_mask` and `mm_token_type_ids`, each `(B, L)` int64, the last 1 at
        image places; and the image tensors, concatenated in the order of the rows.

    """
    longest = max(len(prompt.input_ids) for prompt in prompts)
    ids = torch.full((len(prompts), longest), pad_token_id, dtype=torch.long)
    mask = torch.zeros_like(ids)
    for row, prompt in enumerate(prompts):
        length = len(prompt.input_ids)
        ids[row, longest - length :] = torch.tensor(prompt.input_ids)
        mask[row, longest - length :] = 1
    inputs = {
        "input_ids": ids,
        "attention_mask": mask,
        "mm_token_type_ids": (ids == image_token_id).long(),
    }
    names = {name for prompt in prompts for name in prompt.image_features}
    for name in sorted(names):
        inputs[name] = torch.cat([prompt.image_features[name] for prompt in prompts])
    return {name: tensor.to(device) for name, tensor in inputs.items()}
