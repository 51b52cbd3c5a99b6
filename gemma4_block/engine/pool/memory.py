"""Give the memory of an engine that was closed back to the system."""

import ctypes
import gc
import logging
import sys
import time
from collections.abc import Callable
from typing import Final

_LOGGER: Final = logging.getLogger(__name__)
_LOOKS_EVERY_S: Final = 0.05


def release_memory(is_gone: Callable[[], bool], *, within_s: float) -> None:
    """Wait until an engine is gone, and give back what it took.

    Args:
        is_gone: Says whether nothing refers to the engine any more.
        within_s: How long to wait for that.

    """
    deadline = time.monotonic() + within_s
    # Models hold themselves in cycles.
    gc.collect()
    while not is_gone():
        if time.monotonic() >= deadline:
            _LOGGER.info(
                "An engine that was closed is still referred to, so that its memory is not free yet."
            )
            break
        time.sleep(_LOOKS_EVERY_S)
        gc.collect()
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        torch.cuda.empty_cache()
    _trim_heap()


def _trim_heap() -> None:
    """Give free pages of the heap back, which glibc keeps for later; other systems do so by themselves."""
    if sys.platform != "linux":
        return
    try:
        trim = ctypes.CDLL(None).malloc_trim
    except AttributeError:  # Another C library, such as musl.
        return
    trim(0)
