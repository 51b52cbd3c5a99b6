"""Forward passes over a batch with a KV cache: whole prompts first, then more text for each sequence."""

from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager

import torch

from gemma4_block.engine.family import AttentionMasks, LanguageModel
from gemma4_block.engine.loading import AdapterBank
from gemma4_block.engine.preprocess import PreparedPrompt, pad_texts
from gemma4_block.engine.runner.kv_cache import BatchCache, Prefix
from gemma4_block.engine.runner.masks import build_masks

# A pass over so few positions is not cut in two, because it takes about as long as a pass over one. On a CPU
# the limit is lower: with E2B's widths five positions took 274 ms whole and 157 ms cut. To measure it again,
# compare the prefill stage of row W8 of tests/benchmarks/speed.py with and without the cut.
_FEW_POSITIONS = 16
_FEW_POSITIONS_CPU = 4

NOT_FINITE = (
    "The model's logits are not finite here: its weights are damaged, or overflow in this precision. Fetch "
    "them again, or use bfloat16 or float32."
)
"""The message of a prompt whose answer would mean nothing."""


class ForwardPasses:
    """A model and how it is run over batches. Its calls must not overlap.

    Args:
        model: The loaded model.
        pad_id: Pads shorter sequences; an id that the model knows.
        image_id: The placeholder of a soft token.
        adapters: Of the model.

    Attributes:
        model: As given.
        adapters: As given.

    """

    def __init__(self, model: LanguageModel, *, pad_id: int, image_id: int, adapters: AdapterBank) -> None:
        self.model = model
        self.adapters = adapters
        self._pad_id = pad_id
        self._image_id = image_id

    def for_rows(self, prompts: Iterable[PreparedPrompt]) -> AbstractContextManager[None]:
        """Let the passes inside use the adapter of each row's prompt; no pass is outside of this context."""
        return self.adapters.rows([prompt.adapter_name for prompt in prompts])

    def prefill(
        self,
        texts: Sequence[Sequence[int]],
        features: Sequence[torch.Tensor],
        *,
        prefix_lengths: Sequence[int],
    ) -> tuple[BatchCache, torch.Tensor, list[Prefix | None]]:
        """Prefill whole prompts.

        Args:
            texts: Tokens of each prompt, image placeholders included.
            features: Of the images of all of them, in order.
            prefix_lengths: How much of each prompt's beginning to copy, fewer tokens than it has; 0 for none.

        Returns:
            The cache, the logits `(B, V)` float32 after each prompt, and the copies.

        """
        inputs = pad_texts(texts, pad_token_id=self._pad_id, device=self.model.device)
        ids, mask = inputs["input_ids"], inputs["attention_mask"]
        batch = BatchCache(self.model.make_cache(), [0] * len(texts))
        if any(prefix_lengths):
            batch.record()
        # The last token needs all layers, and `extend`, which passes it through them, takes only text.
        ends_in_text = all(text[-1] != self._image_id for text in texts)
        logits: torch.Tensor | None = None
        if self.model.has_layers_without_cache and ids.shape[1] > 1 and ends_in_text:
            self.model.fill_cache_with_prompts(ids, mask, features, batch.cache)
            batch.grow([len(text) - 1 for text in texts])
        else:
            logits = self.model.read_prompts(ids, mask, features, batch.cache)
            batch.grow([len(text) for text in texts])
        prefixes = [
            batch.copy_prefix(row, length) if length else None for row, length in enumerate(prefix_lengths)
        ]
        batch.trim()
        if logits is None:
            logits = self.extend(batch, [text[-1:] for text in texts])
        return batch, logits, prefixes

    def extend(self, batch: BatchCache, texts: Sequence[Sequence[int]]) -> torch.Tensor:
        """Prefill more tokens of text, for some sequences more than for others.

        Args:
            batch: Of the sequences; it grows.
            texts: New tokens of each sequence, at least one; no images.

        Returns:
            The logits `(B, V)` float32 after the last token of each sequence.

        """
        if self.is_cut(texts):
            self.fill(batch, [text[:-1] for text in texts])
            texts = [text[-1:] for text in texts]
        return self.read(batch, texts, last=1)[:, -1]

    def is_cut(self, texts: Sequence[Sequence[int]]) -> bool:
        """Say whether two passes are faster: all tokens but the last through fewer layers, then the last."""
        few = _FEW_POSITIONS_CPU if self.model.device.type == "cpu" else _FEW_POSITIONS
        return self.model.has_layers_without_cache and max(map(len, texts)) > few

    def fill(self, batch: BatchCache, texts: Sequence[Sequence[int]]) -> None:
        """Put tokens into the KV cache, without logits.

        Args:
            batch: Of the sequences; it grows, or stays as it was where the pass fails.
            texts: New tokens of each sequence, none for some.

        """
        with batch.restored_on_failure():
            self.model.fill_cache(*self._place(batch, texts), batch.cache)
        batch.grow([len(text) for text in texts])
        batch.trim()

    def read(self, batch: BatchCache, texts: Sequence[Sequence[int]], *, last: int) -> torch.Tensor:
        """Put tokens into the KV cache, and return the logits after the last of them.

        Args:
            batch: Of the sequences; it grows, or stays as it was where the pass fails.
            texts: New tokens of each sequence, at least one.
            last: After how many tokens of the longest logits are wanted, at least one.

        Returns:
            The logits `(B, last, V)` float32, the last of each row after the last token of its sequence.
            A shorter sequence has nothing to tell at the beginning of its row.

        """
        with batch.restored_on_failure():
            logits = self.model.read_tokens(*self._place(batch, texts), batch.cache, last=last)
        batch.grow([len(text) for text in texts])
        batch.trim()
        return logits

    def read_likeliest(
        self, batch: BatchCache, texts: Sequence[Sequence[int]]
    ) -> tuple[list[list[int]], list[list[float]]]:
        """Put tokens into the KV cache that may be dropped again, and return the likeliest after each.

        Args:
            batch: Of the sequences; it grows, or stays as it was where the pass fails. `drop_last` comes
                next.
            texts: New tokens of each sequence, at least one.

        Returns:
            Ids and their logits, as many for each row as the longest has new tokens, its own at the end.

        """
        with batch.restored_on_failure():
            last = max(map(len, texts))
            logits = self.model.read_tokens(*self._place(batch, texts), batch.cache, last=last)
            highest, likeliest = logits.max(dim=-1)
        batch.grow([len(text) for text in texts])
        return likeliest.tolist(), highest.tolist()

    def _place(
        self, batch: BatchCache, texts: Sequence[Sequence[int]]
    ) -> tuple[torch.Tensor, AttentionMasks, torch.Tensor]:
        """Return ids, masks and positions of the new tokens of each sequence."""
        known = [self.model.replace_placeholders(text) for text in texts]
        inputs = pad_texts(known, pad_token_id=self._pad_id, device=torch.device("cpu"))
        is_text = inputs["attention_mask"]
        lengths = torch.tensor(batch.lengths)[:, None]
        positions = (lengths + is_text.cumsum(dim=1) - 1).clamp(min=0)
        # One transfer to a GPU for all of it.
        placed = torch.cat([inputs["input_ids"], positions, is_text, lengths], dim=1).to(self.model.device)
        ids, positions, is_text, lengths = placed.split([*[is_text.shape[1]] * 3, 1], dim=1)
        return ids, self._mask(batch, is_text, positions, lengths), positions

    def _mask(
        self, batch: BatchCache, is_text: torch.Tensor, positions: torch.Tensor, lengths: torch.Tensor
    ) -> AttentionMasks:
        size = is_text.shape[1]
        if size == 1 and not batch.is_padded:
            # All keys that a layer keeps are before this token and in its window.
            return {"full_attention": None, "sliding_attention": None}
        earlier = torch.ones(size, size, dtype=torch.bool, device=is_text.device).tril()
        # Padding sees itself, because the softmax over no key at all is NaN.
        itself = torch.eye(size, dtype=torch.bool, device=is_text.device)
        sees = (earlier & is_text.bool()[:, None]) | itself
        return build_masks(batch.mask(lengths), positions, sees, sliding_window=self.model.sliding_window)
