"""Count what waits for an answer, over all callers of this process, and refuse more than is allowed."""

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock

from gemma4_block.errors import ConfigurationError, EngineBusyError


class WaitingRoom:
    """How many things of a kind wait for an answer, and how many bytes they hold. For many threads.

    What is being answered counts too: only an engine knows when it begins.

    Args:
        things: Their name in messages, in the plural.
        max_count_setting: The setting that limits their number, for messages.
        max_bytes_setting: The setting that limits their bytes, for messages.

    """

    def __init__(self, things: str, *, max_count_setting: str, max_bytes_setting: str) -> None:
        self._things = things
        self._max_count_setting = max_count_setting
        self._max_bytes_setting = max_bytes_setting
        self._lock = Lock()
        self._count = 0
        self._nbytes = 0

    @property
    def count(self) -> int:
        """How many wait now."""
        return self._count

    def is_full(self, *, max_count: int, max_bytes: int) -> bool:
        """Say whether one more would be too many, whatever its size."""
        return self._count >= max_count or self._nbytes >= max_bytes

    @contextmanager
    def wait(
        self, count: int, nbytes: int, *, max_count: int | None, max_bytes: int | None
    ) -> Iterator[None]:
        """Count things as waiting inside of this context.

        Args:
            count: How many come together.
            nbytes: What they hold in all.
            max_count: Most that may wait; None for any number.
            max_bytes: Most bytes that may wait; None for any number.

        Raises:
            ConfigurationError: They are more than may ever wait.
            EngineBusyError: They are too many beside those that wait already.

        """
        self._refuse_too_large("", count, max_count, self._max_count_setting)
        self._refuse_too_large("bytes of ", nbytes, max_bytes, self._max_bytes_setting)
        with self._lock:
            self._refuse_too_many("", self._count, count, max_count)
            self._refuse_too_many("bytes of ", self._nbytes, nbytes, max_bytes)
            self._count += count
            self._nbytes += nbytes
        try:
            yield
        finally:
            with self._lock:
                self._count -= count
                self._nbytes -= nbytes

    def _refuse_too_large(self, unit: str, new: int, limit: int | None, setting: str) -> None:
        if limit is not None and new > limit:
            raise ConfigurationError(
                f"{new} {unit}{self._things} come at once; {limit} may wait on this machine. Ask for fewer, "
                f"or raise {setting}."
            )

    def _refuse_too_many(self, unit: str, waiting: int, new: int, limit: int | None) -> None:
        if limit is not None and waiting + new > limit:
            raise EngineBusyError(
                f"{waiting} {unit}{self._things} wait already; {limit} may on this machine. Ask again later."
            )


PROMPTS = WaitingRoom(
    "prompts",
    max_count_setting="GEMMA4_BLOCK_MAX_WAITING",
    max_bytes_setting="GEMMA4_BLOCK_MAX_WAITING_BYTES",
)
"""Before all engines of this process; bytes are the pixels of their images."""
