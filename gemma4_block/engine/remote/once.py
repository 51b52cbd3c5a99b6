"""Do what many ask for at the same time once, and remember what came of it."""

import asyncio
from collections.abc import Callable, Coroutine, Hashable
from typing import Any, Generic, TypeVar

_Key = TypeVar("_Key", bound=Hashable)
_Value = TypeVar("_Value")


class Once(Generic[_Key, _Value]):
    """What was made for each key. Used in one event loop.

    Args:
        most: Of so many keys; then all are forgotten.

    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._tasks: dict[_Key, asyncio.Task[_Value]] = {}

    async def find(self, key: _Key, make: Callable[[], Coroutine[Any, Any, _Value]]) -> _Value:
        """Return what was made for a key, making it where it is asked for first or where that failed.

        Args:
            key: Names it.
            make: Makes it.

        Returns:
            The same value for the same key.

        """
        task = self._tasks.get(key)
        if task is None or (task.done() and (task.cancelled() or task.exception() is not None)):
            if len(self._tasks) >= self._most:
                self._tasks.clear()
            task = self._tasks[key] = asyncio.create_task(make())
        # Who gives up must not take it away from others that wait for it.
        return await asyncio.shield(task)
