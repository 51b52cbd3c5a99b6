"""Load the models that the operator names before anybody asks for them."""

import logging
from collections.abc import Sequence
from threading import Thread
from typing import Final, Literal

from gemma4_block.engine.pool import EnginePool
from gemma4_block.errors import EngineLoadingError, Gemma4BlockError

PreloadState = Literal["loading", "ready", "failed"]

_LOGGER: Final = logging.getLogger(__name__)


class Preloading:
    """Loads models one after the other, in a thread of its own; one that fails does not keep the others.

    They are models like all others afterwards: `GEMMA4_BLOCK_KEEP_ALIVE` holds for them too.

    Args:
        pool: Loads and holds them.
        names: As workflows name them.

    """

    def __init__(self, pool: EnginePool, names: Sequence[str]) -> None:
        self._pool = pool
        self._names = names
        self._state: PreloadState = "loading" if names else "ready"

    @property
    def state(self) -> PreloadState:
        """Whether all are loaded; `failed` where one of them could not be."""
        return self._state

    def start(self) -> None:
        """Begin; where there is nothing to load, do nothing."""
        if self._names:
            Thread(target=self._run, name="gemma4-block-preload", daemon=True).start()

    def _run(self) -> None:
        loaded = [self._load(name) for name in self._names]
        self._state = "ready" if all(loaded) else "failed"

    def _load(self, name: str) -> bool:
        try:
            while not self._is_loaded(name):
                pass
        except Gemma4BlockError as error:
            # Where it was raised is of no use.
            _LOGGER.error("%s is named with --preload and cannot be loaded: %s", name, error)  # noqa: TRY400
            return False
        return True

    def _is_loaded(self, name: str) -> bool:
        """Wait for a model as long as a request may, and say whether it is loaded; else it still loads."""
        try:
            with self._pool.lease(name):
                return True
        except EngineLoadingError:
            return False
