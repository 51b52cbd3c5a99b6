"""Show that something is under way, but only where it takes a while."""

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock, Timer
from typing import Final

from rich.console import Console

# What ends sooner needs no explanation.
_PATIENCE_S: Final = 2.0


@contextmanager
def spinner(text: str, *, after_s: float = _PATIENCE_S) -> Iterator[None]:
    """Show a spinner on stderr from a while on until the block ends; on a terminal only.

    Args:
        text: What is under way.
        after_s: How long nothing is shown, in seconds.

    """
    status = Console(stderr=True).status(text)
    lock, ended = Lock(), False

    def show() -> None:
        with lock:
            if not ended:
                status.start()

    timer = Timer(after_s, show)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        with lock:
            ended = True
        status.stop()
