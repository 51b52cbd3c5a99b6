"""Refuse what cannot be the name of a model before a file is touched; the name is not trusted."""

from pathlib import Path
from typing import Final

from gemma4_block.catalogue import EMBEDDED_ADAPTERS, MODEL_IDS
from gemma4_block.errors import ConfigurationError

MAX_NAME_CHARACTERS: Final = 1024
"""Longer than any id, and than any path that a person keeps models under."""

# Source: NAME_MAX in linux/limits.h of Linux and sys/syslimits.h of macOS.
_MAX_PART_BYTES: Final = 255
# A name may be a whole document, so an error repeats only its beginning.
_SHOWN_CHARACTERS: Final = 80


def check_name(name: str) -> None:
    """Refuse a name that is none, climbs, or would make a call of the file system fail.

    Args:
        name: As the request says.

    Raises:
        ConfigurationError: It is such a name.

    """
    if not name.strip():
        raise ConfigurationError(f"model_version is empty. Name one of {', '.join(MODEL_IDS)}.")
    # A long name, a NUL or half a surrogate pair would make the file system calls below raise.
    parts = Path(name).parts if len(name) <= MAX_NAME_CHARACTERS and name.isprintable() else None
    if parts is None or any(len(part.encode()) > _MAX_PART_BYTES for part in parts):
        raise ConfigurationError(
            f"model_version is {show_name(name)}, {len(name)} characters, too long or not plain text. "
            f"Name one of {', '.join(MODEL_IDS)}."
        )
    if ".." in parts:
        raise ConfigurationError(
            f"model_version is {show_name(name)}; a path must not climb with '..'. Name the directory itself."
        )
    if "://" in name:
        raise ConfigurationError(
            f"model_version is {show_name(name)}; models are not fetched from addresses. Name one of "
            f"{', '.join(MODEL_IDS)}, or a directory under one of GEMMA4_BLOCK_MODEL_ROOTS."
        )


def list_allowed(roots: tuple[Path, ...]) -> str:
    """Return a sentence that says which names there are."""
    named = ", ".join(map(str, roots)) if roots else "none is set, so no directory can be named"
    return (
        f"Known are {', '.join((*MODEL_IDS, *EMBEDDED_ADAPTERS))}, a fine-tuned project/version, a hub's "
        f"org/name, and directories under GEMMA4_BLOCK_MODEL_ROOTS ({named})."
    )


def show_name(name: str) -> str:
    """Return the beginning of a name in quotes."""
    return repr(name if len(name) <= _SHOWN_CHARACTERS else f"{name[:_SHOWN_CHARACTERS]}…")
