"""End a process without sorting its memory, once all that others have registered for its end is done."""

import atexit
import os
import sys


class QuickEnd:
    """Skips the last collections of garbage, which would walk through all of the host, for seconds.

    Make it before anything registers what is to happen at the process's end: what was registered first
    happens last.
    """

    def __init__(self) -> None:
        self._is_wanted = False
        atexit.register(self._end)

    def want(self) -> None:
        """End with exit code 0 as soon as all else is done, when the program comes to its end."""
        self._is_wanted = True

    def _end(self) -> None:
        if self._is_wanted:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(0)
