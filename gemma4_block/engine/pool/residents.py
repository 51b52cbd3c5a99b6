"""What the pool knows of one engine, from the first request for it until it is closed."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from gemma4_block.contract import AdaptableEngine, Engine, ModelReference

State = Literal["loading", "ready", "failed", "closing"]
"""`failed`: it could not be loaded, and is tried again after a pause; `closing`: its memory is given back."""


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

    @property
    def is_idle(self) -> bool:
        """Whether it could be closed."""
        return self.state == "ready" and self.leases == 0

    def change(self, state: State, now: float) -> None:
        """Enter a state."""
        self.state, self.since = state, now


@dataclass(frozen=True, kw_only=True, slots=True)
class EngineStatus:
    """An engine as an operator sees it.

    Attributes:
        reference: Which model it runs.
        name: What it was first asked for as.
        state: Where it is on its way.
        state_seconds: For how long.
        leases: How many are using it, or waiting until it is loaded.
        nbytes: This machine's memory that it takes; None unless it is ready.
        adapters: Directories of the adapters that are beside it.
        closes_in_seconds: When it is closed if nobody asks for it; None where nothing closes it.
        failure: Why it could not be loaded; None unless it failed.

    """

    reference: ModelReference
    name: str
    state: State
    state_seconds: float
    leases: int
    nbytes: int | None
    adapters: tuple[Path, ...]
    closes_in_seconds: float | None
    failure: str | None


def describe_status(resident: Resident, now: float) -> EngineStatus:
    """Return what an operator sees of an engine."""
    is_expiring = resident.is_idle and math.isfinite(resident.expires_at)
    return EngineStatus(
        reference=resident.reference,
        name=resident.name,
        state=resident.state,
        state_seconds=now - resident.since,
        leases=resident.leases,
        nbytes=None if resident.engine is None else resident.engine.nbytes,
        adapters=resident.engine.adapters if isinstance(resident.engine, AdaptableEngine) else (),
        closes_in_seconds=max(0.0, resident.expires_at - now) if is_expiring else None,
        failure=None if resident.failure is None else str(resident.failure),
    )
