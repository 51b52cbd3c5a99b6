"""Wait for the answers of a call, and end those that are not ready when its time is up."""

import asyncio
import time
from collections.abc import Awaitable, Sequence
from threading import Event
from typing import Protocol

from gemma4_block.contract import Answer, FinishReason
from gemma4_block.errors import PromptError

# A thread's event cannot wake a loop, so it is looked at this often.
_LOOK_S = 0.05


class Work(Protocol):
    """One prompt on its way to an answer."""

    def run(self) -> Awaitable[Answer | PromptError]:
        """Ask, and return the answer or why there is none."""

    def cut(self, reason: FinishReason) -> Answer:
        """Return what there is of the answer; `run` was cancelled."""


async def wait_for_all(
    works: Sequence[Work], *, deadline: float | None, cancelled: Event | None
) -> list[Answer | PromptError]:
    """Return the answers of all, in order.

    Args:
        works: Any number.
        deadline: When those that are not ready end where they stand, by `time.monotonic`.
        cancelled: Ends them too.

    Returns:
        One entry for each.

    Raises:
        EngineError: One of them failed; the others are given up.

    """
    tasks = [asyncio.ensure_future(work.run()) for work in works]
    try:
        reason = await _wait(tasks, deadline, cancelled)
        # Raises what one of them failed with.
        return [
            task.result() if task.done() and not task.cancelled() else work.cut(reason)
            for task, work in zip(tasks, works, strict=True)
        ]
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _wait(
    tasks: "Sequence[asyncio.Future[Answer | PromptError]]", deadline: float | None, cancelled: Event | None
) -> FinishReason:
    """Return once all are done or one has failed, or with the reason to end the others."""
    while tasks:
        if cancelled is not None and cancelled.is_set():
            return "cancelled"
        left = None if deadline is None else deadline - time.monotonic()
        if left is not None and left <= 0:
            return "deadline"
        timeout = left if cancelled is None else _LOOK_S if left is None else min(left, _LOOK_S)
        done, waiting = await asyncio.wait(tasks, timeout=timeout, return_when=asyncio.FIRST_EXCEPTION)
        if not waiting or any(task.exception() is not None for task in done):
            break
    return "stop"
