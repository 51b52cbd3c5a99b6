"""Know a process that was forked from one which had loaded a model.

Such a process has the parent's memory and none of its threads. OpenMP, which torch computes with, still
counts on threads that are gone, so that the first larger product of the child waits for ever or ends it
with a segmentation fault, in a model of its own too. Work is therefore refused before torch is asked for
anything.
"""

import os
from typing import Final

from gemma4_block.errors import EngineError

FORKED: Final = (
    "This process was forked from one that had loaded a model, and torch cannot compute in it. Load the "
    "model after the fork and not before, or start processes with the method spawn."
)

_loaded_by: set[int] = set()


def note_loading() -> None:
    """Remember that this process loads a model."""
    _loaded_by.add(os.getpid())


def refuse_forked() -> None:
    """Raise EngineError in a process that was forked from one which had loaded a model."""
    if _loaded_by - {os.getpid()}:
        raise EngineError(FORKED)
