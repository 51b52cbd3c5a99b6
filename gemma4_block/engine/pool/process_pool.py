"""The one pool of this process."""

from functools import lru_cache
from threading import Lock

from gemma4_block.engine.pool.copies import warn_of_copies
from gemma4_block.engine.pool.pool import EnginePool


def get_engine_pool() -> EnginePool:
    """Return the process's one pool."""
    with _CREATION:
        return _create_engine_pool()


_CREATION = Lock()


# lru_cache alone would let two threads that come first each make a pool.
@lru_cache(maxsize=1)
def _create_engine_pool() -> EnginePool:
    warn_of_copies()
    return EnginePool()
