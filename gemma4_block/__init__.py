"""Blocks for Roboflow Inference Workflows that run Gemma 4 on your own machine.

The host reads `load_blocks` and `REGISTERED_INITIALIZERS` from here, and Python users import `Gemma4HF`.
Nothing heavy is imported until one of them is used.
"""

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gemma4_block.blocks import Gemma4Block, LabelDetectionsBlock, MultiImageBlock
    from gemma4_block.contract import EngineProvider, GenerationConfig, Prompt
    from gemma4_block.python import Gemma4HF, TaskOptions

__all__ = [
    "REGISTERED_INITIALIZERS",
    "Gemma4HF",
    "GenerationConfig",
    "Prompt",
    "TaskOptions",
    "__version__",
    "load_blocks",
    "register",
]

# Also in pyproject.toml. Read from there it would fail in a checkout that is not installed, and an
# import error in a plugin takes down every workflow of a server.
__version__ = "0.1.0"


def load_blocks() -> "list[type[Gemma4Block | LabelDetectionsBlock | MultiImageBlock]]":
    """Return the block classes, the same ones at every call; the host asks again for every new workflow."""
    from gemma4_block.blocks import Gemma4Block, LabelDetectionsBlock, MultiImageBlock

    # Only a server that has an endpoint for metrics has loaded it.
    if "inference.core.managers.prometheus" in sys.modules:
        from gemma4_block.hosting import publish_to_host

        publish_to_host()
    return [Gemma4Block, LabelDetectionsBlock, MultiImageBlock]


def register() -> None:
    """Make `inference_models.AutoModel` load Gemma 4 with this package's `Gemma4HF`, in this process.

    It then gives it for the ids of Gemma 4 (`backend="hugging-face"`), and for local packages whose
    model_config.json says `"model_architecture": "gemma-4"`. A second call changes nothing.
    """
    from gemma4_block.registration import register as register_class

    register_class()


def _get_engine_provider() -> "EngineProvider":
    # Blocks live for one request; the process's one pool of loaded models outlives them.
    from gemma4_block.engine.pool import get_engine_pool

    return get_engine_pool()


REGISTERED_INITIALIZERS = {"engine_provider": _get_engine_provider}
"""Init parameters of the blocks. The host calls each value when it builds a block."""


if not TYPE_CHECKING:  # A type checker that saw __getattr__ would accept every name.

    def __getattr__(name: str) -> type:
        """Import a name for Python users when it is first asked for (PEP 562)."""
        if name in {"GenerationConfig", "Prompt"}:
            from gemma4_block import contract as room
        elif name in {"Gemma4HF", "TaskOptions"}:
            from gemma4_block import python as room
        else:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        found: type = getattr(room, name)
        return found


def __dir__() -> list[str]:
    """List the names that are imported when they are first asked for too."""
    return sorted({*globals(), *__all__})
