"""What the server's process holds while it is asked: memory, threads and file descriptors."""

import time
from dataclasses import dataclass
from threading import Event, Thread

import numpy as np
import psutil
from typing_extensions import Self

_EVERY_S = 1.0


@dataclass(frozen=True, kw_only=True)
class Vitals:
    """One look at the process.

    Attributes:
        at_s: When, by `time.monotonic`.
        megabytes: Of memory that it holds.
        threads: How many.
        descriptors: How many are open.

    """

    at_s: float
    megabytes: float
    threads: int
    descriptors: int


class Watcher:
    """Looks at a process every second while it is entered.

    Args:
        pid: Of the process.

    Attributes:
        looks: What was seen, in order.

    """

    def __init__(self, pid: int) -> None:
        self._process = psutil.Process(pid)
        self._stop = Event()
        self._thread = Thread(target=self._watch)
        self.looks: list[Vitals] = []

    def look(self) -> Vitals:
        """Look now."""
        return Vitals(
            at_s=time.monotonic(),
            megabytes=self._process.memory_info().rss / 1e6,
            threads=self._process.num_threads(),
            descriptors=self._process.num_fds(),
        )

    def __enter__(self) -> Self:
        """Begin."""
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """End."""
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._stop.wait(_EVERY_S):
            self.looks.append(self.look())


def find_slope(looks: list[Vitals]) -> float:
    """Return by how many megabytes a minute the memory grows, as a line through all looks."""
    minutes = [(one.at_s - looks[0].at_s) / 60 for one in looks]
    return float(np.polyfit(minutes, [one.megabytes for one in looks], 1)[0])
