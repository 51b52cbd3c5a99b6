"""Let the calls of all threads share one model: whoever waits works for all."""

import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from itertools import count
from threading import Condition
from traceback import clear_frames
from typing import Protocol

from gemma4_block.engine.profiling import StageClock
from gemma4_block.engine.scheduler.admission import Room, go_together, is_out_of_memory
from gemma4_block.engine.scheduler.fairness import Pace
from gemma4_block.engine.scheduler.request import Call, Job, Outcome
from gemma4_block.errors import EngineError, OutOfMemoryError


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
        """Stop writing all answers, whatever state a failure has left them in; must not raise."""

    def release(self) -> bool:
        """Drop what is kept of earlier prompts, and return whether that was anything."""


class Scheduler:
    """One queue for all calls of a model.

    There is no thread of its own: one of the threads that wait leads, and works for all of them until its own
    call is done. Calls take turns, a prompt each. New prompts join between two steps, where there is room, at
    the pace that the answers of others allow. When memory runs out, work begins again with half of it.

    Args:
        worker: Works with the model.
        clock: Learns which calls it works for.
        max_rows: Most replies that are written at once, and most prompts that are scored at once.
        now: Seconds of a clock that never goes back.

    """

    def __init__(
        self,
        worker: Worker,
        clock: StageClock,
        *,
        max_rows: int,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._worker = worker
        self._clock = clock
        self._room = Room(max_rows)
        self._pace = Pace(now)
        self._calls: list[Call] = []
        # Taken from their calls, and without an outcome yet.
        self._working: list[Job] = []
        self._turns = count()
        self._changed = Condition()
        self._leader: Call | None = None

    def run(self, call: Call) -> None:
        """Wait until every prompt of a call has its outcome, and work for all calls meanwhile.

        Args:
            call: Its jobs are submitted from any thread, before or meanwhile.

        Raises:
            EngineError: The engine failed.
            OutOfMemoryError: The device's memory does not hold one of its prompts alone.

        """
        try:
            with self._changed:
                call.turn = next(self._turns)
                self._calls.append(call)
            while self._await_lead(call):
                self._lead(call)
        finally:
            self._leave(call)
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
            self._changed.wait_for(lambda: call.is_done or (self._leader is None and self._has_work()))
            if not call.is_done:
                self._leader = call
            return not call.is_done

    def _has_work(self) -> bool:
        with self._changed:
            return bool(self._working) or any(call.waiting for call in self._calls)

    def _lead(self, call: Call) -> None:
        while not call.is_done and self._has_work():
            self._end_what_is_over()
            if batch := self._next_batch():
                work = self._worker.score if batch[0].is_scoring else self._worker.start
                with self._pace.reading(batch, self._working):
                    self._attempt(partial(work, batch), batch)
            if self._working:
                with self._pace.writing():
                    self._attempt(self._worker.step, self._working)
        with self._changed:
            self._leader = None
            self._changed.notify_all()

    def _leave(self, call: Call) -> None:
        with self._changed:
            # Whoever leads next drops what an interrupted or failed call has left.
            call.is_forgotten = True
            call.waiting.clear()
            self._calls = [other for other in self._calls if other is not call]
            if self._leader is call:
                # Interrupted half-way, nobody knows where.
                self._begin_again()
                self._leader = None
            elif self._leader is None and not self._calls:
                self._begin_again()
            self._changed.notify_all()

    def _end_what_is_over(self) -> None:
        over = [(call, reason) for call in self._all_calls() if (reason := call.over) is not None]
        for call, reason in over:
            jobs = [*call.waiting, *(job for job in self._working if job.call is call)]
            for job in jobs:
                job.row.end(reason)
                self._settle(job)
            with self._changed:
                call.waiting.clear()
        if over:
            self._working = [job for job in self._working if not job.has_outcome]
            self._attempt(self._worker.drop_ended, self._working)

    def _all_calls(self) -> set[Call]:
        with self._changed:
            return {*self._calls, *(job.call for job in self._working)}

    def _next_batch(self) -> list[Job]:
        """Take jobs that can begin together, from every call in turn."""
        picked: list[Job] = []
        with self._changed:
            line = deque(sorted((call for call in self._calls if call.waiting), key=lambda call: call.turn))
            blocked: set[bool] = set()
            running = list(self._working)
            while line:
                call = line.popleft()
                job = call.waiting[0]
                if job.is_scoring in blocked or not go_together([*picked, job]):
                    continue
                # What is scored does not stay.
                beside = 0 if job.is_scoring else len(running)
                if not self._room.has_rows(beside + len(picked) + 1):
                    # What comes later must not overtake it.
                    blocked.add(job.is_scoring)
                    continue
                if not self._pace.lets_in(job, picked, running):
                    break
                if not self._room.holds([*running, *picked, job]):
                    break
                picked.append(job)
                # First here, then no more there: an interrupt loses nothing.
                self._working.append(job)
                call.waiting.popleft()
                call.turn = next(self._turns)
                if call.waiting:
                    line.append(call)
        return picked

    def _attempt(self, work: Callable[[], None], jobs: Sequence[Job]) -> None:
        """Do something for some jobs, settle what has ended, and recover from what goes wrong."""
        concerned, together = list(jobs), list(self._working)
        failure: Exception | None = None
        try:
            with self._clock.working_for([call.profile for call in {job.call for job in concerned}]):
                work()
        except Exception as error:  # noqa: BLE001 - every caller of the batch gets it
            failure = error
        # What has ended before the failure has ended.
        self._settle_ended()
        if failure is not None:
            self._recover(failure, concerned, together)

    def _settle_ended(self) -> None:
        for job in list(self._working):
            if job.scores is None and not job.row.is_ended:
                continue
            if job.prompt.choices and job.scores is None and job.row.failure is None:
                # Its thought is written; now its alternatives can be scored.
                self.submit(job)
                self._working.remove(job)
            else:
                self._settle(job)
        self._working = [job for job in self._working if not job.has_outcome]

    def _settle(self, job: Job) -> None:
        # Pictures are large, and nobody looks at them again.
        job.prompt = replace(job.prompt, images=())
        self.settle(job.call, job.prompt.index, job)

    def _recover(self, failure: Exception, concerned: Sequence[Job], together: Sequence[Job]) -> None:
        if not is_out_of_memory(failure):
            for call in {job.call for job in concerned if not job.has_outcome}:
                self.fail(call, _explain(failure))
        elif len(together) > 1:
            self._room.halve(together)
        # The frames of the failed pass hold its memory.
        clear_frames(failure.__traceback__)
        self._begin_again()
        if is_out_of_memory(failure) and len(together) == 1:
            (job,) = together
            # Once: what it has brought into the caches itself does not count.
            if job.was_alone or not self._worker.release():
                self.fail(job.call, _explain_memory())
            job.was_alone = True

    def _begin_again(self) -> None:
        """Put jobs back in front; what they have written is read again with their prompts."""
        with self._changed:
            for job in reversed(self._working):
                if not job.has_outcome and job not in job.call.waiting and job.call.over is None:
                    job.call.waiting.appendleft(job)
            left = [job for job in self._working if not job.has_outcome and job.call.over is not None]
            self._working = []
        self._worker.clear()
        for job in left:
            job.row.end("cancelled")
            self._settle(job)


def _explain(error: Exception) -> EngineError:
    # Every caller gets an error of its own: raising one in many threads mixes their tracebacks.
    explained = EngineError(f"The model failed: {type(error).__name__}: {error}")
    explained.__cause__ = error
    return explained


def _explain_memory() -> OutOfMemoryError:
    return OutOfMemoryError(
        "The device has too little memory for a single prompt. Lower image_seq_length, or choose "
        "quantization nf4 or a smaller variant."
    )
