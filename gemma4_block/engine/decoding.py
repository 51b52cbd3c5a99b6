"""Read prompts and write their replies, token by token, one batch at a time."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from transformers import DynamicCache

from gemma4_block.engine.row import Row


@dataclass(frozen=True, kw_only=True, slots=True)
class Reading:
    """A batch of prompts that the model has read.

    Attributes:
        cache: Keys and values of every position, as far as layers look back.
        mask: `(B, L)` int64, 0 at padding.
        logits: `(B, V)` float32, what comes after each prompt.

    """

    cache: DynamicCache
    mask: torch.Tensor
    logits: torch.Tensor


def read_prompts(
    model: Any,  # noqa: ANN401 - one of several models
    inputs: dict[str, torch.Tensor],
    features: Sequence[torch.Tensor],
) -> Reading:
    """Run the model over prompts.

    Args:
        model: A loaded Gemma 4.
        inputs: A left-padded batch as `pad_texts` returns it.
        features: Of the images of all rows, in order.

    Returns:
        What later steps go on from.

    """
    # Only this kind of cache keeps the image masks of the larger variants right. Source: unsloth issue 6028.
    cache = DynamicCache(config=model.config.get_text_config())
    mask = inputs["attention_mask"]
    outputs = model(
        **_embed(model, inputs["input_ids"], features),
        attention_mask=mask,
        mm_token_type_ids=inputs["mm_token_type_ids"],
        position_ids=_positions(mask),
        past_key_values=cache,
        use_cache=True,
        logits_to_keep=1,
    )
    return Reading(cache=cache, mask=mask, logits=outputs.logits[:, -1].float())


def write_replies(model: Any, reading: Reading, rows: Sequence[Row], *, pad_id: int) -> None:  # noqa: ANN401
    """Let every row choose tokens until all have ended. Rows that end leave the batch.

    Args:
        model: A loaded Gemma 4.
        reading: The rows' prompts; its cache is used up.
        rows: One for each prompt, none of them ended.
        pad_id: An id that the model knows.

    """
    cache, mask, logits = reading.cache, reading.mask, reading.logits
    active = list(rows)
    while True:
        _choose(active, logits)
        going = [place for place, row in enumerate(active) if not row.is_ended]
        if not going:
            return
        if len(going) < len(active):
            kept = torch.tensor(going, device=mask.device)
            cache.batch_select_indices(kept)
            mask = mask[kept]
            active = [active[place] for place in going]
        ids = [[row.ids[-1] if row.ids else pad_id] for row in active]
        mask = torch.cat([mask, mask.new_ones(len(active), 1)], dim=1)
        outputs = model(
            input_ids=torch.tensor(ids, device=mask.device),
            attention_mask=mask,
            position_ids=_positions(mask)[:, -1:],
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=1,
        )
        logits = outputs.logits[:, -1].float()


def _embed(
    model: Any,  # noqa: ANN401
    input_ids: torch.Tensor,
    features: Sequence[torch.Tensor],
) -> dict[str, torch.Tensor]:
    """Put the features of images in their places, as the model itself does with pixels."""
    text_config = model.config.get_text_config()
    is_image = input_ids == model.config.image_token_id
    # Placeholders are beyond the table of some models, and count as padding in per-layer embeddings.
    ids = input_ids.masked_fill(is_image, text_config.pad_token_id)
    embeddings = model.get_input_embeddings()(ids)
    if features:
        seen = torch.cat(list(features)).to(embeddings.dtype)
        embeddings = embeddings.masked_scatter(is_image[..., None], seen)
    inputs = {"inputs_embeds": embeddings}
    if getattr(text_config, "hidden_size_per_layer_input", 0):
        inputs["per_layer_inputs"] = model.get_decoder().get_per_layer_inputs(ids, None)
    return inputs


def _choose(rows: Sequence[Row], logits: torch.Tensor) -> None:
    # One transfer from the device serves all rows that want nothing but the likeliest token.
    likeliest = logits.argmax(dim=-1).tolist() if any(row.is_plain for row in rows) else []
    for place, row in enumerate(rows):
        if row.is_plain:
            row.accept(likeliest[place])
        else:
            row.choose(logits[place])


def _positions(mask: torch.Tensor) -> torch.Tensor:
    return (mask.cumsum(dim=-1) - 1).clamp(min=0)
