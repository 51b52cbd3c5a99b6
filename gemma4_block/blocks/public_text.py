"""Say what is wrong to a client without the folders of the operator's machine."""

import os
import re
from pathlib import Path
from typing import Final

from gemma4_block.settings import get_settings

_CACHE: Final = "the model cache"
# A path from the root, of two parts or more; not the one of a URL, and no fraction.
_ABSOLUTE: Final = re.compile(r"(?<![\w:/.~…>])(?:/[^\s/'\"`,;:()\[\]{}<>]+){2,}/?")


def hide_folders(text: str) -> str:
    """Return a message with every path of this machine cut to what says which model or file is meant.

    Args:
        text: As the operator may read it.

    Returns:
        Paths below the operator's model folders and caches are told from there, others by their last part.

    """
    for folder, name in _known_folders():
        text = text.replace(f"{folder}{os.sep}", f"{name}{os.sep}").replace(folder, name)
    return _ABSOLUTE.sub(lambda path: f"…/{Path(path[0]).name}", text)


def _known_folders() -> list[tuple[str, str]]:
    """Return the folders of models with what they are called, the longest first."""
    named = [(str(root), "GEMMA4_BLOCK_MODEL_ROOTS") for root in get_settings().model_roots]
    for variable in ("HF_HUB_CACHE", "HF_HOME", "MODEL_CACHE_DIR", "INFERENCE_HOME"):
        folder = os.environ.get(variable)
        if folder:
            named.append((str(Path(folder).expanduser().absolute()), _CACHE))
    # A path in a message has its links followed, or has not.
    both = {(folder, name) for folder, name in named} | {
        (os.path.realpath(folder), name) for folder, name in named
    }
    return sorted((pair for pair in both if pair[0] != os.sep), key=lambda pair: -len(pair[0]))
