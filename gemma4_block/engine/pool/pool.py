"""Keep one engine for each model and precision in this process, loaded once however many ask for it."""

import gc
import sys
from collections.abc import Callable
from concurrent.futures import Future
from functools import lru_cache
from threading import Lock
from typing import get_args

from gemma4_block.contract import Engine, ModelReference, Quantization
from gemma4_block.engine.fork import note_loading, refuse_forked
from gemma4_block.engine.pool.factory import make_engine
from gemma4_block.engine.pool.log_level import set_log_level
from gemma4_block.engine.pool.references import describe_reference, find_reference
from gemma4_block.errors import ConfigurationError, EngineError
from gemma4_block.settings import Settings, get_settings

ReferenceFinder = Callable[[str, Quantization, Settings], ModelReference]
"""Says which engine is meant; raises ConfigurationError or CheckpointError."""

EngineMaker = Callable[[ModelReference, Settings], Engine]
"""Loads or connects an engine; raises ConfigurationError or CheckpointError."""


class EnginePool:
    """The engines of a process; an `EngineProvider`.

    All methods may be called from many threads. Loading a model blocks only the threads that ask for it.

    Args:
        settings: The operator's; None reads the environment when the first engine is asked for.
        find: Says which engine a model and a precision mean.
        make: Makes that engine.

    """

    def __init__(
        self,
        settings: Settings | None = None,
        *,
        find: ReferenceFinder = find_reference,
        make: EngineMaker = make_engine,
    ) -> None:
        self._settings = settings
        self._find = find
        self._make = make
        self._engines: dict[ModelReference, Future[Engine]] = {}
        self._lock = Lock()

    def get(self, model_version: str, quantization: Quantization = "auto") -> Engine:
        """Return the one engine of a model and precision, loading it where needed; blocks while it loads.

        An engine that failed to load is not kept: callers that waited get the error, the next tries again.

        Args:
            model_version: A variant id, `gemma-4-demo`, a fine-tuned `project/version`, or a directory
                under one of the operator's roots.
            quantization: Precision of the weights.

        Returns:
            The same object for every name of the same model and precision.

        Raises:
            ConfigurationError: The id is unknown or may not be used, or the precision cannot work.
            CheckpointError: The weights are missing, incomplete or damaged.
            EngineError: This process was forked from one that had loaded a model.

        """
        refuse_forked()
        if quantization not in get_args(Quantization):
            allowed = ", ".join(get_args(Quantization))
            raise ConfigurationError(f"quantization is {quantization!r}; it must be one of {allowed}.")
        settings = get_settings() if self._settings is None else self._settings
        reference = self._find(model_version, quantization, settings)
        with self._lock:
            pending = self._engines.get(reference)
            is_first = pending is None
            if pending is None:
                pending = self._engines[reference] = Future()
        if is_first:
            self._fill(pending, reference, settings)
        return pending.result()

    def loaded(self) -> tuple[ModelReference, ...]:
        """Return what is loaded, in the order of asking; models that are still loading are left out."""
        with self._lock:
            return tuple(reference for reference, engine in self._engines.items() if engine.done())

    def unload(self, reference: ModelReference) -> bool:
        """Forget a loaded engine and return whether there was one.

        Its memory is free once the last reference to it is gone.
        """
        with self._lock:
            engine = self._engines.get(reference)
            if engine is None or not engine.done():
                return False
            del self._engines[reference], engine
        _release_memory()
        return True

    def close(self) -> None:
        """Close and forget what is loaded; its calls fail. Models that are still loading are left alone."""
        with self._lock:
            loaded = [reference for reference, engine in self._engines.items() if engine.done()]
            engines = [self._engines.pop(reference).result() for reference in loaded]
        for engine in engines:
            engine.close()

    def _fill(self, pending: "Future[Engine]", reference: ModelReference, settings: Settings) -> None:
        if settings.log_level is not None:
            set_log_level(settings.log_level)
        note_loading()
        try:
            engine = self._make(reference, settings)
        except BaseException as error:
            with self._lock:
                del self._engines[reference]
            # Ctrl-C in the loading thread must not end the threads that wait for it too.
            interrupted = EngineError(
                f"Loading {describe_reference(reference)} was interrupted. Ask for it again."
            )
            pending.set_exception(error if isinstance(error, Exception) else interrupted)
            raise
        pending.set_result(engine)


def get_engine_pool() -> EnginePool:
    """Return the process's one pool."""
    with _CREATION:
        return _create_engine_pool()


_CREATION = Lock()


# lru_cache alone would let two threads that come first each make a pool.
@lru_cache(maxsize=1)
def _create_engine_pool() -> EnginePool:
    return EnginePool()


def _release_memory() -> None:
    """Free what only reference cycles still hold, and give the GPU's unused blocks back."""
    gc.collect()
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        torch.cuda.empty_cache()
