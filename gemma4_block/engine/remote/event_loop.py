"""Run an event loop in a thread of its own, for callers that block."""

import asyncio
import os
from collections.abc import Callable, Coroutine
from concurrent.futures import CancelledError
from threading import Lock, Thread, current_thread
from typing import Any, TypeVar

from gemma4_block.errors import EngineError

_Result = TypeVar("_Result")

_CLOSED = "The engine is closed. Ask for the model again."
_FORKED = (
    "This process was forked from one that had connected to a server, and the thread that speaks to it is "
    "not here. Ask for the model after the fork and not before, or start processes with the method spawn."
)


class EventLoopThread:
    """A loop that runs until it is closed. May be used from many threads.

    Args:
        name: Of the thread.

    """

    def __init__(self, name: str) -> None:
        self._process = os.getpid()
        self._closing = Lock()
        self._loop = asyncio.new_event_loop()
        self._thread = Thread(target=self._loop.run_forever, name=name, daemon=True)
        self._thread.start()

    def run(self, work: Coroutine[Any, Any, _Result]) -> _Result:
        """Run a coroutine in the loop and wait for it; an interrupt of the caller cancels it.

        Args:
            work: It is closed where it cannot run.

        Returns:
            What it returns.

        Raises:
            EngineError: The loop is closed, or belongs to the process that this one was forked from.

        """
        if os.getpid() != self._process or not self._thread.is_alive():
            work.close()
            raise EngineError(_CLOSED if os.getpid() == self._process else _FORKED)
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return future.result()
        except CancelledError:
            raise EngineError(_CLOSED) from None
        except BaseException:
            future.cancel()
            raise

    def close(self, finish: Callable[[], Coroutine[Any, Any, None]] | None = None) -> None:
        """Cancel what runs and end the thread; a second time does nothing.

        Args:
            finish: Runs last; None for nothing.

        """
        if current_thread() is self._thread:
            # Garbage may be collected anywhere, and a thread cannot wait for itself.
            Thread(target=self.close, args=(finish,), daemon=True).start()
            return
        with self._closing:
            if os.getpid() == self._process and not self._loop.is_closed():
                self._close(finish)

    def _close(self, finish: Callable[[], Coroutine[Any, Any, None]] | None) -> None:
        asyncio.run_coroutine_threadsafe(_cancel_others(), self._loop).result()
        if finish is not None:
            asyncio.run_coroutine_threadsafe(finish(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.run_until_complete(self._loop.shutdown_default_executor())
        self._loop.close()


async def _cancel_others() -> None:
    tasks = asyncio.all_tasks() - {asyncio.current_task()}
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
