"""The queue of one model: the requests of all callers, and the outcomes of their prompts."""

from collections import deque
from collections.abc import Callable
from itertools import count
from threading import Condition
from typing import Any, Literal

from gemma4_block.engine.scheduler.errand import Errand
from gemma4_block.engine.scheduler.request import Outcome, Request
from gemma4_block.engine.scheduler.sequence import Sequence
from gemma4_block.errors import EngineError

Verdict = Literal["take", "skip", "stop"]
"""`take`: it begins now; `skip`: it waits, others may begin; `stop`: it waits, and so do all others."""


class RequestQueue:
    """The requests that are served. One lock guards all that both callers and the model's thread touch."""

    def __init__(self) -> None:
        self._changed = Condition()
        self._requests: list[Request] = []
        self._errands: list[Errand[Any]] = []
        self._refusal: str | None = None
        self._turns = count()

    @property
    def is_closed(self) -> bool:
        """Whether nothing is served any more."""
        return self._refusal is not None

    def open(self, request: Request) -> None:
        """Serve a request.

        Args:
            request: One that was never served.

        Raises:
            EngineError: The queue is closed.

        """
        with self._changed:
            if self._refusal is not None:
                raise EngineError(self._refusal)
            request.turn = next(self._turns)
            self._requests.append(request)
            self._changed.notify_all()

    def withdraw(self, request: Request) -> None:
        """Serve a request no more; its running sequences are dropped before the next step."""
        with self._changed:
            request.is_withdrawn = True
            request.waiting.clear()
            self._requests = [other for other in self._requests if other is not request]
            self._changed.notify_all()

    def submit(self, sequence: Sequence) -> None:
        """Queue a sequence, unless its request is over."""
        with self._changed:
            request = sequence.request
            if sequence.prompt.index not in request.outcomes and not request.is_withdrawn:
                request.waiting.append(sequence)
                self._changed.notify_all()

    def put_back(self, sequences: list[Sequence]) -> None:
        """Queue sequences again, before the others of their requests, unless those are over."""
        with self._changed:
            for sequence in reversed(sequences):
                if not sequence.request.is_withdrawn and sequence.request.error is None:
                    sequence.request.waiting.appendleft(sequence)

    def settle(self, request: Request, place: int, outcome: Outcome) -> None:
        """Give a prompt its outcome; the first one counts."""
        with self._changed:
            request.outcomes.setdefault(place, outcome)
            request.check_done()
        on_outcome = request.on_outcome
        if on_outcome is not None:
            on_outcome()

    def fail(self, request: Request, error: Exception) -> None:
        """End a whole request with an error."""
        with self._changed:
            if not request.done.is_set():
                request.error = error
            request.waiting.clear()
            request.check_done()
            self._changed.notify_all()

    def end_over(self, running: list[Sequence]) -> None:
        """End requests that are late, cancelled or withdrawn, wherever their sequences are.

        Args:
            running: The running sequences; the caller drops those that this ends from the batch.

        """
        # One lock around the check and the end, so that no preprocessing thread can submit in between.
        with self._changed:
            for request in {*self._requests, *(one.request for one in running)}:
                reason = request.over
                if reason is None:
                    continue
                own = [one for one in running if one.request is request and one.state == "running"]
                ended = [*request.waiting, *own]
                for sequence in ended:
                    sequence.finish(reason)
                    sequence.drop_images()
                request.waiting.clear()
                if not request.is_withdrawn:
                    for sequence in ended:
                        request.outcomes.setdefault(sequence.prompt.index, sequence)
                    # A prompt that is still being preprocessed has no sequence; its outcome is the reason.
                    for place in range(request.count):
                        request.outcomes.setdefault(place, reason)
                    request.check_done()

    def pick(self, judge: Callable[[Sequence, list[Sequence]], Verdict]) -> list[Sequence]:
        """Admit sequences that are prefilled together, one of each request in turn.

        Args:
            judge: Gets the first sequence that waits in a request, and those picked so far.

        Returns:
            The admitted sequences, in order.

        """
        picked: list[Sequence] = []
        skipped: list[Sequence] = []
        with self._changed:
            line = deque(sorted((one for one in self._requests if one.waiting), key=lambda one: one.turn))
            while line:
                request = line.popleft()
                verdict = judge(request.waiting[0], picked)
                if verdict == "stop":
                    break
                if verdict == "skip":
                    skipped.append(request.waiting[0])
                    continue
                sequence = request.waiting.popleft()
                sequence.admit()
                picked.append(sequence)
                for other in skipped:
                    other.times_overtaken += 1
                request.turn = next(self._turns)
                if request.waiting:
                    line.append(request)
        return picked

    def send(self, errand: Errand[Any]) -> None:
        """Have an errand run between two passes.

        Args:
            errand: One that was never sent.

        Raises:
            EngineError: The queue is closed.

        """
        with self._changed:
            if self._refusal is not None:
                raise EngineError(self._refusal)
            self._errands.append(errand)
            self._changed.notify_all()

    def take_errands(self) -> list[Errand[Any]]:
        """Return the errands that wait, in order; each is run by who takes them."""
        with self._changed:
            taken, self._errands = self._errands, []
            return taken

    def await_work(self, looks_every_s: float) -> None:
        """Wait until a sequence or errand waits, or so long where a served request's time may be up."""
        with self._changed:
            has_work = bool(self._errands) or any(request.waiting for request in self._requests)
            if self._refusal is None and not has_work:
                self._changed.wait(looks_every_s if self._requests else None)

    def shut(self, refusal: str) -> None:
        """Refuse requests from now on, and fail those that are served."""
        with self._changed:
            self._refusal = refusal
            for request in self._requests:
                self.fail(request, EngineError(refusal))
            for errand in self.take_errands():
                errand.refuse(EngineError(refusal))
            self._changed.notify_all()

    def fail_all(self, explain: Callable[[], EngineError]) -> None:
        """Fail every request that is served, each with an error of its own."""
        with self._changed:
            for request in self._requests:
                self.fail(request, explain())
