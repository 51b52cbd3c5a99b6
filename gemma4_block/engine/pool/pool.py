"""Keep one engine for each model and precision in this process, loaded once however many ask for it."""

import gc
import sys
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from threading import Lock
from typing import get_args

from gemma4_block.contract import Engine, Quantization
from gemma4_block.engine.pool.log_level import set_log_level
from gemma4_block.engine.pool.resolver import resolve
from gemma4_block.errors import ConfigurationError, EngineError
from gemma4_block.settings import Settings, get_settings

Loader = Callable[[Path, Quantization, Settings], Engine]
"""Loads a directory in a precision; raises CheckpointError or ConfigurationError."""

PrecisionChooser = Callable[[Path, Settings], Quantization]
"""Says what `auto` is for a directory: `none` or `nf4`."""


@dataclass(frozen=True, kw_only=True, slots=True)
class LoadedModel:
    """What makes two engines of a process the same one.

    Attributes:
        directory: Absolute, links followed.
        quantization: `none` or `nf4`.

    """

    directory: Path
    quantization: Quantization


def load_gemma4(directory: Path, quantization: Quantization, settings: Settings) -> Engine:
    """Load with transformers, which is imported now and not before.

    Args:
        directory: Weights, or an adapter beside its `base/`.
        quantization: Precision of the weights.
        settings: The operator's.

    Returns:
        The engine, ready to answer.

    Raises:
        CheckpointError: Files are missing, damaged or do not fit together.
        ConfigurationError: The device or precision cannot work.

    """
    from gemma4_block.engine.pool.factory import load_engine

    return load_engine(directory, quantization=quantization, settings=settings)


def choose_auto_quantization(directory: Path, settings: Settings) -> Quantization:
    """Say what `auto` is on this machine.

    Args:
        directory: Weights, or an adapter beside its `base/`.
        settings: The operator's; they name the device.

    Returns:
        `nf4` on CUDA, except for a mixture of experts; else `none`.

    Raises:
        CheckpointError: The directory's config.json cannot be read.
        ConfigurationError: The operator's device does not exist.

    """
    from gemma4_block.engine.loading.precision import choose_quantization, find_device

    device = find_device(settings.device)
    if device.type == "cpu":
        return "none"
    from gemma4_block.engine.loading.checkpoint import load_config, weights_directory

    config = load_config(weights_directory(directory), trust_remote_code=False)
    return choose_quantization("auto", device=device, config=config)


class EnginePool:
    """The engines of a process; an `EngineProvider`.

    All methods may be called from many threads. Loading one model blocks those who ask for it, and nobody
    else.

    Args:
        settings: The operator's; None reads the environment when the first engine is asked for.
        load: Loads a directory.
        choose_auto: Says what the quantization `auto` is for a directory.

    """

    def __init__(
        self,
        settings: Settings | None = None,
        *,
        load: Loader = load_gemma4,
        choose_auto: PrecisionChooser = choose_auto_quantization,
    ) -> None:
        self._settings = settings
        self._load = load
        self._choose_auto = choose_auto
        self._engines: dict[LoadedModel, Future[Engine]] = {}
        self._lock = Lock()

    def get(self, model_version: str, quantization: Quantization = "auto") -> Engine:
        """Return the one engine of a model and precision, loading it where needed; blocks while it loads.

        An engine that failed to load is not kept: whoever waited gets the error, the next one tries again.

        Args:
            model_version: A variant id, `gemma-4-demo`, a fine-tuned `project/version`, or a directory
                under one of the operator's roots.
            quantization: Precision of the weights.

        Returns:
            The same object for every name of the same directory and precision.

        Raises:
            ConfigurationError: The id is unknown or may not be used, or the precision cannot work.
            CheckpointError: The weights are missing, incomplete or damaged.

        """
        if quantization not in get_args(Quantization):
            allowed = ", ".join(get_args(Quantization))
            raise ConfigurationError(f"quantization is {quantization!r}; it must be one of {allowed}.")
        settings = get_settings() if self._settings is None else self._settings
        directory = resolve(model_version, settings)
        model = LoadedModel(
            directory=directory,
            quantization=self._choose_auto(directory, settings) if quantization == "auto" else quantization,
        )
        with self._lock:
            pending = self._engines.get(model)
            is_first = pending is None
            if pending is None:
                pending = self._engines[model] = Future()
        if is_first:
            self._fill(pending, model, settings)
        return pending.result()

    def loaded(self) -> tuple[LoadedModel, ...]:
        """Return what is loaded, in the order of asking; models that are still loading are left out."""
        with self._lock:
            return tuple(model for model, engine in self._engines.items() if engine.done())

    def unload(self, model: LoadedModel) -> bool:
        """Forget a loaded engine and return whether there was one.

        Its memory is free as soon as nobody works with it any more.
        """
        with self._lock:
            engine = self._engines.get(model)
            if engine is None or not engine.done():
                return False
            del self._engines[model], engine
        _release_memory()
        return True

    def _fill(self, pending: "Future[Engine]", model: LoadedModel, settings: Settings) -> None:
        if settings.log_level is not None:
            set_log_level(settings.log_level)
        try:
            engine = self._load(model.directory, model.quantization, settings)
        except BaseException as error:
            with self._lock:
                del self._engines[model]
            # Somebody's Ctrl-C is not the other threads' Ctrl-C.
            interrupted = EngineError(f"Loading {model.directory} was interrupted. Ask for it again.")
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
