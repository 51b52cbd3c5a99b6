"""Keep the prefill of some requests from holding up the decoding of others for long."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from gemma4_block.engine.scheduler.sequence import Sequence

# Fewer are not worth a prefill of their own: a decode step of four sequences takes little longer than of one.
# Source: steps of 1, 2, 4 and 8 sequences by tests/benchmarks/few_rows.py.
_FEW: Final = 4
_SECONDS_AT_ONCE: Final = 1.0


class Pacer:
    """Shares the time of a model between prefill and decode.

    On a CPU, the prefill of a prompt with an image may take as long as the decoding of a whole answer, and no
    sequence is decoded meanwhile. If all prompts were prefilled first, all callers would wait for the last.
    So the prompts of several requests are prefilled a few at a time, and then sequences are decoded for as
    long as that took. Prompts of one request alone are not held back, and neither are those about images that
    a sequence at work was asked about, by the same adapter. Where prefill is fast, as on a GPU, this changes
    little.

    Args:
        now: Seconds of a clock that never goes back.

    """

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._prefill_s_each = 0.0
        # For how long sequences are to be decoded before more prompts are prefilled.
        self._owed_s = 0.0

    def allows(self, sequence: Sequence, picked: list[Sequence], running: list[Sequence]) -> bool:
        """Say whether a prompt may be prefilled now, with those picked before, while others are running."""
        others = (*picked, *running)
        if all(other.request is sequence.request for other in others):
            return True
        # The tower and the prefix cache have its images already, so that its prefill takes no time to speak
        # of.
        if sequence.prompt.image_keys and any(
            (other.prompt.image_keys, other.prompt.adapter)
            == (sequence.prompt.image_keys, sequence.prompt.adapter)
            for other in others
        ):
            return True
        if running and self._owed_s > 0:
            return False
        return len(picked) < _FEW or (len(picked) + 1) * self._prefill_s_each <= _SECONDS_AT_ONCE

    @contextmanager
    def prefill(self, picked: list[Sequence], running: list[Sequence]) -> Iterator[None]:
        """Measure how long the prefill of prompts takes while others are running."""
        holds_up_others = len({one.request for one in (*picked, *running)}) > 1
        started = self._now()
        yield
        seconds = self._now() - started
        self._prefill_s_each = seconds / len(picked)
        self._owed_s = self._owed_s + seconds if holds_up_others else 0.0

    @contextmanager
    def decode(self) -> Iterator[None]:
        """Measure how long a decode step takes."""
        started = self._now()
        yield
        self._owed_s = max(0.0, self._owed_s - (self._now() - started))
