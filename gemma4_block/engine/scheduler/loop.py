"""The scheduler's loop: begin sequences, decode the running ones, and recover when a forward pass fails."""

from collections.abc import Callable
from functools import partial
from traceback import clear_frames
from typing import Final, Protocol

from gemma4_block.engine.profiling import StageClock
from gemma4_block.engine.scheduler.admission import Admission, can_begin_together, is_out_of_memory
from gemma4_block.engine.scheduler.fairness import Pacer
from gemma4_block.engine.scheduler.queue import RequestQueue, Verdict
from gemma4_block.engine.scheduler.sequence import Sequence
from gemma4_block.errors import EngineError, OutOfMemoryError
from gemma4_block.meter import get_meter

# How often deadlines and cancellations are checked while no forward pass is under way.
_LOOKS_EVERY_S: Final = 0.02
# So many prompts that came later may begin before one that does not fit beside the others; then it is next.
MOST_OVERTAKES: Final = 32


class Worker(Protocol):
    """The runner of the model; the scheduler's thread alone calls it."""

    def prefill(self, sequences: list[Sequence]) -> None:
        """Prefill prompts and choose the first token of each; those that go on join the running batch."""

    def score(self, sequences: list[Sequence]) -> None:
        """Prefill prompts and score their choices."""

    def decode(self) -> None:
        """Generate a token for every running sequence; where that fails, some may not have theirs yet."""

    def drop_stopped(self) -> None:
        """Drop sequences that are not running any more."""

    def clear(self) -> None:
        """Drop all sequences, whatever state a failure has left them in; must not raise."""

    def release_caches(self) -> bool:
        """Drop what is kept of earlier prompts, and return whether that was anything."""


