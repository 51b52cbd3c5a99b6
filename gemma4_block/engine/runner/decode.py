"""Decode a batch of sequences token by token. Sequences join and leave between steps."""

import math
from dataclasses import dataclass
from itertools import islice

import torch

from gemma4_block.engine.runner.forward import NOT_FINITE, ForwardPasses
from gemma4_block.engine.runner.graphed import GraphedSteps, HeldBatch
from gemma4_block.engine.runner.kv_cache import BatchCache, join_batches
from gemma4_block.engine.runner.prefill import Prefilled
from gemma4_block.engine.runner.speculation import Speculator
from gemma4_block.engine.scheduler import Sequence
from gemma4_block.errors import PromptError


@dataclass(frozen=True, kw_only=True, slots=True)
class Drawn:
    """The tokens that were drawn in a step.

    Attributes:
        ids: One for each sequence.
        on_device: The same, `(B, 1)` int64 where the model computes.

    """

    ids: tuple[int, ...]
    on_device: torch.Tensor


class RunningBatch:
    """The sequences that are being decoded, and their KV cache.

    A step that fails leaves both as they were, so that it can be tried again with fewer sequences.

    Args:
        passes: Of the model.
        graphs: Decode steps of one token; None where the device has no graphs.
        speculator: Takes steps of several tokens; None leaves them out.

    Attributes:
        sequences: Those that go on, one for each row of the KV cache.

    """

    def __init__(
        self,
        passes: ForwardPasses,
        graphs: GraphedSteps | None = None,
        speculator: Speculator | None = None,
    ) -> None:
        self._passes = passes
        self._graphs = graphs
        self._speculator = speculator
        # The KV cache, which either grows or is in fixed places.
        self._batch: BatchCache | None = None
        self._held: HeldBatch | None = None
        # Of a step whose forward pass is done and whose tokens are not chosen yet.
        self._logits: torch.Tensor | None = None
        # Of the last step, where the rows are the same since.
        self._drawn: Drawn | None = None
        self.sequences: list[Sequence] = []

    def add(self, prefilled: Prefilled, sequences: list[Sequence]) -> None:
        """Choose the first token of new sequences, and add those that go on to the batch.

        Args:
            prefilled: Their KV cache and logits; it is used up.
            sequences: Those that were prefilled.

        """
        for sequence in sequences:
            sequence.mark_prefilled()
        choose_tokens(sequences, prefilled.logits[:, None])
        going_on = [place for place, one in enumerate(sequences) if one.state == "running"]
        if not going_on:
            return
        new = prefilled.batch
        if len(going_on) < len(sequences):
            new.select(going_on)
        running = [self._release(), new] if self.sequences else [new]
        self._batch = join_batches(self._passes.model.make_cache, running)
        self._drawn = None
        self.sequences = [*self.sequences, *(sequences[place] for place in going_on)]

    def step(self) -> None:
        """Decode one token of every sequence, or several that were guessed, and drop those that ended."""
        if self._logits is None and self._speculate():
            self._drawn = None
            self.drop_stopped()
            return
        if self._logits is None:
            with self._passes.for_rows(one.prompt for one in self.sequences):
                self._logits = self._read()
        self._drawn = choose_tokens(self.sequences, self._logits)
        self._logits = None
        self.drop_stopped()

    def drop_stopped(self) -> None:
        """Drop sequences that are not running any more."""
        if self._speculator is not None:
            self._speculator.remember(self.sequences)
        going_on = [place for place, one in enumerate(self.sequences) if one.state == "running"]
        if len(going_on) == len(self.sequences):
            return
        if not going_on:
            self.clear()
            return
        self._release().select(going_on)
        self._drawn = None
        self.sequences = [self.sequences[place] for place in going_on]
        if self._logits is not None:
            self._logits = self._logits[going_on]

    def clear(self) -> None:
        """Drop all sequences, whatever state a failure has left them in."""
        self.sequences, self._batch, self._held = [], None, None
        self._logits, self._drawn = None, None

    def _speculate(self) -> bool:
        """Take a step of several tokens, where that is better; only in a cache that grows."""
        if self._speculator is None or self._batch is None:
            return False
        return self._speculator.step(self._batch, self.sequences)

    def _read(self) -> torch.Tensor:
        """Put new tokens of every sequence into the KV cache, and return their logits `(B, K, V)`."""
        texts = [sequence.uncached_ids for sequence in self.sequences]
        held = self._hold(texts)
        if held is not None:
            logits = held.read(self._find_next([token_id for (token_id,) in texts]))
            self._mark_cached(texts)
            return logits
        batch = self._release()
        last = max(sequence.scored_positions for sequence in self.sequences)
        if self._passes.is_cut(texts) and last < max(map(len, texts)):
            begun = [text[:-last] for text in texts]
            self._passes.fill(batch, begun)
            self._mark_cached(begun)
            texts = [text[-last:] for text in texts]
        logits = self._passes.read(batch, texts, last=last)
        self._mark_cached(texts)
        return logits

    def _hold(self, texts: list[list[int]]) -> HeldBatch | None:
        """Return the KV cache in its places; None where the next step is not one that a graph can be of."""
        is_plain = all(len(text) == 1 for text in texts)
        is_base = all(one.prompt.adapter_name is None for one in self.sequences)
        if self._graphs is None or not is_plain or not is_base:
            return None
        if self._held is None or not self._held.has_place:
            self._held = self._graphs.hold(self._release())
            if self._held is not None:
                self._batch = None
        return self._held

    def _release(self) -> BatchCache:
        """Return the KV cache in the form that grows."""
        if self._held is not None:
            self._batch = self._held.release(self._passes.model)
            self._held = None
        assert self._batch is not None, "sequences have a KV cache"
        return self._batch

    def _find_next(self, ids: list[int]) -> list[int] | torch.Tensor:
        """Return the tokens that are read next, without a transfer where they are on the device already."""
        known = self._passes.model.replace_placeholders(ids)
        if self._drawn is not None and tuple(known) == self._drawn.ids:
            return self._drawn.on_device
        return known

    def _mark_cached(self, texts: list[list[int]]) -> None:
        for sequence, text in zip(self.sequences, texts, strict=True):
            sequence.mark_cached(len(text))


