"""Passes of one model over tokens: prompts with images at first, then more tokens of text in any row."""

import copy
from collections.abc import Sequence
from typing import Any

import torch

from gemma4_block.engine.preprocess.prepared import mark_images, pad_texts
from gemma4_block.engine.runner.kv_cache import Context, Prefix
from gemma4_block.engine.runner.masks import build_masks

# A pass over few positions takes about as long as a pass over one, so it is not worth cutting in two. A CPU
# is sooner busy. Source: measured there with E2B's widths, 274 ms for five positions whole and 157 ms cut.
_FEW_POSITIONS = 16
_FEW_POSITIONS_CPU = 4


class ModelPasses:
    """A model whose rows have contexts. Its calls must not overlap.

    In E2B and E4B the upper layers keep no keys and values: 20 of 35, and 18 of 42. What they make of a
    position goes nowhere but into the logits there, so all positions but the last skip them.

    Args:
        model: A loaded Gemma 4.
        pad_id: An id that it knows.

    """

    def __init__(self, model: Any, *, pad_id: int) -> None:  # noqa: ANN401 - one of several models
        self.model = model
        self.config = model.config.get_text_config()
        self._decoder = model.get_decoder()
        self._lower = _lower_layers(self._decoder)
        self._pad_id = pad_id
        names = ("image_token_id", "video_token_id", "audio_token_id")
        self._placeholders = {getattr(model.config, name, None) for name in names}
        self._layer_bytes = _layer_bytes(self._decoder)

    def size_of(self, length: int) -> int:
        """Return how many bytes the prefix of so many tokens takes."""
        return sum(
            min(length, window - 1) * size if window else length * size for size, window in self._layer_bytes
        )

    def begin(
        self,
        texts: Sequence[Sequence[int]],
        features: Sequence[torch.Tensor],
        *,
        prefix_lengths: Sequence[int],
    ) -> tuple[Context, torch.Tensor, list[Prefix | None]]:
        """Read whole prompts.

        Args:
            texts: Tokens of each prompt, image placeholders included.
            features: Of the images of all of them, in order.
            prefix_lengths: How much of each prompt's beginning to copy, fewer tokens than it has; 0 for none.

        Returns:
            The context, the logits `(B, V)` float32 after each prompt, and the copies.

        """
        inputs = self.pad(texts)
        counts = [len(text) for text in texts]
        context = Context.empty(self.config, len(texts))
        given: dict[str, torch.Tensor] = _embed(self.model, inputs["input_ids"], features)
        mask = inputs["attention_mask"]
        if any(prefix_lengths):
            context.record()
        # What the upper layers make of a last image token would be needed.
        ends_in_text = all(text[-1] != self.model.config.image_token_id for text in texts)
        if self._lower is not None and mask.shape[1] > 1 and ends_in_text:
            mask = mask[:, :-1]
            counts = [count - 1 for count in counts]
            run, kinds = self._lower, {}
            given = {name: tensor[:, :-1] for name, tensor in given.items()}
        else:
            run, kinds = self.model, {"mm_token_type_ids": self.mark_images(inputs), "logits_to_keep": 1}
        outputs = run(
            **given,
            **kinds,
            attention_mask=mask,
            position_ids=(mask.cumsum(dim=1) - 1).clamp(min=0),
            past_key_values=context.cache,
            use_cache=True,
        )
        context.grow(counts)
        prefixes = [
            context.take(row, length) if length else None for row, length in enumerate(prefix_lengths)
        ]
        context.trim()
        if run is self._lower:
            return context, self.extend(context, [text[-1:] for text in texts]), prefixes
        return context, outputs.logits[:, -1].float(), prefixes

    def extend(self, context: Context, texts: Sequence[Sequence[int]]) -> torch.Tensor:
        """Read on, in some rows more than in others.

        Args:
            context: Of the rows; it grows.
            texts: Tokens for each row, at least one; no images.

        Returns:
            The logits `(B, V)` float32 after the last of each row.

        """
        few = _FEW_POSITIONS_CPU if self.model.device.type == "cpu" else _FEW_POSITIONS
        if self._lower is not None and max(map(len, texts)) > few:
            self._run(self._lower, context, [text[:-1] for text in texts])
            texts = [text[-1:] for text in texts]
        # Without images the whole model only adds work: it looks for them at every step.
        last = self._run(self._decoder, context, texts)[:, -1]
        logits: torch.Tensor = self.model.get_output_embeddings()(last)
        cap = self.config.final_logit_softcapping
        if cap is not None:
            logits = torch.tanh(logits / cap) * cap
        return logits.float()

    def pad(self, texts: Sequence[Sequence[int]]) -> dict[str, torch.Tensor]:
        """Return the tokens of a batch, see `pad_texts`."""
        return pad_texts(texts, pad_token_id=self._pad_id, device=self.model.device)

    def mark_images(self, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
        """Return the `mm_token_type_ids` of a batch, see `mark_images` in batching."""
        return mark_images(inputs["input_ids"], self.model.config.image_token_id)

    def _run(self, layers: Any, context: Context, texts: Sequence[Sequence[int]]) -> torch.Tensor:  # noqa: ANN401
        counts = [len(text) for text in texts]
        placeholders, pad_id = self._placeholders, self.config.pad_token_id
        # A placeholder that the model has written stands for nothing: the whole model reads padding there.
        inputs = self.pad(
            [[pad_id if token_id in placeholders else token_id for token_id in text] for text in texts]
        )
        read = inputs["attention_mask"]
        before = torch.tensor(context.lengths, device=read.device)[:, None]
        positions = (before + read.cumsum(dim=1) - 1).clamp(min=0)
        if min(counts) < max(counts):
            context.record()
        hidden: torch.Tensor = layers(
            input_ids=inputs["input_ids"],
            attention_mask=self._masks(context, read, positions),
            position_ids=positions,
            past_key_values=context.cache,
            use_cache=True,
        ).last_hidden_state
        context.grow(counts)
        context.trim()
        return hidden

    def _masks(
        self, context: Context, read: torch.Tensor, positions: torch.Tensor
    ) -> dict[str, torch.Tensor | None]:
        size = read.shape[1]
        if size == 1 and not context.is_padded:
            # All that a layer has kept is before this token and in its window.
            return {"full_attention": None, "sliding_attention": None}
        earlier = torch.ones(size, size, dtype=torch.bool, device=read.device).tril()
        # Padding sees itself, because a row that sees nothing has no number as its result.
        itself = torch.eye(size, dtype=torch.bool, device=read.device)
        sees = (earlier & read.bool()[:, None]) | itself
        window = self.config.sliding_window
        masks = build_masks(context.mask(read.device), positions, sees, sliding_window=window)
        return dict(masks)


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


def _layer_bytes(decoder: Any) -> list[tuple[int, int | None]]:  # noqa: ANN401
    """Return what each layer keeps of a token, in bytes, and its window."""
    attentions = [layer.self_attn for layer in decoder.layers]
    return [
        (2 * attention.k_proj.out_features * decoder.dtype.itemsize, attention.sliding_window)
        for attention in attentions
        if not attention.is_kv_shared_layer
    ]


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
