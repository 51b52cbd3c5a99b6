"""Say what is wrong to a client without the folders of the operator's machine."""

import os
import re
from contextlib import suppress
from pathlib import Path
from typing import Final

from gemma4_block.errors import ConfigurationError
from gemma4_block.settings import get_settings

# A path from the root, of two parts or more; not the one of a URL, and no fraction.
_ABSOLUTE: Final = re.compile(r"(?<![\w:/.…])(?:/[^\s/'\"`,;:()\[\]{}<>]+){2,}")
_CACHE_VARIABLES: Final = ("HF_HUB_CACHE", "HF_HOME", "MODEL_CACHE_DIR", "INFERENCE_HOME")


def hide_folders(text: str) -> str:
    """Return a message with every path of this machine cut to what says which model or file is meant.

    Args:
        text: As the operator may read it.

    Returns:
        Paths below the operator's model folders and caches begin there, others are their last part.

    """
    for folder in _known_folders():
        text = text.replace(folder, "…")
    return _ABSOLUTE.sub(lambda path: f"…/{Path(path[0]).name}", text)


def _known_folders() -> list[str]:
    """Return the folders that models are in, as given and with links followed, the longest first."""
    caches = [os.environ[name] for name in _CACHE_VARIABLES if os.environ.get(name)]
    roots: tuple[Path, ...] = ()
    # A malformed setting may be what the message is about.
    with suppress(ConfigurationError):
        roots = get_settings().model_roots
    given = [os.path.expanduser(folder) for folder in (*map(str, roots), *caches)]  # noqa: PTH111 - no error
    both = {form(folder) for folder in given for form in (os.path.abspath, os.path.realpath)}
    return sorted(both - {os.sep}, key=len, reverse=True)
