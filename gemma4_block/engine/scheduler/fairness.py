"""Keep the prompts of some callers from holding up the answers of others for long."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Final

from gemma4_block.engine.scheduler.request import Job

# Fewer are not worth a turn: writing four answers takes little longer than writing one.
# Source: steps of 1, 2, 4 and 8 rows by tests/benchmarks/few_rows.py.
_FEW: Final = 4
_SECONDS_AT_ONCE: Final = 1.0


class Pace:
    """Shares the time of a model between prompts that wait to be read and answers that are being written.

    On a CPU, a prompt with an image may take as long to read as a whole answer to write, and nothing is
    written meanwhile. If all prompts were read first, all callers would wait for the last. So the prompts of
    several callers are read few at a time, and then answers are written for as long as that took. Prompts of
    one call hold up nobody else. On a device that reads many prompts a second, all of this changes little.

    Args:
        now: Seconds of a clock that never goes back.

    """

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._seconds_each = 0.0
        # For how long answers are to be written before more prompts are read.
        self._owed_s = 0.0

    def lets_in(self, job: Job, picked: Sequence[Job], writing: Sequence[Job]) -> bool:
        """Say whether a prompt may be read now, beside those picked before, while answers are written."""
        if all(other.call is job.call for other in (*picked, *writing)):
            return True
        if writing and self._owed_s > 0:
            return False
        return len(picked) < _FEW or (len(picked) + 1) * self._seconds_each <= _SECONDS_AT_ONCE

    @contextmanager
    def reading(self, jobs: Sequence[Job], working: Sequence[Job]) -> Iterator[None]:
        """Measure how long it takes to read prompts, which are some or all of what is worked on."""
        # What has ended is taken away meanwhile.
        holds_up_others = len({job.call for job in working}) > 1
        started = self._now()
        yield
        seconds = self._now() - started
        self._seconds_each = seconds / len(jobs)
        self._owed_s = self._owed_s + seconds if holds_up_others else 0.0

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Measure how long it takes to write a token of every answer."""
        started = self._now()
        yield
        self._owed_s = max(0.0, self._owed_s - (self._now() - started))
