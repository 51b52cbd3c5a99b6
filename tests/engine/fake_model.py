"""A model that writes tokens of nothing, for tests of those that share it."""

import time
from collections.abc import Callable, Sequence

import torch

from gemma4_block.contract import FinishReason
from gemma4_block.engine.preprocess.prepared import PreparedPrompt
from gemma4_block.engine.profiling import StageClock
from gemma4_block.engine.scheduler.request import Call, Job
from gemma4_block.engine.scheduler.scheduler import Scheduler


class Reply:
    """A row that ends after so many tokens."""

    def __init__(self, tokens: int) -> None:
        self.tokens = tokens
        self.ids: list[int] = []
        self.failure = None
        self.finish_reason: FinishReason | None = None

    @property
    def is_ended(self) -> bool:
        """Whether nothing more comes."""
        return self.finish_reason is not None

    @property
    def is_answering(self) -> bool:
        """Whether thoughts are over."""
        return True

    def end(self, reason: FinishReason) -> None:
        """End where it stands."""
        self.finish_reason = reason

    def write(self) -> None:
        """Write a token."""
        self.ids.append(1)
        if len(self.ids) >= self.tokens:
            self.end("stop")


class FakeModel:
    """Writes tokens; runs out of memory above so many cells, and does what it is told before it works."""

    def __init__(self, *, cells: int = 10**9, before: Callable[[str], None] = lambda _: None) -> None:
        self.cells = cells
        self.before = before
        self.rows: list[Reply] = []
        self.kept = 0
        self.keeps = 0
        self.log: list[tuple[str, tuple[int, ...]]] = []

    def start(self, jobs: Sequence[Job]) -> None:
        """Read prompts."""
        self.before("start")
        self._check_memory(len(jobs) + len(self.rows), max(job.length for job in jobs))
        self.log.append(("start", tuple(job.prompt.index for job in jobs)))
        rows = [job.row for job in jobs]
        for row in rows:
            row.write()  # type: ignore[attr-defined]
        self.rows += [row for row in rows if not row.is_ended]  # type: ignore[misc]

    def score(self, jobs: Sequence[Job]) -> None:
        """Score alternatives."""
        self.before("score")
        self._check_memory(len(jobs) + len(self.rows), max(job.length for job in jobs))
        self.log.append(("score", tuple(job.prompt.index for job in jobs)))
        for job in jobs:
            job.scores = (0.0,)

    def step(self) -> None:
        """Write a token of every row."""
        self.before("step")
        self.log.append(("step", (len(self.rows),)))
        for row in self.rows:
            row.write()
        self.drop_ended()

    def drop_ended(self) -> None:
        """Let rows go."""
        self.rows = [row for row in self.rows if not row.is_ended]

    def clear(self) -> None:
        """Let all rows go."""
        self.rows = []

    def release(self) -> bool:
        """Drop what is kept."""
        self.kept, had = 0, self.kept
        return bool(had)

    def _check_memory(self, rows: int, length: int) -> None:
        is_too_much = rows * length + self.kept > self.cells
        # What is seen is kept, whatever becomes of the rest.
        self.kept += self.keeps
        if is_too_much:
            raise torch.OutOfMemoryError


def make_scheduler(
    model: FakeModel, *, max_rows: int = 4, now: Callable[[], float] = time.monotonic
) -> Scheduler:
    """Make a scheduler of the fake model."""
    return Scheduler(model, StageClock(torch.device("cpu")), max_rows=max_rows, now=now)


def make_call(
    scheduler: Scheduler,
    count: int,
    *,
    tokens: int = 2,
    length: int = 10,
    start: int = 0,
    choices: bool = False,
) -> Call:
    """Make a call whose jobs wait already."""
    call = Call(count=count)
    for place in range(count):
        prompt = PreparedPrompt(
            index=start + place,
            input_ids=(1,) * length,
            image_tokens=0,
            images=(),
            choices=(((1,),),) if choices else (),
        )
        scheduler.submit(Job(call=call, prompt=prompt, row=Reply(tokens)))  # type: ignore[arg-type]
    return call


def queue_up(scheduler: Scheduler, *calls: Call) -> None:
    """Let calls wait in the line, as those of other threads do."""
    scheduler._calls += calls
