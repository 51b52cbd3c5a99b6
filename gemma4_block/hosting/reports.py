"""What the server tells its operator of the engines in it, and what it was told to do with them."""

from typing import Final

from pydantic import BaseModel, ConfigDict

ENGINES_PATH: Final = "/gemma4/engines"
"""Where the operator asks for engines (GET), and closes those of a model (DELETE, with `?model=`)."""


class _Report(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore", protected_namespaces=())


class EngineReport(_Report):
    """An engine of the server.

    Attributes:
        model: What it was first asked for as.
        precision: `none`, `nf4`, `int8` or `int8_tower`; None where another server runs it.
        device: Where it computes; the name of the server where that is another; None where nobody can tell.
        adapters: Directories of the adapters on top of its weights.
        where: Directory of its weights, or its name on the server that runs it.
        state: `loading`, `ready`, `failed` or `closing`.
        state_seconds: For how long.
        leases: How many are using it, or waiting until it is loaded.
        unused_seconds: For how long nobody has used it; None where nobody ever has.
        nbytes: This machine's memory that it takes; None unless it is ready.
        closes_in_seconds: When it is closed if nobody asks for it; None where nothing closes it.
        failure: Why it could not be loaded; None unless it failed.

    """

    model: str
    precision: str | None
    device: str | None
    adapters: tuple[str, ...]
    where: str
    state: str
    state_seconds: float
    leases: int
    unused_seconds: float | None
    nbytes: int | None
    closes_in_seconds: float | None
    failure: str | None


class EnginesReport(_Report):
    """All engines of the server, in the order of asking."""

    engines: tuple[EngineReport, ...]


class ClosingReport(_Report):
    """What became of the engines of a model.

    Attributes:
        closed: How many were closed.
        closing_when_idle: How many are closed as soon as nobody uses them.

    """

    closed: int
    closing_when_idle: int