class ModelLoop:
    """The loop of the scheduler's thread. All that changes a sequence once it is submitted happens here.

    Args:
        queue: The requests of all callers.
        worker: Runs the model.
        clock: Learns which requests it works for.
        admission: Says which sequences fit together.
        pacer: Shares the time between prefill and decode.

    """

    def __init__(
        self, queue: RequestQueue, worker: Worker, clock: StageClock, admission: Admission, pacer: Pacer
    ) -> None:
        self._queue = queue
        self._worker = worker
        self._clock = clock
        self._admission = admission
        self._pacer = pacer
        # In the order in which they were admitted.
        self._running: list[Sequence] = []
        # How many of them the operator's monitoring was told of.
        self._told = 0

    def run(self) -> None:
        """Work until the queue is closed."""
        while not self._queue.is_closed:
            if not self._running:
                self._queue.await_work(_LOOKS_EVERY_S)
            try:
                self.turn()
            # Not even what is no Exception may end the thread: callers would wait forever.
            except BaseException as error:  # noqa: BLE001 - the callers get it
                self._running = []
                self._worker.clear()
                self._queue.fail_all(partial(_explain, error))
            self._tell_running()
        self._running = []
        self._worker.clear()
        self._tell_running()

    def turn(self) -> None:
        """Run errands, drop sequences that ended, begin those that may, and decode those running by one."""
        for errand in self._queue.take_errands():
            errand.run()
        self._queue.end_over(self._running)
        self._let_go()
        if picked := self._admit():
            begin = self._worker.score if picked[0].is_scoring else self._worker.prefill
            with self._pacer.prefill(picked, self._running):
                self._attempt(partial(begin, picked), picked)
        if self._running:
            with self._pacer.decode():
                self._attempt(self._worker.decode, self._running)

    def _tell_running(self) -> None:
        if len(self._running) != self._told:
            get_meter().note_running(len(self._running) - self._told)
            self._told = len(self._running)

    def _let_go(self) -> None:
        """Drop sequences that ended without the worker."""
        if any(one.state != "running" for one in self._running):
            self._running = [one for one in self._running if one.state == "running"]
            self._attempt(self._worker.drop_stopped, self._running)

    def _admit(self) -> list[Sequence]:
        blocked: set[bool] = set()

        def judge(sequence: Sequence, picked: list[Sequence]) -> Verdict:
            if sequence.is_scoring in blocked or not can_begin_together([*picked, sequence]):
                return "skip"
            # Scored sequences do not join the running batch.
            beside = 0 if sequence.is_scoring else len(self._running)
            if not self._admission.has_place(beside + len(picked) + 1):
                blocked.add(sequence.is_scoring)
                return "skip"
            if not self._pacer.allows(sequence, picked, self._running):
                return "stop"
            if self._admission.fits(self._running, [*picked, sequence]):
                return "take"
            return "stop" if sequence.times_overtaken >= MOST_OVERTAKES else "skip"

        return self._queue.pick(judge)

    def _attempt(self, work: Callable[[], None], sequences: list[Sequence]) -> None:
        """Run a pass for some sequences, settle those that ended, and recover where the pass fails."""
        concerned = list(sequences)
        new = [one for one in concerned if one not in self._running]
        tried = [*self._running, *new]
        try:
            with self._clock.working_for([request.profile for request in {one.request for one in concerned}]):
                work()
        except Exception as error:  # noqa: BLE001 - the callers of these sequences get it
            # The frames of the failed pass hold its memory.
            clear_frames(error.__traceback__)
            # Sequences that ended before the failure keep their outcome.
            new = self._hand_on(new)
            self._running = self._hand_on(self._running)
            self._recover(error, tried, new)
        else:
            self._running = self._hand_on([*self._running, *new])

    def _hand_on(self, sequences: list[Sequence]) -> list[Sequence]:
        """Settle ended sequences, queue those that are to be scored, and return the others."""
        for sequence in sequences:
            if sequence.has_ended:
                # Images are large, and nothing looks at them again.
                sequence.drop_images()
                self._queue.settle(sequence.request, sequence.prompt.index, sequence)
            elif sequence.state == "waiting":
                self._queue.submit(sequence)
        return [one for one in sequences if one.state == "running"]

    def _recover(self, failure: Exception, tried: list[Sequence], new: list[Sequence]) -> None:
        """Go on after a failed pass: the prefill of new sequences, or a decode step of the running ones.

        Args:
            failure: Raised by the pass.
            tried: The sequences that were running or to begin.
            new: Those of them that were to begin and have not ended.

        """
        left = [*self._running, *new]
        if not is_out_of_memory(failure):
            for request in {one.request for one in new or left}:
                self._queue.fail(request, _explain(failure))
            if not new:
                self._begin_again([])
        elif len(tried) == 1:
            self._begin_again([])
            for sequence in left:
                self._retry_alone(sequence)
        else:
            # Of those that were to begin, half are tried next; of running ones, all but the youngest go on.
            going_on = [*self._running, *new[: len(new) // 2]] if new else left[:-1]
            self._admission.ran_out(tried, going_on)
            self._put_back(new or left[-1:])

    def _retry_alone(self, sequence: Sequence) -> None:
        # Only once: the second time, the caches hold only what this sequence has put there itself.
        if sequence.was_alone or not self._worker.release_caches():
            self._queue.fail(sequence.request, _explain_memory())
            return
        sequence.was_alone = True
        sequence.put_back()
        self._queue.put_back([sequence])

    def _put_back(self, sequences: list[Sequence]) -> None:
        """Queue sequences again, and let the others go on with their KV cache."""
        for sequence in sequences:
            sequence.put_back()
        self._queue.put_back(sequences)
        self._running = [one for one in self._running if one.state == "running"]
        try:
            self._worker.drop_stopped()
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            # Dropping some from the batch copies the others, and there was not even memory for that.
            self._begin_again(self._running)

    def _begin_again(self, sequences: list[Sequence]) -> None:
        """Clear the batch; sequences that are to go on are queued, and prefilled again."""
        for sequence in sequences:
            sequence.put_back()
        self._queue.put_back(sequences)
        self._running = []
        self._worker.clear()


def _explain(error: BaseException) -> EngineError:
    # Every caller gets an error of its own: raising one in many threads mixes their tracebacks.
    explained = EngineError(f"The model failed: {type(error).__name__}: {error}")
    explained.__cause__ = error
    return explained


def _explain_memory() -> OutOfMemoryError:
    return OutOfMemoryError(
        "The device has too little memory for a single prompt. Lower image_seq_length, or choose "
        "quantization nf4 or a smaller variant."
    )
