"""Let the calls of all threads share one model: whoever waits works for all."""

from collections import deque
from collections.abc import Sequence
from threading import Condition
from typing import Protocol

import torch

from gemma4_block.engine.calls import Call, Job, Outcome
from gemma4_block.engine.stages import StageClock
from gemma4_block.errors import EngineError, Gemma4BlockError, OutOfMemoryError


class Worker(Protocol):
    """What works with the model, from one thread at a time."""

    def start(self, jobs: Sequence[Job]) -> None:
        """Read prompts, and begin to write their answers beside those that are being written."""

    def score(self, jobs: Sequence[Job]) -> None:
        """Read prompts, and score their alternatives."""

    def step(self) -> None:
        """Write a token of every answer that is being written."""

    def drop_ended(self) -> None:
        """Stop writing the answers that have ended without it."""

    def clear(self) -> None:
        """Stop writing all answers, whatever state a failure has left them in."""


class Scheduler:
    """One queue for all calls of a model.

    There is no thread of its own: one of the threads that wait leads, and works for all of them until its own
    call is done. Calls take turns, a prompt each. New prompts join between two steps, so they wait for a step
    at most, and not at all where nothing is running. When memory runs out, work begins again with half of it.

    Args:
        worker: Works with the model.
        clock: Learns which calls it works for.
        max_rows: Most prompts that are worked on at once.

    """

    def __init__(self, worker: Worker, clock: StageClock, *, max_rows: int) -> None:
        self._worker = worker
        self._clock = clock
        self._max_rows = max_rows
        # Rows times tokens; learnt from running out of memory.
        self._max_cells: int | None = None
        # Whose turn was longest ago comes first.
        self._calls: list[Call] = []
        self._running: list[Job] = []
        self._changed = Condition()
        self._is_led = False

    def run(self, call: Call) -> None:
        """Wait until every prompt of a call has its outcome, and work for all calls meanwhile.

        Args:
            call: Its jobs are submitted from any thread, before or meanwhile.

        Raises:
            EngineError: The engine failed.
            OutOfMemoryError: The device's memory does not hold one of its prompts alone.

        """
        with self._changed:
            self._calls.append(call)
        try:
            while self._await_lead(call):
                self._lead(call)
        finally:
            with self._changed:
                self._calls.remove(call)
                # Whoever leads next drops what an interrupted or failed call has left.
                call.is_forgotten = True
                call.waiting.clear()
        if call.error is not None:
            raise call.error

    def submit(self, job: Job) -> None:
        """Queue a job of a call."""
        with self._changed:
            job.call.waiting.append(job)
            self._changed.notify_all()

    def settle(self, call: Call, place: int, outcome: Outcome) -> None:
        """Give a prompt its outcome."""
        with self._changed:
            call.outcomes[place] = outcome
            self._changed.notify_all()
        call.after_outcome()

    def fail(self, call: Call, error: BaseException) -> None:
        """End a whole call with an error, which `run` raises."""
        with self._changed:
            call.error = error
            self._changed.notify_all()

    def _await_lead(self, call: Call) -> bool:
        """Wait for a call to be done, or for the lead; return whether it is the lead."""
        with self._changed:
            self._changed.wait_for(lambda: call.is_done or (not self._is_led and self._has_work()))
            if not call.is_done:
                self._is_led = True
            return not call.is_done

    def _has_work(self) -> bool:
        with self._changed:
            return bool(self._running) or any(call.waiting for call in self._calls)

    def _lead(self, call: Call) -> None:
        try:
            while not call.is_done and self._has_work():
                self._end_what_is_over()
                if batch := self._next_batch():
                    self._attempt(batch)
                if self._running:
                    self._attempt([])
        except BaseException:
            # Interrupted half-way, nobody knows where.
            self._begin_again(self._running)
            raise
        finally:
            with self._changed:
                self._is_led = False
                self._changed.notify_all()

    def _end_what_is_over(self) -> None:
        with self._changed:
            jobs = [*self._running, *(job for call in self._calls for job in call.waiting)]
            over = [(job, reason) for job in jobs if (reason := job.call.over) is not None]
            if not over:
                return
            for job, reason in over:
                job.row.end(reason)
                if job in job.call.waiting:
                    job.call.waiting.remove(job)
            self._running = [job for job in self._running if not job.row.is_ended]
        self._worker.drop_ended()
        for job, _ in over:
            self.settle(job.call, job.prompt.index, job)

    def _next_batch(self) -> list[Job]:
        """Take jobs that can begin together, from every call in turn."""
        picked: list[Job] = []
        with self._changed:
            line = deque(call for call in self._calls if call.waiting)
            blocked: set[bool] = set()
            while line:
                call = line.popleft()
                job = call.waiting[0]
                if job.is_scoring in blocked or not _go_together([*picked, job]):
                    continue
                if not self._fits_rows([*picked, job]):
                    # What comes later must not overtake it.
                    blocked.add(job.is_scoring)
                    continue
                if not self._fits_memory([*picked, job]):
                    break
                picked.append(call.waiting.popleft())
                self._calls.remove(call)
                self._calls.append(call)
                if call.waiting:
                    line.append(call)
        return picked

    def _fits_rows(self, jobs: Sequence[Job]) -> bool:
        # What is scored does not stay.
        beside = 0 if jobs[0].is_scoring else len(self._running)
        return beside + len(jobs) <= self._max_rows

    def _fits_memory(self, jobs: Sequence[Job]) -> bool:
        together = [*self._running, *jobs]
        return len(together) == 1 or self._max_cells is None or _count_cells(together) <= self._max_cells

    def _attempt(self, batch: Sequence[Job]) -> None:
        """Begin jobs, or without any let those that run go a step further."""
        jobs = [*self._running, *batch]
        failure: Exception | None = None
        try:
            with self._clock.working_for([call.profile for call in {job.call for job in batch or jobs}]):
                self._work(batch)
        except Exception as error:  # noqa: BLE001 - every caller of the batch gets it
            failure = error
        if failure is None:
            self._running = [job for job in jobs if job.scores is None]
            self._settle_ended(jobs)
        elif not isinstance(failure, torch.OutOfMemoryError):
            self._begin_again(self._running if batch else [])
            for call in {job.call for job in batch or jobs}:
                self.fail(call, _explain(failure))
        elif len(jobs) == 1:
            self._begin_again([])
            self.fail(jobs[0].call, _explain_memory(failure))
        else:
            self._max_cells = _count_cells(jobs) // 2
            # The frames of the failed pass hold its memory.
            failure.__traceback__ = None
            self._begin_again(jobs)

    def _work(self, batch: Sequence[Job]) -> None:
        if not batch:
            self._worker.step()
        elif batch[0].is_scoring:
            self._worker.score(batch)
        else:
            self._worker.start(batch)

    def _settle_ended(self, jobs: Sequence[Job]) -> None:
        ended = [job for job in jobs if job.scores is not None or job.row.is_ended]
        self._running = [job for job in self._running if job not in ended]
        for job in ended:
            if job.prompt.choices and job.scores is None and job.row.failure is None:
                # Its thought is written; now its alternatives can be scored.
                self.submit(job)
            else:
                self.settle(job.call, job.prompt.index, job)

    def _begin_again(self, jobs: Sequence[Job]) -> None:
        """Put jobs back in front; what they have written is read again with their prompts."""
        with self._changed:
            self._running = []
            self._worker.clear()
            for job in reversed(jobs):
                job.call.waiting.appendleft(job)


def _go_together(jobs: Sequence[Job]) -> bool:
    """Say whether jobs are of one kind, and no more than a third of them together would be padding."""
    kinds = {job.is_scoring for job in jobs}
    return len(kinds) == 1 and 2 * _count_cells(jobs) <= 3 * sum(job.length for job in jobs)


def _count_cells(jobs: Sequence[Job]) -> int:
    return len(jobs) * max(job.length for job in jobs)


def _explain(error: Exception) -> Exception:
    if isinstance(error, Gemma4BlockError):
        return error
    explained = EngineError(f"The model failed: {type(error).__name__}: {error}")
    explained.__cause__ = error
    return explained


def _explain_memory(error: Exception) -> OutOfMemoryError:
    explained = OutOfMemoryError(
        "The device has too little memory for a single prompt. Lower image_seq_length, or choose "
        "quantization nf4 or a smaller variant."
    )
    explained.__cause__ = error
    return explained
