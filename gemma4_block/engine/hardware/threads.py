"""Say whether torch's idle threads keep others, and each other, from working."""

import logging
import os
from collections.abc import Mapping
from pathlib import Path
from threading import Lock
from typing import Final

import torch

_LOGGER: Final = logging.getLogger(__name__)
# Of a process on Linux: one line for each part of each library that it has loaded.
_MAPS: Final = Path("/proc/self/maps")
# Taken by the first warning of the process and never given back.
_WARNED = Lock()


def find_spinning(environment: Mapping[str, str], *, threads: int, has_libgomp: bool) -> str | None:
    """Return what is wrong with how torch's threads wait for work, and what to do; None where nothing is.

    OpenMP reads the environment when torch is first imported, so what is set later does nothing.

    Args:
        environment: Of the process when it imported torch.
        threads: How many torch works with.
        has_libgomp: Whether its OpenMP is GNU's, which does not know KMP_BLOCKTIME.

    Returns:
        Words for a message.

    """
    is_passive = (
        environment.get("OMP_WAIT_POLICY", "").strip().upper() == "PASSIVE"
        or environment.get("GOMP_SPINCOUNT", "").strip() == "0"
        or (not has_libgomp and environment.get("KMP_BLOCKTIME", "").strip() == "0")
    )
    if threads == 1 or is_passive:
        return None
    # Source: docs/measured.md, Threads: 32.9 s with two threads that spin, 4.1 s with one, and 4.0 s with two
    # that wait passively.
    return (
        f"torch works with {threads} threads, which spin while they wait: with a busy program beside them an "
        "answer took 8 times as long. Start the process with OMP_WAIT_POLICY=PASSIVE, or with "
        "OMP_NUM_THREADS=1"
    )


def find_own_spinning(device: torch.device) -> str | None:
    """Return the same of this process; None where the model works on a GPU."""
    if device.type != "cpu":
        return None
    return find_spinning(os.environ, threads=torch.get_num_threads(), has_libgomp=_has_libgomp())


def warn_of_spinning(device: torch.device) -> None:
    """Log a warning where torch's threads spin, once in this process.

    Args:
        device: Where the model works.

    """
    problem = find_own_spinning(device)
    if problem is not None and _WARNED.acquire(blocking=False):
        _LOGGER.warning("%s.", problem)


def _has_libgomp() -> bool:
    # Elsewhere torch brings another OpenMP.
    return _MAPS.is_file() and "libgomp" in _MAPS.read_text(encoding="utf-8", errors="replace")
