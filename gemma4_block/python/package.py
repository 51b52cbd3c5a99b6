"""What the registry of `inference_models` loads for Gemma 4 once this package is registered there."""

import inspect
import os
from typing import Any, Final

import torch

from gemma4_block.errors import ConfigurationError
from gemma4_block.python.gemma4_hf import Gemma4HF

# AutoModel hands these to the class of every model; they are for ONNX, TensorRT and models made of models.
# Source: inference_models/models/auto_loaders/core.py, version 0.39.5.
_FOR_OTHER_CLASSES: Final = frozenset(
    {
        "default_onnx_trt_options",
        "engine_host_code_allowed",
        "model_dependencies",
        "onnx_execution_providers",
        "recommended_parameters",
    }
)


class Gemma4Package:
    """The class whose `from_pretrained` the host calls with a directory; it returns a `Gemma4HF`."""

    @classmethod
    def from_pretrained(
        cls,
        model_name_or_path: str | os.PathLike[str],
        device: torch.device | str | None = None,
        # The host looks for this name, and sets it where it is offline.
        local_files_only: bool = True,  # noqa: FBT001, FBT002 - the signature the host knows
        **options: Any,  # noqa: ANN401 - what AutoModel was called with
    ) -> Gemma4HF:
        """Load a package directory.

        Args:
            model_name_or_path: The directory.
            device: Where the weights go.
            local_files_only: Never ask a hub.
            **options: Those of `Gemma4HF.from_pretrained`, and what the host says to every class.

        Returns:
            The loaded model.

        Raises:
            CheckpointError: Files are missing, damaged or do not fit together.
            ConfigurationError: An option is unknown, or cannot work.

        """
        own = {name: value for name, value in options.items() if name not in _FOR_OTHER_CLASSES}
        known = inspect.signature(Gemma4HF.from_pretrained).parameters
        unknown = sorted(own.keys() - known.keys())
        if unknown:
            raise ConfigurationError(
                f"AutoModel.from_pretrained was given {', '.join(unknown)}, which Gemma 4 does not have. Its "
                f"options are {', '.join(list(known)[1:])}."
            )
        return Gemma4HF.from_pretrained(model_name_or_path, device, local_files_only=local_files_only, **own)
