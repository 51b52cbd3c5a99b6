"""Prepare the prompts of a call beside the model, a little ahead of it."""

from collections.abc import Callable
from concurrent.futures import Executor
from threading import Lock

from gemma4_block.errors import EngineError


class Prefetcher:
    """Prepares prompts in other threads, a limited number ahead, because they wait in memory.

    Args:
        executor: Its threads prepare.
        prepare: Prepares the prompt at a place of the call; must not raise.
        fail: Is told why nothing can be prepared any more.
        count: How many prompts there are.
        ahead: How many may be prepared and have no outcome yet.

    """

    def __init__(
        self,
        executor: Executor,
        prepare: Callable[[int], None],
        fail: Callable[[Exception], None],
        *,
        count: int,
        ahead: int,
    ) -> None:
        self._executor = executor
        self._prepare = prepare
        self._fail = fail
        self._count = count
        self._ahead = ahead
        self._next = 0
        self._lock = Lock()

    def start(self) -> None:
        """Begin with the first prompts."""
        for _ in range(min(self._ahead, self._count)):
            self.prepare_next()

    def prepare_next(self) -> None:
        """Prepare one more, because another has its outcome."""
        with self._lock:
            place = self._next
            self._next += 1
        if place < self._count:
            try:
                self._executor.submit(self._prepare, place)
            except RuntimeError as error:
                # The interpreter is about to exit, or the engine is closed.
                self._fail(EngineError(f"No more prompts can be prepared: {error}."))
