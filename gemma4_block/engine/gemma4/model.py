"""The loaded Gemma 4 behind the engine's types; no other package knows the model's attributes."""

import copy
from collections.abc import Sequence
from typing import Any

import torch
from transformers import Cache, DynamicCache

from gemma4_block.engine.family import AttentionMasks
from gemma4_block.engine.gemma4.gpu_experts import count_tokens_without_waiting


class Gemma4Model:
    """A `LanguageModel`: Gemma 4 of any size, text model and vision tower.

    In E2B and E4B the upper layers keep no keys and values: 20 of 35, and 18 of 42. Their output at a
    position is used for the logits of that position only, so all positions but the last skip them.

    Args:
        module: The transformers model in evaluation mode.

    Attributes:
        module: As given.

    """

    def __init__(self, module: Any) -> None:  # noqa: ANN401 - one of several classes
        self.module = module
        self._config = module.config.get_text_config()
        self._decoder = module.get_decoder()
        names = ("image_token_id", "video_token_id", "audio_token_id")
        self._placeholders = {getattr(module.config, name, None) for name in names}
        self._has_lower = _lower_layers(self._decoder) is not None
        self._layer_bytes = _layer_bytes(self._decoder)
        tensors = (*module.parameters(), *module.buffers())
        # Embedding and output layer share theirs. What oneDNN has packed has no address.
        sizes = {id(one) if one.is_mkldnn else one.data_ptr(): one.nbytes for one in tensors}
        self._nbytes: int = sum(sizes.values())

    @property
    def device(self) -> torch.device:
        """Where it computes."""
        device: torch.device = self.module.device
        return device

    @property
    def nbytes(self) -> int:
        """Size of its weights in memory, without those of adapters that are added later."""
        return self._nbytes

    @property
    def vocabulary_size(self) -> int:
        """Entries of its vocabulary, which may be more than the tokenizer's."""
        size: int = self._config.vocab_size
        return size

    @property
    def sliding_window(self) -> int:
        """How many tokens a sliding layer sees, the token itself included."""
        window: int = self._config.sliding_window
        return window

    @property
    def has_layers_without_cache(self) -> bool:
        """Whether upper layers keep no keys and values, so that only the last token needs them."""
        return self._has_lower

    @property
    def most_rows_without_waiting(self) -> int | None:
        """Of how many rows a step of one token never waits for the device; None for any number."""
        config = self._config
        if not getattr(config, "enable_moe_block", False):
            return None
        return count_tokens_without_waiting(experts=config.num_experts, chosen=config.top_k_experts)

    @property
    def _lower(self) -> Any:  # noqa: ANN401 - the text model with fewer layers, or None
        # Made anew at every use, because adapters replace modules of the text model.
        return _lower_layers(self._decoder)

    def make_cache(self) -> DynamicCache:
        """Return an empty KV cache with the layers that this model needs."""
        # Only this kind of cache keeps the image masks of the larger variants right. Source:
        # https://github.com/unslothai/unsloth/issues/6028.
        return DynamicCache(config=self._config)

    def measure_cache(self, length: int) -> int:
        """Return how many bytes the KV cache of so many tokens takes."""
        return sum(
            min(length, window - 1) * size if window else length * size for size, window in self._layer_bytes
        )

    def replace_placeholders(self, ids: Sequence[int]) -> list[int]:
        """Return generated ids with padding in the place of placeholders, which stand for nothing."""
        # transformers' whole model puts padding there as well.
        pad_id = self._config.pad_token_id
        return [pad_id if token_id in self._placeholders else token_id for token_id in ids]

    def encode_images(self, pixel_values: torch.Tensor, position_ids: torch.Tensor) -> Sequence[torch.Tensor]:
        """Return the features `(soft_tokens, hidden)` of images with equally many patches."""
        outputs = self.module.get_image_features(
            pixel_values=pixel_values.to(self.device),
            image_position_ids=position_ids.to(self.device),
            return_dict=True,
        )
        features: Sequence[torch.Tensor] = outputs.pooler_output
        return features

    def fill_cache_with_prompts(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor,
        features: Sequence[torch.Tensor],
        cache: DynamicCache,
    ) -> None:
        """Put all tokens but the last into the cache, through the layers that keep any."""
        embedded = self._embed(input_ids, features)
        self._forward(
            self._lower,
            {name: tensor[:, :-1] for name, tensor in embedded.items()},
            attention_mask=attention_mask[:, :-1],
            positions=_positions(attention_mask[:, :-1]),
            cache=cache,
        )

    def read_prompts(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor,
        features: Sequence[torch.Tensor],
        cache: DynamicCache,
    ) -> torch.Tensor:
        """Put all tokens into the cache, and return the logits `(B, V)` float32 after the last."""
        outputs = self.module(
            **self._embed(input_ids, features),
            mm_token_type_ids=(input_ids == self.module.config.image_token_id).long(),
            logits_to_keep=1,
            attention_mask=attention_mask,
            position_ids=_positions(attention_mask),
            past_key_values=cache,
            use_cache=True,
        )
        logits: torch.Tensor = outputs.logits[:, -1]
        return logits.float()

    def predict(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor,
        features: Sequence[torch.Tensor],
        *,
        last: int,
    ) -> torch.Tensor:
        """Return the logits `(B, last, V)` float32 after the last tokens, without a cache, for training."""
        outputs = self.module(
            **self._embed(input_ids, features),
            mm_token_type_ids=(input_ids == self.module.config.image_token_id).long(),
            logits_to_keep=last,
            attention_mask=attention_mask,
            position_ids=_positions(attention_mask),
            use_cache=False,
        )
        logits: torch.Tensor = outputs.logits
        return logits.float()

    def fill_cache(
        self, input_ids: torch.Tensor, masks: AttentionMasks, positions: torch.Tensor, cache: DynamicCache
    ) -> None:
        """Put more tokens of text into the cache, through the layers that keep any."""
        self._forward(
            self._lower, {"input_ids": input_ids}, attention_mask=masks, positions=positions, cache=cache
        )

    def read_tokens(
        self,
        input_ids: torch.Tensor,
        masks: AttentionMasks,
        positions: torch.Tensor,
        cache: Cache,
        *,
        last: int,
    ) -> torch.Tensor:
        """Put more tokens of text into the cache, and return the logits `(B, last, V)` float32."""
        # The text model alone: the whole model also looks for images at every step.
        hidden: torch.Tensor = self._forward(
            self._decoder, {"input_ids": input_ids}, attention_mask=masks, positions=positions, cache=cache
        ).last_hidden_state
        logits: torch.Tensor = self.module.get_output_embeddings()(hidden[:, -last:])
        cap = self._config.final_logit_softcapping
        if cap is not None:
            # In place, because those of many positions are the largest tensors that there are.
            logits = logits.div_(cap).tanh_().mul_(cap)
        return logits.float()

    def _forward(
        self,
        layers: Any,  # noqa: ANN401 - the text model, or its lower part
        tokens: dict[str, torch.Tensor],
        *,
        attention_mask: torch.Tensor | AttentionMasks,
        positions: torch.Tensor,
        cache: Cache,
    ) -> Any:  # noqa: ANN401 - an output of transformers
        return layers(
            **tokens,
            attention_mask=attention_mask
            if isinstance(attention_mask, torch.Tensor)
            else dict(attention_mask),
            position_ids=positions,
            past_key_values=cache,
            use_cache=True,
        )

    def _embed(self, input_ids: torch.Tensor, features: Sequence[torch.Tensor]) -> dict[str, torch.Tensor]:
        """Put the features of images in their places, as the model itself does with pixels."""
        is_image = input_ids == self.module.config.image_token_id
        # Placeholders are beyond the table of some models, and count as padding in per-layer embeddings.
        ids = input_ids.masked_fill(is_image, self._config.pad_token_id)
        embeddings = self.module.get_input_embeddings()(ids)
        if features:
            seen = torch.cat(list(features)).to(embeddings.dtype)
            embeddings = embeddings.masked_scatter(is_image[..., None], seen)
        inputs = {"inputs_embeds": embeddings}
        if getattr(self._config, "hidden_size_per_layer_input", 0):
            inputs["per_layer_inputs"] = self._decoder.get_per_layer_inputs(ids, None)
        return inputs


