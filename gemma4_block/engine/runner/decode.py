"""Decode a batch of sequences token by token. Sequences join and leave between steps."""

import math

import torch

from gemma4_block.engine.runner.forward import NOT_FINITE, ForwardPasses
from gemma4_block.engine.runner.kv_cache import BatchCache, join_batches
from gemma4_block.engine.runner.prefill import Prefilled
from gemma4_block.engine.scheduler import Sequence
from gemma4_block.errors import PromptError


class RunningBatch:
    """The sequences that are being decoded, and their KV cache.

    A step that fails leaves both as they were, so that it can be tried again with fewer sequences.

    Args:
        passes: Of the model.

    Attributes:
        sequences: Those that go on, one for each row of the KV cache.

    """

    def __init__(self, passes: ForwardPasses) -> None:
        self._passes = passes
        self._batch: BatchCache | None = None
        # Of a step whose forward pass is done and whose tokens are not chosen yet.
        self._logits: torch.Tensor | None = None
        self.sequences: list[Sequence] = []

    def add(self, prefilled: Prefilled, sequences: list[Sequence]) -> None:
        """Choose the first token of new sequences, and add those that go on to the batch.

        Args:
            prefilled: Their KV cache and logits; it is used up.
            sequences: Those that were prefilled.

        """
        for sequence in sequences:
            sequence.mark_cached()
        choose_tokens(sequences, prefilled.logits)
        going_on = [place for place, one in enumerate(sequences) if one.state == "running"]
        if not going_on:
            return
        new = prefilled.batch
        if len(going_on) < len(sequences):
            new.select(going_on)
        running = [new] if self._batch is None else [self._batch, new]
        self._batch = join_batches(self._passes.model.make_cache, running)
        self.sequences = [*self.sequences, *(sequences[place] for place in going_on)]

    def step(self) -> None:
        """Decode one token of every sequence, and drop those that ended."""
        assert self._batch is not None, "a step needs sequences"
        if self._logits is None:
            texts = [sequence.uncached_ids for sequence in self.sequences]
            if self._passes.is_cut(texts):
                self._passes.fill(self._batch, [text[:-1] for text in texts])
                for sequence in self.sequences:
                    sequence.mark_cached(but_last=True)
                texts = [text[-1:] for text in texts]
            self._logits = self._passes.read(self._batch, texts)
            for sequence in self.sequences:
                sequence.mark_cached()
        choose_tokens(self.sequences, self._logits)
        self._logits = None
        self.drop_stopped()

    def drop_stopped(self) -> None:
        """Drop sequences that are not running any more."""
        going_on = [place for place, one in enumerate(self.sequences) if one.state == "running"]
        if len(going_on) == len(self.sequences):
            return
        if not going_on or self._batch is None:
            self.clear()
            return
        self._batch.select(going_on)
        self.sequences = [self.sequences[place] for place in going_on]
        if self._logits is not None:
            self._logits = self._logits[going_on]

    def clear(self) -> None:
        """Drop all sequences, whatever state a failure has left them in."""
        self.sequences, self._batch, self._logits = [], None, None


def choose_tokens(sequences: list[Sequence], logits: torch.Tensor) -> None:
    """Choose the next token of every sequence, and those after it that are forced.

    Args:
        sequences: Any number.
        logits: `(B, V)` float32, one row for each.

    """
    highest, likeliest = logits.max(dim=-1, keepdim=True)
    drawn = torch.cat([likeliest.float(), likeliest.float(), highest], dim=1)
    for place, sequence in enumerate(sequences):
        if not sequence.is_greedy:
            drawn[place, :2] = sequence.draw(logits[place])
    # One transfer from the device serves all sequences.
    for sequence, (token_id, log_probability, logit) in zip(sequences, drawn.tolist(), strict=True):
        if not math.isfinite(logit):
            sequence.fail(PromptError(NOT_FINITE))
            continue
        sequence.take(int(token_id), log_probability)
        sequence.take_forced(logits.shape[-1])
