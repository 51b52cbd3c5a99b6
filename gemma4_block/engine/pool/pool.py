"""Keep one engine for each model and precision in this process, loaded once however many ask for it."""

import logging
import math
import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from threading import TIMEOUT_MAX, Condition, Lock, Thread
from typing import Final, get_args

from gemma4_block.contract import Engine, KeepAlive, ModelReference, Quantization
from gemma4_block.engine.fork import note_loading, refuse_forked
from gemma4_block.engine.pool.adapters import adapt, check_adapter, find_base_reference, name_engine
from gemma4_block.engine.pool.claims import MemoryGauge
from gemma4_block.engine.pool.factory import make_engine
from gemma4_block.engine.pool.log_level import set_log_level
from gemma4_block.engine.pool.memory import release_memory
from gemma4_block.engine.pool.references import describe_reference, find_reference
from gemma4_block.engine.pool.residents import EngineStatus, Resident, describe_status, find_lifetime
from gemma4_block.engine.pool.room import NobodyWaitsError, RoomMaker
from gemma4_block.errors import ConfigurationError, EngineError, EngineLoadingError
from gemma4_block.log_line import log_line
from gemma4_block.settings import Settings, get_settings

ReferenceFinder = Callable[[str, Quantization, Settings], ModelReference]
"""Says which engine is meant; raises ConfigurationError or CheckpointError."""

EngineMaker = Callable[[ModelReference, Settings], Engine]
"""Loads or connects an engine; raises ConfigurationError or CheckpointError."""

_PAUSE_PER_LOAD: Final = 5
_LEAST_PAUSE_S: Final = 1.0
# Whoever was lent an engine names it until its function returns, or until it asks again, which waits here.
_FREED_WITHIN_S: Final = 0.5
# A model that is closed to make room for another is waited for, or more would be closed in vain.
_ROOM_WITHIN_S: Final = 5.0
# Whoever was told that the model is loading asks again, and must still find it.
_UNUSED_FOR_AT_LEAST_S: Final = 60.0

_LOGGER: Final = logging.getLogger(__name__)


def choose_pause(load_s: float) -> float:
    """Return for how many seconds a load that failed after `load_s` seconds is not tried again.

    It fails again unless somebody mends something, and should take no more than a sixth of the time.
    """
    return max(_LEAST_PAUSE_S, _PAUSE_PER_LOAD * load_s)


