"""Make room for a model before it is loaded: close what nobody uses, wait, or refuse."""

import logging
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from threading import Condition
from typing import Final

from gemma4_block.contract import LocalModel, ModelReference
from gemma4_block.engine.pool.claims import MemoryGauge
from gemma4_block.engine.pool.placement import Claim, Close, Enter, Holding, Refuse, Wait, decide
from gemma4_block.engine.pool.residents import Resident, list_adapters
from gemma4_block.engine.pool.suggestions import explain_refusal
from gemma4_block.errors import OutOfMemoryError
from gemma4_block.log_line import log_line
from gemma4_block.settings import Settings

# Other programs give memory back without telling.
_LOOKS_EVERY_S: Final = 1.0

_LOGGER: Final = logging.getLogger(__name__)


class NobodyWaitsError(Exception):
    """Nobody waits any more for a model for which there is no room yet."""


class RoomMaker:
    """Lets models in one after the other, each when its device has room for it.

    Args:
        residents: Of the pool.
        changed: Notified of every change of a resident; its lock guards them.
        close: Closes a resident that has become `closing`, and returns once its memory is free.
        gauge: Knows the devices.

    """

    def __init__(
        self,
        residents: Mapping[ModelReference, Resident],
        changed: Condition,
        close: Callable[[Resident], None],
        gauge: MemoryGauge,
    ) -> None:
        self._residents = residents
        self._changed = changed
        self._close = close
        self._gauge = gauge

    def make(self, resident: Resident, settings: Settings) -> Settings:
        """Wait until there is room for a model, and claim it.

        Args:
            resident: Of the model; it is loading.
            settings: The operator's.

        Returns:
            The same, with the device and the precision in which there is room.

        Raises:
            OutOfMemoryError: There never will be.
            ConfigurationError: A device is not there, or the precision cannot work.
            NobodyWaitsError: All who had asked for it have given up before there was.

        """
        model = resident.reference
        if not isinstance(model, LocalModel):
            return settings
        claims = self._claim(resident, model, settings)
        if not claims:
            return settings
        while True:
            refusal: Refuse | None = None
            with self._changed:
                free = {claim.device: self._gauge.read_free(claim.device) for claim in claims}
                match decide(claims, free, self._list_holdings(resident)):
                    case Enter(claim=claim):
                        resident.claim, resident.waits_for = claim, ""
                        _log("granted", resident.name, claim)
                        return claim.settings
                    case Close(reference=reference):
                        victim = self._choose_victim(reference, resident.name)
                    case Wait() as wait:
                        self._wait(resident, wait)
                        continue
                    case Refuse() as refusal:
                        pass
            if refusal is not None:
                _log("refused", resident.name, refusal.claim)
                raise explain_refusal(resident.name, model, settings, refusal)
            self._close(victim)

    @contextmanager
    def admit_adapter(self, resident: Resident, name: str, elements: int) -> Iterator[None]:
        """Keep room for an adapter beside its base while the context loads it.

        What nobody uses is closed for it.

        Args:
            resident: Of the base; it is ready, and in use.
            name: What the adapter was asked for as.
            elements: How many numbers it has.

        Yields:
            Nothing.

        Raises:
            OutOfMemoryError: There is no room now.

        """
        base = resident.claim
        if base is None:
            yield
            return
        claim = _claim_adapter(base, elements)
        self._enter(name, resident, claim)
        try:
            yield
        finally:
            with self._changed:
                resident.arriving_bytes -= claim.footprint.needed

    def _enter(self, name: str, base: Resident, claim: Claim) -> None:
        needed = claim.footprint.needed
        while True:
            with self._changed:
                free = self._gauge.read_free(claim.device)
                match decide([claim], {claim.device: free}, self._list_holdings(None)):
                    case Enter():
                        base.arriving_bytes += needed
                        return
                    case Close(reference=reference):
                        victim = self._choose_victim(reference, name)
                    case Wait() | Refuse():
                        raise OutOfMemoryError(
                            f"{name} needs {needed / 1e6:.1f} MB on {claim.device} beside its base, and the "
                            "models in use there may take all the rest. Lower GEMMA4_BLOCK_MAX_ADAPTERS, "
                            "GEMMA4_BLOCK_MAX_BATCH_SIZE or GEMMA4_BLOCK_PREFIX_CACHE_BYTES, or free memory "
                            "of other programs."
                        )
            self._close(victim)

    def _choose_victim(self, reference: ModelReference, newcomer: str) -> Resident:
        """Let a model that nobody uses begin to close; the lock is held."""
        victim, now = self._residents[reference], time.monotonic()
        idle_s = now - victim.used_at
        _LOGGER.info(log_line("Admission", model=newcomer, closes=victim.name, unused_seconds=idle_s))
        victim.change("closing", now)
        return victim

    def _claim(self, resident: Resident, model: LocalModel, settings: Settings) -> tuple[Claim, ...]:
        devices = self._gauge.list_devices(settings)
        with self._changed:
            holdings = self._list_holdings(resident)
        free = {}
        for device in devices:
            size = self._gauge.read_free(device)
            promised = sum(one.needed - one.taken for one in holdings if one.device == device)
            free[device] = None if size is None else max(0, size - promised)
        return self._gauge.claim(model, settings, free)

    def _wait(self, resident: Resident, wait: Wait) -> None:
        from gemma4_block.engine.footprint import format_gb

        if resident.leases == 0:
            raise NobodyWaitsError
        if not resident.waits_for:
            _log("waits", resident.name, wait.claim)
        resident.waits_for = (
            f"it needs {format_gb(wait.claim.footprint.needed)} GB on {wait.claim.device}, where "
            f"{format_gb(wait.left)} GB are left beside models that are in use"
        )
        self._changed.wait(_LOOKS_EVERY_S)

    def _list_holdings(self, newcomer: Resident | None) -> list[Holding]:
        """Return what the others have; the lock is held."""
        return [
            _hold(one, one.claim)
            for one in self._residents.values()
            if one is not newcomer and one.claim is not None and one.state != "failed"
        ]


def _claim_adapter(base: Claim, elements: int) -> Claim:
    """Claim an adapter's memory, on the device and in the precision of its base."""
    import torch

    from gemma4_block.engine.footprint import Footprint

    dtype: torch.dtype = getattr(torch, base.settings.dtype)
    return replace(base, footprint=Footprint(weights=elements * dtype.itemsize))


def _log(outcome: str, model: str, claim: Claim) -> None:
    footprint = claim.footprint
    _LOGGER.info(
        log_line(
            "Admission",
            model=model,
            outcome=outcome,
            device=claim.device,
            bytes=footprint.needed,
            parts=str(footprint),
        )
    )


def _hold(resident: Resident, claim: Claim) -> Holding:
    footprint = claim.footprint
    needed = footprint.needed + sum(one.nbytes for one in list_adapters(resident))
    taken = 0
    if resident.engine is not None:
        # The system counts mapped weights as free, though they are needed.
        mapped = footprint.mapped + footprint.left_in_files
        taken = min(needed, max(0, resident.engine.nbytes - mapped))
    return Holding(
        reference=resident.reference,
        device=claim.device,
        needed=needed + resident.arriving_bytes,
        taken=taken,
        is_idle=resident.is_idle,
        is_changing=resident.state != "ready",
        used_at=resident.used_at,
    )
