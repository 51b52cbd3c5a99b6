"""Cancel the answers of a request whose client has gone, across the host's threads."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from threading import Event

_CANCELLED: ContextVar[Event | None] = ContextVar("gemma4_block_cancelled", default=None)


@contextmanager
def cancelled_by(event: Event) -> Iterator[None]:
    """Let steps that are run inside, in threads with a copy of this context too, end when an event is set.

    Args:
        event: Set it from anywhere to end the answers that are under way where they stand.

    """
    token = _CANCELLED.set(event)
    try:
        yield
    finally:
        _CANCELLED.reset(token)


def find_cancellation() -> Event | None:
    """Return the event that ends what runs in this context; None where nothing does."""
    return _CANCELLED.get()
