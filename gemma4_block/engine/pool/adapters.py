"""Lend a base with the adapter that a reference names."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import replace

from gemma4_block.contract import AdaptableEngine, Engine, LocalModel, ModelReference
from gemma4_block.engine.pool.bases import find_variant_of
from gemma4_block.errors import EngineError


def find_base_reference(reference: ModelReference) -> ModelReference:
    """Return the reference of the weights alone: all adapters of one base are of one engine."""
    return replace(reference, adapter=None) if isinstance(reference, LocalModel) else reference


def name_engine(reference: ModelReference, asked_as: str) -> str:
    """Return what the engine of a reference is called, which a client may see.

    Args:
        reference: With or without an adapter.
        asked_as: What it was asked for as.

    Returns:
        The same without an adapter; else the variant of its base, or words for it.

    """
    if not isinstance(reference, LocalModel) or reference.adapter is None:
        return asked_as
    variant = find_variant_of(reference.directory)
    return f"the base of {asked_as}" if variant is None else variant.model_id


def check_adapter(reference: ModelReference) -> int:
    """Refuse an adapter that does not fit its base, before anything is loaded.

    Args:
        reference: With or without an adapter.

    Returns:
        How many numbers the adapter has; 0 without one.

    Raises:
        CheckpointError: The adapter's files are missing or damaged, or it was trained on another base.

    """
    if not isinstance(reference, LocalModel) or reference.adapter is None:
        return 0
    # torch and transformers are imported when the first engine is asked for, and not before.
    from gemma4_block.engine.loading import read_adapter

    return read_adapter(reference.adapter, reference.directory).elements


@contextmanager
def adapt(engine: Engine, reference: ModelReference, room: AbstractContextManager[None]) -> Iterator[Engine]:
    """Lend an engine with the adapter that a reference names; the engine itself where it names none.

    Args:
        engine: Of the weights.
        reference: Of the weights, or of an adapter on them.
        room: Entered while an adapter is loaded.

    Yields:
        An engine that answers as the reference says.

    Raises:
        CheckpointError: The adapter's files are missing or damaged, or it was trained on another base.
        EngineError: The engine is closed, or can have no adapters.
        OutOfMemoryError: There is no room for the adapter.

    """
    adapter = reference.adapter if isinstance(reference, LocalModel) else None
    if adapter is None:
        yield engine
        return
    if not isinstance(engine, AdaptableEngine):
        raise EngineError(f"The engine of {reference} can have no adapters. Name its base.")
    with ExitStack() as stack:
        is_there = any(held.directory == adapter for held in engine.adapters)
        with nullcontext() if is_there else room:
            adapted = stack.enter_context(engine.adapted(adapter))
        yield adapted
