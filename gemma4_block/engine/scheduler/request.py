"""A call to the engine, and the prompts of it that are on their way to an answer."""

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from threading import Event

from gemma4_block.contract import FinishReason
from gemma4_block.engine.preprocess.prepared import PreparedPrompt
from gemma4_block.engine.profiling import Profile
from gemma4_block.engine.scheduler.sequence import Row
from gemma4_block.errors import PromptError


@dataclass(eq=False, kw_only=True, slots=True)
class Job:
    """A prompt on its way.

    Attributes:
        call: Whose it is.
        prompt: What is asked.
        row: What was answered so far.
        scores: How likely each alternative is, all groups in a row; None where there are none, or not yet.
        was_alone: Whether memory ran out on it alone before.

    """

    call: "Call"
    prompt: PreparedPrompt
    row: Row
    scores: tuple[float, ...] | None = None
    was_alone: bool = False

    @property
    def is_scoring(self) -> bool:
        """Whether alternatives are to be scored now; before that there may be thoughts to write."""
        return bool(self.prompt.choices) and self.row.is_answering

    @property
    def has_outcome(self) -> bool:
        """Whether nothing is left to do."""
        return self.prompt.index in self.call.outcomes

    @property
    def length(self) -> int:
        """How many tokens are to be read."""
        return len(self.prompt.input_ids) + len(self.row.ids)


Outcome = Job | PromptError | FinishReason
"""A job that has ended, why a prompt cannot be asked, or why the call was over before it was."""


@dataclass(eq=False, kw_only=True)
class Call:
    """A call: many prompts that wait for their answers together.

    Attributes:
        count: How many prompts it has.
        deadline: When it must end, by `time.monotonic`; None for never.
        cancelled: Set by somebody who does not want the answers any more.
        after_outcome: Is called for every prompt that has an outcome, from any thread.
        outcomes: By place in the call.
        waiting: Jobs that nobody works on.
        error: Why the whole call failed.
        is_forgotten: Whether nobody waits for it any more.
        turn: The lower, the longer ago it was its turn.
        profile: Where its time went.

    """

    count: int
    deadline: float | None = None
    cancelled: Event = field(default_factory=Event)
    after_outcome: Callable[[], None] = lambda: None
    outcomes: dict[int, Outcome] = field(default_factory=dict)
    waiting: deque[Job] = field(default_factory=deque)
    error: BaseException | None = None
    is_forgotten: bool = False
    turn: int = 0
    profile: Profile = field(default_factory=lambda: Profile(is_wanted=False))

    @property
    def is_done(self) -> bool:
        """Whether nothing is left to wait for."""
        return self.error is not None or len(self.outcomes) == self.count

    @property
    def over(self) -> FinishReason | None:
        """Why no more work is worth while; None while it is."""
        if self.is_forgotten or self.error is not None or self.cancelled.is_set():
            return "cancelled"
        is_late = self.deadline is not None and time.monotonic() >= self.deadline
        return "deadline" if is_late else None