def _positions(attention_mask: torch.Tensor) -> torch.Tensor:
    """Return the place in the text of each token `(B, L)` int64, 0 at padding."""
    return (attention_mask.cumsum(dim=1) - 1).clamp(min=0)


def _lower_layers(decoder: Any) -> Any:  # noqa: ANN401 - one of several classes
    """Return the text model up to its last layer that keeps keys and values; None where that is all of it.

    Weights are shared, and the text model itself stays as it is.
    """
    config = decoder.config
    shared = getattr(config, "num_kv_shared_layers", 0)
    # Where attention within images is bidirectional, the whole model makes the mask.
    if not shared or config.use_bidirectional_attention is not None:
        return None
    lower = copy.copy(decoder)
    # The number of layers stays in the config, because the table of per-layer embeddings is cut by it.
    lower._modules = {**decoder._modules, "layers": decoder.layers[:-shared]}  # noqa: SLF001 - a view
    return lower


def _layer_bytes(decoder: Any) -> list[tuple[int, int | None]]:  # noqa: ANN401 - one of several classes
    """Return what each layer keeps of a token, in bytes, and its window."""
    attentions = [layer.self_attn for layer in decoder.layers]
    return [
        (2 * attention.k_proj.out_features * decoder.dtype.itemsize, attention.sliding_window)
        for attention in attentions
        if not attention.is_kv_shared_layer
    ]
