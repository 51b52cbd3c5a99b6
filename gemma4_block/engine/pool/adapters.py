"""Lend a base with the adapter that a reference names."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from gemma4_block.contract import AdaptableEngine, Engine, LocalModel, ModelReference
from gemma4_block.errors import EngineError


def find_base_reference(reference: ModelReference) -> ModelReference:
    """Return the reference of the weights alone: all adapters of one base are of one engine."""
    return replace(reference, adapter=None) if isinstance(reference, LocalModel) else reference


def check_adapter(reference: ModelReference) -> None:
    """Refuse an adapter that does not fit its base, before anything is loaded.

    Args:
        reference: With or without an adapter.

    Raises:
        CheckpointError: The adapter's files are missing or damaged, or it was trained on another base.

    """
    if isinstance(reference, LocalModel) and reference.adapter is not None:
        # torch and transformers are imported when the first engine is asked for, and not before.
        from gemma4_block.engine.loading import read_adapter

        read_adapter(reference.adapter, reference.directory)


@contextmanager
def adapt(engine: Engine, reference: ModelReference) -> Iterator[Engine]:
    """Lend an engine with the adapter that a reference names; the engine itself where it names none.

    Args:
        engine: Of the weights.
        reference: Of the weights, or of an adapter on them.

    Yields:
        An engine that answers as the reference says.

    Raises:
        CheckpointError: The adapter's files are missing or damaged, or it was trained on another base.
        EngineError: The engine is closed, or can have no adapters.

    """
    adapter = reference.adapter if isinstance(reference, LocalModel) else None
    if adapter is None:
        yield engine
        return
    if not isinstance(engine, AdaptableEngine):
        raise EngineError(f"The engine of {reference} can have no adapters. Name its base.")
    with engine.adapted(adapter) as adapted:
        yield adapted
