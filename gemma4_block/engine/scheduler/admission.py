"""Say which sequences may run in one batch: how many, with how much padding, in how much memory."""

import logging
import time
from collections.abc import Callable
from typing import Final

import torch

from gemma4_block.engine.scheduler.sequence import Sequence

_LOGGER: Final = logging.getLogger(__name__)

# A batch is padded to its longest sequence. Up to so many tokens, padding included, that costs next to
# nothing: a decode step takes as long as reading the weights from memory does. This number is our choice.
_TOKENS_PADDED_FREELY: Final = 16_384
# The share of free memory that the KV cache may take. Sequences join and leave a batch by copies of it, and a
# forward pass needs memory of its own.
_LARGEST_SHARE: Final = 0.5
_BUDGET_LASTS_S: Final = 0.5
_RECOVERS_AFTER_S: Final = 10.0


class Admission:
    """Limits which sequences run in one batch.

    The KV cache that prompts and answers can grow to must fit into the memory that is free. Where memory runs
    out all the same, because other programs took it or the estimate was too low, less is admitted for a
    while; every ten seconds that go well double it, until the limit is gone.

    Args:
        max_sequences: Most sequences that are decoded at once, and most that are scored at once.
        measure: Returns how many bytes the KV cache of so many tokens takes.
        read_free: Returns how many bytes of the model's device are free; None where that is unknown.
        now: Seconds of a clock that never goes back.

    """

    def __init__(
        self,
        max_sequences: int,
        *,
        measure: Callable[[int], int],
        read_free: Callable[[], int | None],
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._max_sequences = max_sequences
        self._measure = measure
        self._read_free = read_free
        self._now = now
        # In bytes of final KV cache, as of `_budget_at`; None where free memory is unknown.
        self._budget: float | None = None
        self._budget_at = -_BUDGET_LASTS_S
        # In bytes of final KV cache; None unless memory ran out lately.
        self._limit: int | None = None
        self._wanted = 0
        self._doubles_at = 0.0

    def has_place(self, count: int) -> bool:
        """Say whether so many sequences may run at once."""
        return count <= self._max_sequences

    def fits(self, running: list[Sequence], new: list[Sequence]) -> bool:
        """Say whether memory holds new sequences beside the running ones, without much padding.

        A sequence alone is always tried.
        """
        together = [*running, *new]
        if len(together) == 1:
            return True
        if _count_padded_tokens(together) > _TOKENS_PADDED_FREELY and not _is_dense(together):
            return False
        needed = self._need(together)
        self._recover()
        if self._limit is not None and needed > self._limit:
            return False
        budget = self._find_budget(running)
        return budget is None or needed <= budget

    def ran_out(self, tried: list[Sequence], going_on: list[Sequence]) -> None:
        """Learn that memory did not hold the sequences that were tried, and that some of them go on."""
        self._wanted = max(self._wanted, self._need(tried))
        allowed = self._need(going_on)
        self._limit = allowed if self._limit is None else min(self._limit, allowed)
        self._budget_at = -_BUDGET_LASTS_S
        self._doubles_at = self._now() + _RECOVERS_AFTER_S
        _LOGGER.warning(
            "Memory ran out with %d sequences; %d go on, the others wait. More are tried after %.0f s.",
            len(tried),
            len(going_on),
            _RECOVERS_AFTER_S,
        )

    def _need(self, sequences: list[Sequence]) -> int:
        longest = max((one.final_length for one in sequences), default=0)
        return len(sequences) * self._measure(longest)

    def _recover(self) -> None:
        while self._limit is not None and self._now() >= self._doubles_at:
            self._limit = max(1, 2 * self._limit)
            self._doubles_at += _RECOVERS_AFTER_S
            if self._limit >= self._wanted:
                self._limit, self._wanted = None, 0
                _LOGGER.warning("Memory has not run out again; as much is worked on at once as before.")

    def _find_budget(self, running: list[Sequence]) -> float | None:
        # Asking the system takes longer than a step of a small model.
        if self._now() >= self._budget_at + _BUDGET_LASTS_S:
            free = self._read_free()
            held = len(running) * self._measure(max((one.length for one in running), default=0))
            self._budget = None if free is None else held + _LARGEST_SHARE * free
            self._budget_at = self._now()
        return self._budget


def can_begin_together(sequences: list[Sequence]) -> bool:
    """Say whether sequences can be prefilled as one batch: of one kind, similar length, and one pass."""
    kinds = {(one.is_scoring, one.prompt.batch_name) for one in sequences}
    return len(kinds) == 1 and _is_dense(sequences)


def is_out_of_memory(error: Exception) -> bool:
    """Say whether the device's memory was too small; on a CPU torch has no error of its own for that."""
    return isinstance(error, torch.OutOfMemoryError) or "DefaultCPUAllocator" in str(error)


def _is_dense(sequences: list[Sequence]) -> bool:
    """Say whether at most a third of a batch would be padding."""
    return 2 * _count_padded_tokens(sequences) <= 3 * sum(one.length for one in sequences)


def _count_padded_tokens(sequences: list[Sequence]) -> int:
    return len(sequences) * max(one.length for one in sequences)
