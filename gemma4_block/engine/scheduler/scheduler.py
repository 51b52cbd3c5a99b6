"""Let the calls of all threads share one model, which works in a thread of its own."""

import atexit
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Lock, Thread, current_thread
from typing import Final
from weakref import WeakSet, finalize

from gemma4_block.engine.fork import FORKED
from gemma4_block.engine.profiling import StageClock
from gemma4_block.engine.scheduler.admission import Admission
from gemma4_block.engine.scheduler.errand import Errand, Result
from gemma4_block.engine.scheduler.fairness import Pacer
from gemma4_block.engine.scheduler.loop import ModelLoop, Worker
from gemma4_block.engine.scheduler.queue import RequestQueue
from gemma4_block.engine.scheduler.request import Outcome, Request
from gemma4_block.engine.scheduler.sequence import Sequence

_CLOSED: Final = "The engine is closed. Load the model again."


class Scheduler:
    """One queue for all requests of a model, and the thread that works on it.

    The thread starts with the first request, and ends with `close` or when the scheduler is collected as
    garbage.

    Args:
        worker: Runs the model.
        clock: Learns which requests it works for.
        admission: Says which sequences fit together.
        now: Seconds of a clock that never goes back.

    """

    def __init__(
        self,
        worker: Worker,
        clock: StageClock,
        admission: Admission,
        *,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._queue = RequestQueue()
        self._loop = ModelLoop(self._queue, worker, clock, admission, Pacer(now))
        self._thread: Thread | None = None
        self._starting = Lock()
        # The thread does not refer to the scheduler, so that a model that was not closed is freed as well.
        self._finalizer = finalize(self, self._queue.shut, _CLOSED)
        _SCHEDULERS.add(self)

    @contextmanager
    def serve(self, request: Request) -> Iterator[None]:
        """Serve a request until its caller leaves this context, whether it returns or raises.

        Args:
            request: One that was never served.

        Raises:
            EngineError: The scheduler is closed.

        """
        try:
            self._queue.open(request)
            self._start()
            yield
        finally:
            self._queue.withdraw(request)

    def submit(self, sequence: Sequence) -> None:
        """Queue a sequence of a request that is served."""
        self._queue.submit(sequence)

    def settle(self, request: Request, place: int, outcome: Outcome) -> None:
        """Give a prompt its outcome without the model."""
        self._queue.settle(request, place, outcome)

    def fail(self, request: Request, error: Exception) -> None:
        """End a whole request with an error, which `wait` raises."""
        self._queue.fail(request, error)

    def wait(self, request: Request) -> None:
        """Wait until every prompt of a request has its outcome.

        Args:
            request: One that is served.

        Raises:
            EngineError: The engine failed.
            OutOfMemoryError: The device's memory does not hold one of its prompts alone.

        """
        request.done.wait()
        if request.error is not None:
            raise request.error

    def between_passes(self, work: Callable[[], Result]) -> Result:
        """Have the model's thread do something between two passes, and wait until it is done.

        Args:
            work: Changes the model; every request waits meanwhile.

        Returns:
            What it returns; what it raises is raised here.

        Raises:
            EngineError: The scheduler is closed.

        """
        errand = Errand(work)
        self._queue.send(errand)
        self._start()
        return errand.wait()

    def close(self) -> None:
        """End the thread after the pass that is under way; requests that wait fail, and so do later ones."""
        self._queue.shut(_CLOSED)
        if self._thread is not None and self._thread is not current_thread():
            self._thread.join()

    def refuse_after_fork(self) -> None:
        """Refuse all work in a forked process: the thread is its parent's, and who holds locks is unknown."""
        # A thread that is not here may hold the lock of the old queue.
        self._finalizer.detach()
        self._queue = RequestQueue()
        self._queue.shut(FORKED)
        self._thread = None

    def _start(self) -> None:
        with self._starting:
            if self._thread is None:
                # A daemon, so that a program which forgets to close can exit; see `_end_at_exit`.
                self._thread = Thread(target=self._loop.run, name="gemma4-block-model", daemon=True)
                _THREADS.add(self._thread)
                self._thread.start()


_SCHEDULERS: WeakSet[Scheduler] = WeakSet()
_THREADS: WeakSet[Thread] = WeakSet()


# torch aborts the process where the interpreter goes while a thread is inside of a pass.
@atexit.register
def _end_at_exit() -> None:
    for scheduler in list(_SCHEDULERS):
        scheduler.close()
    # Their schedulers may be gone, while the model is still freed.
    for thread in list(_THREADS):
        thread.join()


def _refuse_after_fork() -> None:
    for scheduler in _SCHEDULERS:
        scheduler.refuse_after_fork()


if hasattr(os, "register_at_fork"):  # Not on Windows, which cannot fork.
    os.register_at_fork(after_in_child=_refuse_after_fork)
