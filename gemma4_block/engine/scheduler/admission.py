"""Say which prompts and answers fit together in one batch."""

from collections.abc import Sequence
from typing import Final

import torch

from gemma4_block.engine.scheduler.request import Job

# So many rows times tokens may be padding for the most part: it is little beside the weights.
_FREE_CELLS: Final = 16_384


class Room:
    """How much fits in memory together; it learns from running out of it.

    Args:
        max_rows: Most answers that are written at once, and most prompts that are scored at once.

    """

    def __init__(self, max_rows: int) -> None:
        self._max_rows = max_rows
        # Rows times tokens; None until memory has run out.
        self._max_cells: int | None = None

    def has_rows(self, count: int) -> bool:
        """Say whether so many may be worked on at once."""
        return count <= self._max_rows

    def holds(self, jobs: Sequence[Job]) -> bool:
        """Say whether memory holds these together without much padding; one alone is always tried."""
        if len(jobs) == 1:
            return True
        cells = _count_cells(jobs)
        if self._max_cells is not None and cells > self._max_cells:
            return False
        return cells <= _FREE_CELLS or _is_dense(jobs)

    def halve(self, jobs: Sequence[Job]) -> None:
        """Learn that memory did not hold these together."""
        cells = len(jobs) * max(len(job.prompt.input_ids) for job in jobs)
        self._max_cells = cells // 2 if self._max_cells is None else min(self._max_cells, cells // 2)


def go_together(jobs: Sequence[Job]) -> bool:
    """Say whether jobs can begin as one batch: they are of one kind and of similar length."""
    return len({job.is_scoring for job in jobs}) == 1 and _is_dense(jobs)


def is_out_of_memory(error: Exception) -> bool:
    """Say whether the device's memory was too small; on a CPU torch has no error of its own for that."""
    return isinstance(error, torch.OutOfMemoryError) or "DefaultCPUAllocator" in str(error)


def _is_dense(jobs: Sequence[Job]) -> bool:
    """Say whether no more than a third of some rows would be padding."""
    return 2 * _count_cells(jobs) <= 3 * sum(job.length for job in jobs)


def _count_cells(jobs: Sequence[Job]) -> int:
    return len(jobs) * max(job.length for job in jobs)
