"""What the pool knows of one engine, from the first request for it until it is closed."""

import logging
import math
from dataclasses import dataclass
from pathlib import Path
from threading import main_thread
from typing import Final, Literal

from typing_extensions import assert_never

from gemma4_block.contract import AdaptableEngine, Engine, HeldAdapter, KeepAlive, ModelReference
from gemma4_block.engine.pool.placement import Claim
from gemma4_block.engine.pool.references import describe_reference, label_engine
from gemma4_block.log_line import log_line
from gemma4_block.meter import Outcome, get_meter

State = Literal["loading", "ready", "failed", "closing"]
"""`failed`: it could not be loaded, and is tried again after a pause; `closing`: its memory is given back."""

_LOGGER: Final = logging.getLogger(__name__)


@dataclass(kw_only=True, slots=True, eq=False)
class Resident:
    """An engine of the pool; the pool's lock guards it. Times are by `time.monotonic`.

    Attributes:
        reference: Which model it runs.
        name: What it was first asked for as; unlike a directory, a client may see it.
        state: Where it is on its way.
        since: When the state began.
        engine: The engine, while it is ready.
        failure: Why it could not be loaded; None unless it failed.
        leases: How many are using it, or waiting until it is loaded.
        was_used: Whether anybody has had it since it was loaded.
        expires_at: When it is to be closed, if nobody uses it then; where it failed, when it may be tried
            again. Infinite for never.
        is_unwanted: Whether it is to be closed as soon as nobody uses it.
        claim: The memory that it may take; None where nobody can tell, or before there was room for it.
        waits_for: What keeps it from being loaded, in words; empty where nothing does.
        arriving_bytes: Memory that is kept for adapters that are being loaded.
        used_at: When somebody last stopped using it, or waiting for it; minus infinity before.

    """

    reference: ModelReference
    name: str
    since: float
    state: State = "loading"
    engine: Engine | None = None
    failure: Exception | None = None
    leases: int = 0
    was_used: bool = False
    expires_at: float = math.inf
    is_unwanted: bool = False
    claim: Claim | None = None
    waits_for: str = ""
    arriving_bytes: int = 0
    used_at: float = -math.inf

    @property
    def is_idle(self) -> bool:
        """Whether it could be closed."""
        return self.state == "ready" and self.leases == 0

    def change(self, state: State, now: float) -> None:
        """Enter a state, and tell the log and the operator's monitoring of it.

        Args:
            state: The new one; what comes with it, an engine or a failure, is there already.
            now: Time.

        """
        label, meter = label_engine(self.reference, self.name), get_meter()
        match state:
            case "ready" | "failed":
                outcome: Outcome = "loaded" if state == "ready" else "failed"
                meter.note_load(label, outcome, now - self.since)
                self._log_load(outcome, now - self.since)
            case "closing":
                meter.note_close(label)
            case "loading":
                pass
            case _:
                assert_never(state)
        self.state, self.since = state, now

    def _log_load(self, outcome: Outcome, seconds: float) -> None:
        model = describe_reference(self.reference)
        if self.engine is not None:
            nbytes = self.engine.nbytes
            _LOGGER.info(log_line("Load", model=model, outcome=outcome, seconds=seconds, bytes=nbytes))
        # A program that ends keeps torch from reading on, which is no fault of the files.
        elif main_thread().is_alive():
            # Whoever waits gets the failure itself, so that the log need not have where it was raised.
            reason = str(self.failure)
            _LOGGER.warning(log_line("Load", model=model, outcome=outcome, seconds=seconds, reason=reason))


@dataclass(frozen=True, kw_only=True, slots=True)
class EngineStatus:
    """An engine as an operator sees it.

    Attributes:
        reference: Which model it runs.
        name: What it was first asked for as.
        state: Where it is on its way.
        state_seconds: For how long.
        leases: How many are using it, or waiting until it is loaded.
        unused_seconds: For how long nobody has used it; 0 while somebody does, None where nobody ever has.
        nbytes: This machine's memory that it takes; None unless it is ready.
        device: Where it is, or will be; None where nobody can tell.
        claimed_bytes: What it may take there; None where nobody can tell.
        adapters: Directories of the adapters that are beside it.
        closes_in_seconds: When it is closed if nobody asks for it; None where nothing closes it.
        failure: Why it could not be loaded; None unless it failed.

    """

    reference: ModelReference
    name: str
    state: State
    state_seconds: float
    leases: int
    unused_seconds: float | None
    nbytes: int | None
    device: str | None
    claimed_bytes: int | None
    adapters: tuple[Path, ...]
    closes_in_seconds: float | None
    failure: str | None


def list_adapters(resident: Resident) -> tuple[HeldAdapter, ...]:
    """Return the adapters that an engine has beside it."""
    return resident.engine.adapters if isinstance(resident.engine, AdaptableEngine) else ()


def describe_status(resident: Resident, now: float) -> EngineStatus:
    """Return what an operator sees of an engine."""
    unused = now - resident.used_at if math.isfinite(resident.used_at) else None
    is_expiring = resident.is_idle and math.isfinite(resident.expires_at)
    return EngineStatus(
        reference=resident.reference,
        name=resident.name,
        state=resident.state,
        state_seconds=now - resident.since,
        leases=resident.leases,
        unused_seconds=0.0 if resident.leases else unused,
        nbytes=None if resident.engine is None else resident.engine.nbytes,
        device=None if resident.claim is None else resident.claim.device,
        claimed_bytes=None if resident.claim is None else resident.claim.footprint.needed,
        adapters=tuple(one.directory for one in list_adapters(resident)),
        closes_in_seconds=max(0.0, resident.expires_at - now) if is_expiring else None,
        failure=None if resident.failure is None else str(resident.failure),
    )


def find_lifetime(most: KeepAlive, asked: KeepAlive | None) -> float:
    """Return for how many seconds an engine stays unused, which is no longer than the operator says.

    >>> find_lifetime(300.0, "forever")
    300.0
    """
    limits = [most] if asked is None else [most, asked]
    return min(math.inf if limit == "forever" else limit for limit in limits)
