"""Keep what was used last, at most so many bytes of it."""

from collections import OrderedDict
from collections.abc import Hashable
from threading import Lock
from typing import Generic, Protocol, TypeVar


class Sized(Protocol):
    """Something that knows its size."""

    @property
    def nbytes(self) -> int:
        """Size in memory."""


Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value", bound=Sized)


class ByteCache(Generic[Key, Value]):
    """What was used last. May be used from many threads.

    Args:
        max_bytes: Most that all values together take; 0 keeps nothing.

    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._bytes = 0
        self._values: OrderedDict[Key, Value] = OrderedDict()
        self._lock = Lock()

    @property
    def nbytes(self) -> int:
        """How many bytes all values together take."""
        return self._bytes

    def holds(self, size: int) -> bool:
        """Say whether a value of so many bytes would be kept."""
        return size <= self._max_bytes

    def find(self, key: Key) -> Value | None:
        """Return a value where it is kept."""
        with self._lock:
            value = self._values.get(key)
            if value is not None:
                self._values.move_to_end(key)
            return value

    def keep(self, key: Key, value: Value) -> None:
        """Keep a value, and drop those that were not asked for the longest time; nobody may change it."""
        if not self.holds(value.nbytes):
            return
        with self._lock:
            replaced = self._values.pop(key, None)
            self._bytes += value.nbytes - (0 if replaced is None else replaced.nbytes)
            self._values[key] = value
            while self._bytes > self._max_bytes:
                _, dropped = self._values.popitem(last=False)
                self._bytes -= dropped.nbytes

    def clear(self) -> bool:
        """Drop everything, and return whether there was anything."""
        with self._lock:
            was_used = bool(self._values)
            self._values.clear()
            self._bytes = 0
            return was_used
