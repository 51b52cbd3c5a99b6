"""Say where several processes each load a copy of a model, as only threads of one process share it."""

import logging
import multiprocessing
import os
from collections.abc import Mapping
from typing import Final

# The stock server's setting. Source: inference/core/env.py, version 1.8.3.
_WORKERS: Final = "NUM_WORKERS"

_LOGGER: Final = logging.getLogger(__name__)


def describe_copies(environment: Mapping[str, str], *, is_child: bool) -> str | None:
    """Return what the processes beside this one cost; None where there are none that one can tell of.

    Args:
        environment: Of this process.
        is_child: Whether another Python process started this one, as the stream manager does for each
            pipeline.

    Returns:
        Words for a message.

    Example:
        >>> describe_copies({"NUM_WORKERS": "1"}, is_child=False) is None
        True

    """
    workers = environment.get(_WORKERS, "1").strip()
    if workers.isdecimal() and int(workers) > 1:
        return (
            f"NUM_WORKERS is {workers}: each of these processes loads a whole copy of every model that it is "
            f"asked for, {workers} times the memory in all. Use 1, where requests share a copy, or run the "
            "model on a server, see docs/servers.md"
        )
    if is_child:
        return (
            "This process was started by another, as those of stream pipelines are: it loads a whole copy of "
            "every model that it is asked for, beside those of the others. To share one, run the model on a "
            "server, see docs/servers.md"
        )
    return None


def describe_own_copies() -> str | None:
    """Return the same of this process."""
    return describe_copies(os.environ, is_child=multiprocessing.parent_process() is not None)


def warn_of_copies() -> None:
    """Log a warning where other processes load copies of their own."""
    problem = describe_own_copies()
    if problem is not None:
        _LOGGER.warning("%s.", problem)
