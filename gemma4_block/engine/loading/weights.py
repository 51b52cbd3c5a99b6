"""Load the weights of a directory into a model, or say which file and tensor is at fault."""

from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING

import torch
from transformers import AutoModelForMultimodalLM

from gemma4_block.engine.loading.fitting import refuse_other_shapes
from gemma4_block.engine.loading.naming import naming
from gemma4_block.engine.loading.weight_files import list_weight_files, read_heads, refuse_integers
from gemma4_block.errors import CheckpointError, OutOfMemoryError

if TYPE_CHECKING:
    from transformers import BitsAndBytesConfig, PreTrainedConfig, PreTrainedModel


# transformers sets the default dtype of torch while it builds a model, which is the whole process's, and puts
# back what it found: of two that load at once, the second finds the first's, and leaves it there for good.
# Source: local_torch_dtype in transformers/modeling_utils.py of transformers 5.15.
ONE_LOADS = Lock()


def load_weights(
    directory: Path,
    config: "PreTrainedConfig",
    *,
    device: torch.device,
    dtype: torch.dtype,
    quantization_config: "BitsAndBytesConfig | None",
    trust_remote_code: bool,
    local_files_only: bool,
) -> "PreTrainedModel":
    """Load a model and prove that every weight came from its files.

    Args:
        directory: Of weights.
        config: Of the model.
        device: Where the weights go.
        dtype: Of those that stay whole.
        quantization_config: bitsandbytes settings; None keeps all whole.
        trust_remote_code: Run code that the checkpoint brings.
        local_files_only: Never ask a hub.

    Returns:
        The model.

    Raises:
        CheckpointError: Files are missing, damaged or of another model.
        OutOfMemoryError: The device's memory does not hold the weights.

    """
    files = list_weight_files(directory)
    heads = read_heads(directory)
    # Weights that were saved in 4 bits are packed into bytes of another shape. Files of pickle have no heads.
    if heads and getattr(config, "quantization_config", None) is None:
        refuse_integers(heads)
        with ONE_LOADS:
            refuse_other_shapes(directory, config, heads)
    with ONE_LOADS, naming(*files):
        try:
            loaded, report = AutoModelForMultimodalLM.from_pretrained(
                directory,
                config=config,
                dtype=dtype,
                device_map=device,
                quantization_config=quantization_config,
                trust_remote_code=trust_remote_code,
                local_files_only=local_files_only,
                # Flash attention stops at a head size of 256 and the full layers have 512; eager is slow
                # and large.
                attn_implementation="sdpa",
                # The report below names the tensor; transformers would only point at its log.
                ignore_mismatched_sizes=True,
                output_loading_info=True,
            )
        except torch.OutOfMemoryError as error:
            raise OutOfMemoryError(
                f"{device} has too little memory for the weights in {directory}. Choose quantization "
                "nf4, a smaller variant, or another device."
            ) from error
    named = ", ".join(map(str, files[:3]))
    if report["mismatched_keys"]:
        name, given, expected = min(report["mismatched_keys"])
        raise CheckpointError(
            f"{named} is of another model than {directory / 'config.json'}: {name!r} is "
            f"{tuple(given)} where {tuple(expected)} is asked for. Put the files of one model together."
        )
    if report["missing_keys"]:
        names = sorted(report["missing_keys"])
        raise CheckpointError(
            f"{named} lacks {len(names)} tensors that {directory / 'config.json'} asks for, first "
            f"{names[0]!r}. They would be random; fetch the files again."
        )
    model: PreTrainedModel = loaded
    _refuse_zeros(named, model)
    return model


def _refuse_zeros(files: str, model: "PreTrainedModel") -> None:
    """Refuse weights that were never filled; the first rows of the matrices tell, and are read fast."""
    matrices = (weight for weight in model.parameters() if weight.ndim == 2 and weight.numel())  # noqa: PLR2004
    if not any(bool(weight[:1].any()) for weight in matrices):
        raise CheckpointError(
            f"The weights in {files} are zero. The file was made and never filled; fetch it again."
        )
