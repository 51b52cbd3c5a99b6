"""Work on the model that must not overlap with a pass of it."""

from collections.abc import Callable
from concurrent.futures import Future
from typing import Generic, TypeVar

Result = TypeVar("Result")


class Errand(Generic[Result]):
    """Work that another thread wants done by the model's thread, between two passes.

    Args:
        work: What is done.

    """

    def __init__(self, work: Callable[[], Result]) -> None:
        self._work = work
        self._future: Future[Result] = Future()

    def run(self) -> None:
        """Do it, and let who waits go on; must not raise."""
        try:
            self._future.set_result(self._work())
        except BaseException as error:  # noqa: BLE001 - raised where it is waited for
            self._future.set_exception(error)

    def refuse(self, error: Exception) -> None:
        """Raise an error where it is waited for."""
        self._future.set_exception(error)

    def wait(self) -> Result:
        """Return what the work returned, or raise what it raised."""
        return self._future.result()
