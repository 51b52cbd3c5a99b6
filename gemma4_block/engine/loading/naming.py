"""Turn whatever a library raises while it reads files into a CheckpointError that names them."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from gemma4_block.errors import CheckpointError, Gemma4BlockError

# The message of a library may hold a whole file.
_SHOWN_CHARACTERS = 500
_SHOWN_FILES = 3


@contextmanager
def naming(*paths: Path, key: str = "") -> Iterator[None]:
    """Raise CheckpointError with the files' names where the body fails; keep it to a library's calls.

    Args:
        *paths: The files that the body reads.
        key: The only key of theirs that it reads; empty where it reads more.

    Yields:
        Nothing.

    Raises:
        CheckpointError: The body failed with an error that is not this package's own.

    """
    try:
        yield
    except (Gemma4BlockError, torch.OutOfMemoryError, MemoryError):
        raise
    except Exception as error:
        named = ", ".join(map(str, paths[:_SHOWN_FILES])) + (" ..." if len(paths) > _SHOWN_FILES else "")
        place = f"{key!r} in {named}" if key else named
        raise CheckpointError(
            f"{place} cannot be used: {describe_error(error)}. It is damaged or of another model; "
            "fetch it again."
        ) from error


def describe_error(error: Exception) -> str:
    """Return what an error of a library says, on one line and not longer than a few."""
    words = " ".join(str(error).split()).rstrip(".")
    # The message of a KeyError is the key alone, and some errors say nothing.
    text = words if " " in words else f"{type(error).__name__} {words}".rstrip()
    return text if len(text) <= _SHOWN_CHARACTERS else f"{text[:_SHOWN_CHARACTERS]}…"