def choose_tokens(sequences: list[Sequence], logits: torch.Tensor) -> Drawn:
    """Choose the next token of every sequence, and those after it that are forced.

    Forced tokens that were read are scored on the way; where more of them follow, nothing is chosen.

    Args:
        sequences: Any number.
        logits: `(B, K, V)` float32, one row for each, its last position the last token that was read.

    Returns:
        What was drawn, the likeliest where nothing was to be chosen.

    """
    last = logits[:, -1]
    highest, likeliest = last.max(dim=-1, keepdim=True)
    drawn = torch.cat([likeliest.float().expand(-1, 3), highest], dim=1)
    forced = [_score_forced(one, row) for one, row in zip(sequences, logits, strict=True)]
    is_likeliest = True
    for place, sequence in enumerate(sequences):
        if sequence.is_read and not sequence.is_greedy:
            drawn[place, :3] = sequence.draw(last[place])
            is_likeliest = False
    # One transfer from the device serves all sequences.
    scored = [scores for scores in forced if scores is not None]
    values = torch.cat([drawn.flatten(), *scored]) if scored else drawn.flatten()
    numbers = iter(values.tolist())
    chosen = [list(islice(numbers, drawn.shape[1])) for _ in sequences]
    for sequence, scores, (token_id, allowed, free, logit) in zip(sequences, forced, chosen, strict=True):
        if scores is not None:
            sequence.take_free_scores(list(islice(numbers, len(scores))))
        if not math.isfinite(logit):
            sequence.fail(PromptError(NOT_FINITE))
        elif sequence.is_read:
            sequence.take(int(token_id), allowed, free)
            sequence.take_forced(logits.shape[-1])
    return Drawn(
        ids=tuple(int(token_id) for token_id, *_ in chosen),
        on_device=likeliest if is_likeliest else drawn[:, :1].long(),
    )


def _score_forced(sequence: Sequence, logits: torch.Tensor) -> torch.Tensor | None:
    """Return the log-probabilities among all tokens of forced ones, which logits `(K, V)` tell about."""
    ids = sequence.unscored_ids
    if not ids:
        return None
    # The position of a token tells about the one after it, and the last one about the next choice, if any.
    end = len(logits) - sequence.is_read
    before = logits[end - len(ids) : end]
    # Numbers as an index, because a tensor of them would have to travel to the device first.
    found = torch.stack([row[token_id] for row, token_id in zip(before, ids, strict=True)])
    return found - before.logsumexp(dim=-1)
