"""A call to the engine: many prompts whose answers are awaited together."""

import time
from collections import deque
from threading import Event
from typing import TYPE_CHECKING

from gemma4_block.contract import FinishReason
from gemma4_block.engine.profiling import Profile
from gemma4_block.engine.scheduler.sequence import Sequence
from gemma4_block.errors import PromptError

if TYPE_CHECKING:
    from collections.abc import Callable

Outcome = Sequence | PromptError | FinishReason
"""A sequence that has ended, why a prompt cannot be asked, or why the request was over before it was."""


class Request:
    """The prompts of one call and their outcomes. The scheduler's lock guards what changes.

    Args:
        count: How many prompts it has.
        deadline: When it must end, by `time.monotonic`; None for never.
        cancelled: Set by another thread that does not want the answers any more.
        profile: Where its time goes.

    Attributes:
        count: As given.
        deadline: As given.
        profile: As given.
        outcomes: By the prompt's place in the call.
        waiting: Sequences that are not running.
        turn: When it was last served; the request with the lowest comes next.
        error: Why the whole request failed.
        is_withdrawn: Whether its caller has gone.
        on_outcome: Is called from any thread when a prompt has its outcome.
        done: Set when nothing is left to wait for.

    """

    def __init__(
        self,
        count: int,
        *,
        deadline: float | None = None,
        cancelled: Event | None = None,
        profile: Profile | None = None,
    ) -> None:
        self.count = count
        self.deadline = deadline
        self.profile = Profile(is_wanted=False) if profile is None else profile
        self.outcomes: dict[int, Outcome] = {}
        self.waiting: deque[Sequence] = deque()
        self.turn = 0
        self.error: Exception | None = None
        self.is_withdrawn = False
        self.on_outcome: Callable[[], None] | None = None
        self.done = Event()
        self._cancelled = cancelled
        self.check_done()

    @property
    def over(self) -> FinishReason | None:
        """Why no more work is worth while; None while it is."""
        is_cancelled = self._cancelled is not None and self._cancelled.is_set()
        if self.is_withdrawn or self.error is not None or is_cancelled:
            return "cancelled"
        is_late = self.deadline is not None and time.monotonic() >= self.deadline
        return "deadline" if is_late else None

    def release(self) -> None:
        """Drop what its caller has taken.

        Sequences and prefetcher refer to the request and it to them. Such a cycle, with the images in it,
        would stay in memory until the garbage collector runs.
        """
        self.on_outcome = None
        self.outcomes = {}
        self.error = None

    def check_done(self) -> None:
        """Wake the caller where nothing is left to wait for."""
        if self.error is not None or len(self.outcomes) == self.count:
            self.done.set()
