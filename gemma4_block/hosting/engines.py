"""List and close the engines of this process, in the words of the operator."""

from typing_extensions import assert_never

from gemma4_block.catalogue import find_named_variant
from gemma4_block.contract import LocalModel, ServedModel
from gemma4_block.engine.pool import EnginePool, EngineStatus
from gemma4_block.hosting.reports import ClosingReport, EngineReport, EnginesReport


def report_engines(pool: EnginePool) -> EnginesReport:
    """Return what is loaded, loading, closing or could not be loaded.

    Args:
        pool: Holds the engines.

    Returns:
        One entry for each engine, in the order of asking.

    """
    return EnginesReport(engines=tuple(_describe(status) for status in pool.list_engines()))


def close_model(pool: EnginePool, model: str) -> ClosingReport:
    """Close the engines of a model, those that are in use as soon as nobody uses them; blocks while it does.

    Args:
        pool: Holds the engines.
        model: What it was asked for as, its other name if it is a variant, or its directory.

    Returns:
        How many there were.

    """
    named = [status for status in pool.list_engines() if _is_named(status, model)]
    unloaded = [status for status in named if pool.unload(status.reference)]
    left = {status.reference for status in pool.list_engines()}
    closing = sum(status.reference in left for status in unloaded)
    return ClosingReport(closed=len(unloaded) - closing, closing_when_idle=closing)


def _describe(status: EngineStatus) -> EngineReport:
    reference = status.reference
    device: str | None
    precision: str | None = None
    match reference:
        case LocalModel():
            device, where, precision = status.device, str(reference.directory), reference.quantization
        case ServedModel():
            device, where = f"server {reference.server}", reference.model
        case _:
            assert_never(reference)
    return EngineReport(
        model=status.name,
        precision=precision,
        device=device,
        adapters=tuple(map(str, status.adapters)),
        where=where,
        state=status.state,
        state_seconds=status.state_seconds,
        leases=status.leases,
        unused_seconds=status.unused_seconds,
        nbytes=status.nbytes,
        closes_in_seconds=status.closes_in_seconds,
        failure=status.failure,
    )


def _is_named(status: EngineStatus, model: str) -> bool:
    names = {status.name}
    if isinstance(status.reference, LocalModel):
        names |= {str(status.reference.directory), *map(str, status.adapters)}
    variant = find_named_variant(status.name)
    if variant is not None:
        names |= {variant.model_id, str(variant.hub_id)}
    return model in names
