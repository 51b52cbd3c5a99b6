"""Keep the values that were used last, up to a number of bytes."""

from collections.abc import Callable, Hashable
from threading import Lock
from typing import Generic, Protocol, TypeVar

from cachetools import LRUCache


class Sized(Protocol):
    """Something that knows its size."""

    @property
    def nbytes(self) -> int:
        """Size in memory."""


Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value", bound=Sized)


class ByteCache(Generic[Key, Value]):
    """The values that were used last. May be used from many threads.

    Args:
        max_bytes: Most that all values together take; 0 keeps nothing.

    """

    def __init__(self, max_bytes: int) -> None:
        self._values: LRUCache[Key, Value] = LRUCache(max_bytes, getsizeof=lambda value: value.nbytes)
        self._lock = Lock()

    @property
    def nbytes(self) -> int:
        """How many bytes all values together take."""
        return int(self._values.currsize)

    def holds(self, size: int) -> bool:
        """Say whether a value of so many bytes would be kept."""
        return size <= self._values.maxsize

    def find(self, key: Key) -> Value | None:
        """Return a value where it is kept."""
        with self._lock:
            return self._values.get(key)

    def keep(self, key: Key, value: Value) -> None:
        """Keep a value, which must not be changed, and drop those whose last use is longest ago."""
        if not self.holds(value.nbytes):
            return
        with self._lock:
            # LRUCache would count a larger value beside the one that it replaces, and drop others for both.
            self._values.pop(key, None)
            self._values[key] = value

    def drop(self, is_unwanted: Callable[[Key], bool]) -> None:
        """Drop the values whose keys are not wanted any more."""
        with self._lock:
            for key in [key for key in self._values if is_unwanted(key)]:
                del self._values[key]

    def clear(self) -> bool:
        """Drop everything, and return whether there was anything."""
        with self._lock:
            was_used = bool(self._values)
            self._values.clear()
            return was_used
