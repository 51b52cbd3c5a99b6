"""Make `inference_models.AutoModel` load Gemma 4 with this package's `Gemma4HF`."""

from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from inference_models.models.auto_loaders.models_registry import LazyClass


def register() -> None:
    """Register `Gemma4HF` as the class of the architecture `gemma-4`, in this process.

    A second call changes nothing. Nothing of a model's libraries is imported before a model is loaded.
    """
    from inference_models.models.auto_loaders.models_registry import (
        REGISTERED_MODELS,
        VLM_TASK,
        BackendType,
        LazyClass,
    )

    # The host has no public way to add a class. Source: inference_models, version 0.39.5.
    REGISTERED_MODELS["gemma-4", VLM_TASK, BackendType.HF] = _make_entry(LazyClass)


@lru_cache(maxsize=1)
def _make_entry(kind: "type[LazyClass]") -> "LazyClass":
    """Return the one entry of this process, which imports the class when the first model is loaded."""
    return kind(module_name="gemma4_block.python", class_name="Gemma4Package")
