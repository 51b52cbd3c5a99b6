"""Keep the adapters of an engine that were used last, each loaded once however many ask for it."""

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Final

from gemma4_block.contract import HeldAdapter
from gemma4_block.engine.adapter_tag import AdapterTag
from gemma4_block.engine.loading import Adapter, AdapterBank, AdapterFiles, load_inference_config
from gemma4_block.engine.scheduler import Scheduler
from gemma4_block.log_line import log_line

if TYPE_CHECKING:
    from inference_models.models.common.roboflow.model_packages import InferenceConfig

_LOGGER: Final = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class LoadedAdapter:
    """An adapter that is beside its base.

    Attributes:
        directory: Where its files are.
        tag: What the engine knows it by.
        inference_config: The host's preprocessing of a fine-tuned package, or None.

    """

    directory: Path
    tag: AdapterTag
    inference_config: "InferenceConfig | None"


@dataclass(kw_only=True, slots=True, eq=False)
class _Resident:
    loaded: LoadedAdapter
    users: int = 0
    last_used: float = 0.0


class AdapterResidency:
    """The adapters of one engine. May be used from many threads.

    Args:
        bank: Holds them.
        scheduler: Of the model; adapters are added and removed between two passes.
        inference_config: Of the base.
        most: How many stay loaded; more only while all of them are used.
        forget: Drops what is kept of an adapter's prompts.

    """

    def __init__(
        self,
        bank: AdapterBank,
        scheduler: Scheduler,
        *,
        inference_config: "InferenceConfig | None",
        most: int,
        forget: Callable[[str], None],
    ) -> None:
        self._bank = bank
        self._scheduler = scheduler
        self._inference_config = inference_config
        self._most = most
        self._forget = forget
        # By their files, so that an adapter that was trained again is another one.
        self._residents: dict[AdapterFiles, _Resident] = {}
        self._lock = Lock()
        # Held while an adapter is loaded, so that it is loaded once; those that are there need not wait.
        self._loading = Lock()

    @property
    def held(self) -> tuple[HeldAdapter, ...]:
        """Those that are loaded, in the order of loading."""
        with self._lock:
            loaded = [resident.loaded for resident in self._residents.values()]
        return tuple(
            HeldAdapter(directory=one.directory, nbytes=self._bank.measure(one.tag.name)) for one in loaded
        )

    @contextmanager
    def borrow(self, directory: Path) -> Iterator[LoadedAdapter]:
        """Lend an adapter, which is not removed before the context is left.

        Args:
            directory: Holds its files.

        Yields:
            The adapter, loaded.

        Raises:
            CheckpointError: Its files are missing or damaged, or it was trained on another base.
            EngineError: The engine is closed.

        """
        adapter = self._bank.check(directory)
        resident = self._find(adapter.files)
        if resident is None:
            with self._loading:
                resident = self._find(adapter.files)
                if resident is None:
                    resident = self._load(adapter)
        try:
            yield resident.loaded
        finally:
            with self._lock:
                resident.users -= 1
                resident.last_used = time.monotonic()

    def _find(self, files: AdapterFiles) -> _Resident | None:
        """Count another who uses an adapter that is loaded."""
        with self._lock:
            resident = self._residents.get(files)
            if resident is not None:
                resident.users += 1
            return resident

    def _load(self, adapter: Adapter) -> _Resident:
        started = time.monotonic()
        inference_config = load_inference_config(adapter.files.directory)
        tensors = self._bank.fetch(adapter)
        self._make_room()
        sees_as_base = inference_config == self._inference_config
        tag = self._scheduler.between_passes(
            lambda: self._bank.add(adapter, tensors, sees_as_base=sees_as_base)
        )
        loaded = LoadedAdapter(directory=adapter.files.directory, tag=tag, inference_config=inference_config)
        resident = _Resident(loaded=loaded, users=1)
        with self._lock:
            self._residents[adapter.files] = resident
        _LOGGER.info(
            log_line(
                "Load",
                adapter=str(loaded.directory),
                outcome="loaded",
                seconds=time.monotonic() - started,
            )
        )
        return resident

    def _make_room(self) -> None:
        """Remove adapters that nobody uses, those whose last use is longest ago, until one more may come."""
        with self._lock:
            idle = sorted(
                (files for files, resident in self._residents.items() if not resident.users),
                key=lambda files: self._residents[files].last_used,
            )
            surplus = max(0, len(self._residents) + 1 - self._most)
            gone = [self._residents.pop(files) for files in idle[:surplus]]
        for resident in gone:
            name = resident.loaded.tag.name
            self._scheduler.between_passes(partial(self._bank.remove, name))
            self._forget(name)
            _LOGGER.info(log_line("Close", adapter=str(resident.loaded.directory)))