class EnginePool:
    """The engines of a process; an `EngineProvider`.

    All methods may be called from many threads. A model is loaded by a thread of its own, so that whoever
    waits for it can give up, and the next finds it loaded.

    Args:
        settings: The operator's; None reads the environment when the first engine is asked for.
        find: Says which engine a model and a precision mean.
        make: Makes that engine.
        choose_pause: Says for how many seconds a load that failed is not tried again, by those that it took.
        gauge: Knows how much memory there is, and how much of it a model takes.

    """

    def __init__(
        self,
        settings: Settings | None = None,
        *,
        find: ReferenceFinder = find_reference,
        make: EngineMaker = make_engine,
        choose_pause: Callable[[float], float] = choose_pause,
        gauge: MemoryGauge | None = None,
    ) -> None:
        self._settings = settings
        self._find = find
        self._make = make
        self._choose_pause = choose_pause
        self._residents: dict[ModelReference, Resident] = {}
        # Notified of every change of a resident.
        self._changed = Condition(Lock())
        # Closes engines when their time is up; there while one has such a time.
        self._reaper: Thread | None = None
        self._room = RoomMaker(
            self._residents,
            self._changed,
            partial(self._close, freed_within_s=_ROOM_WITHIN_S),
            MemoryGauge() if gauge is None else gauge,
        )

    @contextmanager
    def lease(
        self, model_version: str, quantization: Quantization = "auto", *, keep_alive: KeepAlive | None = None
    ) -> Iterator[Engine]:
        """Lend the one engine of a model and precision, which is not closed before the context is left.

        Entering the context loads the engine where needed, and waits for that as long as the operator
        allows.

        Args:
            model_version: A variant id, `gemma-4-demo`, a fine-tuned `project/version`, or a directory
                under one of the operator's roots.
            quantization: Precision of the weights.
            keep_alive: How long the engine stays loaded afterwards; None means as long as the operator says,
                which cannot be exceeded.

        Yields:
            The engine, the same object for every name of the same model and precision; with an adapter, a
            view of its base's.

        Raises:
            ConfigurationError: The id is unknown or may not be used, or the precision cannot work.
            CheckpointError: The weights are missing, incomplete or damaged.
            EngineLoadingError: The engine is still loading.
            OutOfMemoryError: Memory never holds the model, or now not its adapter.
            EngineError: This process was forked from one that had loaded a model.

        """
        refuse_forked()
        if quantization not in get_args(Quantization):
            allowed = ", ".join(get_args(Quantization))
            raise ConfigurationError(f"quantization is {quantization!r}; it must be one of {allowed}.")
        settings = get_settings() if self._settings is None else self._settings
        reference = self._find(model_version, quantization, settings)
        elements = check_adapter(reference)
        base = find_base_reference(reference)
        resident = self._enter(partial(name_engine, reference, model_version), base, settings)
        try:
            engine = self._await(resident, settings.max_loading_seconds)
            room = self._room.admit_adapter(resident, model_version, elements)
            with adapt(engine, reference, room) as adapted:
                yield adapted
        finally:
            self._leave(resident, find_lifetime(settings.keep_alive, keep_alive))

    def list_engines(self) -> tuple[EngineStatus, ...]:
        """Return what is loaded, loading, closing or could not be loaded, in the order of asking."""
        with self._changed:
            now = time.monotonic()
            return tuple(describe_status(resident, now) for resident in self._residents.values())

    def unload(self, reference: ModelReference) -> bool:
        """Close an engine, at once where nobody uses it, else as soon as nobody does.

        Args:
            reference: Of one that is loaded.

        Returns:
            Whether there was one.

        """
        with self._changed:
            resident = self._residents.get(reference)
            if resident is None or resident.state != "ready":
                return False
            resident.is_unwanted = True
            is_idle = resident.is_idle
            if is_idle:
                resident.change("closing", time.monotonic())
        if is_idle:
            self._close(resident)
        return True

    def close(self) -> None:
        """Close and forget what is loaded; its calls fail. Models that are still loading are left alone.

        Memory is free once the last reference to an engine is gone, which is not waited for.
        """
        with self._changed:
            ready = [resident for resident in self._residents.values() if resident.state == "ready"]
            for resident in ready:
                resident.change("closing", time.monotonic())
        for resident in ready:
            self._close(resident, freed_within_s=0.0)

    def _enter(self, name: Callable[[], str], reference: ModelReference, settings: Settings) -> Resident:
        """Count another who uses an engine, and have it loaded where needed."""
        with self._changed:
            # The memory of an engine that is closing is needed for its successor.
            while (resident := self._residents.get(reference)) is not None and resident.state == "closing":
                self._changed.wait()
            now = time.monotonic()
            if resident is None or (resident.state == "failed" and now >= resident.expires_at):
                self._residents.pop(reference, None)
                resident = self._residents[reference] = Resident(reference=reference, name=name(), since=now)
                # Not a daemon: torch aborts the process where the interpreter goes while a thread loads.
                Thread(target=self._load, args=(resident, settings), name="gemma4-block-loader").start()
            resident.leases += 1
            return resident

    def _await(self, resident: Resident, patience_s: float) -> Engine:
        """Wait until an engine is loaded; 0 is any time."""
        with self._changed:
            gives_up_at = math.inf if patience_s == 0 else time.monotonic() + patience_s
            while resident.state == "loading":
                now = time.monotonic()
                if now >= gives_up_at:
                    reason = f" It waits for memory: {resident.waits_for}." if resident.waits_for else ""
                    raise EngineLoadingError(
                        f"{resident.name} has been loading for {now - resident.since:.0f} s.{reason} Ask "
                        "again in a while, or let requests wait longer with "
                        "GEMMA4_BLOCK_MAX_LOADING_SECONDS."
                    )
                self._changed.wait(min(gives_up_at - now, TIMEOUT_MAX))
            if resident.failure is not None:
                raise resident.failure.with_traceback(None)
            if resident.engine is None:
                raise EngineError("The engine was closed while it was waited for. Ask for it again.")
            resident.was_used = True
            return resident.engine

    def _leave(self, resident: Resident, keep_alive_s: float) -> None:
        """Count one less who uses an engine, and say when it is closed if nobody comes."""
        with self._changed:
            resident.leases -= 1
            resident.used_at = time.monotonic()
            if resident.state != "failed":
                resident.expires_at = resident.used_at + (0 if resident.is_unwanted else keep_alive_s)
                self._watch(resident)
            self._changed.notify_all()

    def _load(self, resident: Resident, settings: Settings) -> None:
        set_log_level(settings.log_level)
        note_loading()
        _LOGGER.info(log_line("Load", model=describe_reference(resident.reference), outcome="begun"))
        try:
            engine = self._make(resident.reference, self._room.make(resident, settings))
        except NobodyWaitsError:
            with self._changed:
                del self._residents[resident.reference]
                self._changed.notify_all()
            return
        except BaseException as error:  # noqa: BLE001 - those who wait get it, whatever it is
            interrupted = EngineError(f"Loading {resident.name} was interrupted. Ask for it again.")
            failure = error if isinstance(error, Exception) else interrupted
            with self._changed:
                now = time.monotonic()
                resident.failure = failure
                resident.expires_at = now + self._choose_pause(now - resident.since)
                resident.change("failed", now)
                self._changed.notify_all()
            return
        with self._changed:
            now = time.monotonic()
            resident.engine = engine
            resident.used_at = now
            resident.change("ready", now)
            # Those who had asked for it may have given up.
            resident.expires_at = max(resident.expires_at, now + _UNUSED_FOR_AT_LEAST_S)
            self._watch(resident)
            self._changed.notify_all()

    def _watch(self, resident: Resident) -> None:
        """See to it that an engine is closed in time; the lock is held."""
        if self._reaper is None and resident.is_idle and math.isfinite(resident.expires_at):
            self._reaper = Thread(target=self._reap, name="gemma4-block-reaper", daemon=True)
            self._reaper.start()

    def _reap(self) -> None:
        """Close engines whose time is up, until none has such a time."""
        while True:
            with self._changed:
                due = [
                    resident
                    for resident in self._residents.values()
                    if resident.is_idle and math.isfinite(resident.expires_at)
                ]
                if not due:
                    self._reaper = None
                    return
                first = min(due, key=lambda resident: resident.expires_at)
                left_s = first.expires_at - time.monotonic()
                if left_s > 0:
                    self._changed.wait(min(left_s, TIMEOUT_MAX))
                    continue
                first.change("closing", time.monotonic())
            self._close(first)

    def _close(self, resident: Resident, *, freed_within_s: float = _FREED_WITHIN_S) -> None:
        """Close an engine that no other thread closes, and forget it once its memory is free."""
        engine, resident.engine = resident.engine, None
        assert engine is not None, resident.state
        try:
            engine.close()
            is_gone = weakref.ref(engine)
            del engine
            release_memory(lambda: is_gone() is None, within_s=freed_within_s)
        finally:
            with self._changed:
                del self._residents[resident.reference]
                self._changed.notify_all()
            _LOGGER.info(log_line("Close", model=describe_reference(resident.reference)))
