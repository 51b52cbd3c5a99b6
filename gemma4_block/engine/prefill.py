"""Read prompts: put image features in their places, and skip layers whose work nobody reads again."""

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from transformers import DynamicCache


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


class PromptReader:
    """Reads prompts with one model. Its calls must not overlap.

    In E2B and E4B the upper layers keep no keys and values: 20 of 35, and 18 of 42. What they make of a
    position goes nowhere but into the logits there, so all positions but the last skip them.

    Args:
        model: A loaded Gemma 4.

    """

    def __init__(self, model: Any) -> None:  # noqa: ANN401 - one of several models
        self._model = model
        self._lower = _lower_layers(model.get_decoder())

    def read(self, inputs: dict[str, torch.Tensor], features: Sequence[torch.Tensor]) -> Reading:
        """Run the model over prompts.

        Args:
            inputs: A left-padded batch as `pad_texts` returns it.
            features: Of the images of all rows, in order.

        Returns:
            What later steps go on from.

        """
        # Only this kind of cache keeps the image masks of the larger variants right. Source: unsloth issue
        # 6028.
        cache = DynamicCache(config=self._model.config.get_text_config())
        mask = inputs["attention_mask"]
        given = _embed(self._model, inputs["input_ids"], features)
        positions = positions_of(mask)
        types: torch.Tensor | None = inputs["mm_token_type_ids"]
        if self._lower is not None and mask.shape[1] > 1:
            self._lower(
                **{name: tensor[:, :-1] for name, tensor in given.items()},
                attention_mask=mask[:, :-1],
                position_ids=positions[:, :-1],
                past_key_values=cache,
                use_cache=True,
            )
            given = {name: tensor[:, -1:] for name, tensor in given.items()}
            positions = positions[:, -1:]
            # The last position of a prompt is text.
            types = None
        outputs = self._model(
            **given,
            attention_mask=mask,
            mm_token_type_ids=types,
            position_ids=positions,
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=1,
        )
        return Reading(cache=cache, mask=mask, logits=outputs.logits[:, -1].float())


def positions_of(mask: torch.Tensor) -> torch.Tensor:
    """Return the position of each token of a left-padded batch, `(B, L)` int64."""
    return (mask.cumsum(dim=-1) - 1).clamp(min=0)


def _lower_layers(decoder: Any) -> Any:  # noqa: ANN401 - one of several models
    """Return the text model up to its last layer that keeps keys and values; None where that is all of it.

    Weights are shared, and the text model itself stays as it is.
    """
    config = decoder.config
    shared = getattr(config, "num_kv_shared_layers", 0)
    # Where images are read both ways, the mask is made by the whole model.
    if not shared or config.use_bidirectional_attention is not None:
        return None
    lower = copy.copy(decoder)
    # The number of layers stays in the config, because the table of per-layer embeddings is cut by it.
    lower._modules = {**decoder._modules, "layers": decoder.layers[:-shared]}  # noqa: SLF001 - a view
    return lower


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
