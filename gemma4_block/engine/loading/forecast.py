"""Say in which precision a model would be loaded, without loading it."""

from dataclasses import dataclass
from pathlib import Path

import torch

from gemma4_block.contract import Quantization
from gemma4_block.engine.hardware import Machine
from gemma4_block.engine.loading.config import (
    dtype_of,
    has_experts,
    load_config,
    read_shape,
    weights_directory,
)
from gemma4_block.engine.loading.precision import choose_dtype, choose_quantization
from gemma4_block.engine.loading.weight_counts import WeightCounts, count_weights
from gemma4_block.engine.shape import ModelShape
from gemma4_block.settings import Dtype


@dataclass(frozen=True, kw_only=True, slots=True)
class Precision:
    """How weights are held.

    Attributes:
        dtype: bfloat16 or float32, of what stays whole.
        quantization: Any but `auto`.

    """

    dtype: torch.dtype
    quantization: Quantization

    def __str__(self) -> str:
        names: dict[Quantization, str] = {
            "nf4": "4 bits",
            "int8": "8 bits",
            "int8_tower": "8 bits with tower",
        }
        return names.get(self.quantization, str(self.dtype).removeprefix("torch."))


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelFiles:
    """What the files of a model say of it before its weights are read.

    Attributes:
        shape: Its sizes.
        weights: How many there are; None where nobody can tell.
        dtype: The precision that its config says; None where it says nothing.
        has_experts: Whether it is a mixture of experts, which stays whole.

    """

    shape: ModelShape
    weights: WeightCounts | None
    dtype: torch.dtype | None
    has_experts: bool = False


def read_model_files(directory: Path) -> ModelFiles:
    """Read the config of a model, and the heads of its files.

    Args:
        directory: Weights, or an adapter beside its `base/`.

    Returns:
        What they say.

    Raises:
        CheckpointError: The directory's config.json cannot be read, or is of another model.

    """
    weights = weights_directory(directory)
    config = load_config(weights, trust_remote_code=False)
    shape = read_shape(weights, config)
    return ModelFiles(
        shape=shape,
        weights=count_weights(weights, shape),
        dtype=dtype_of(config),
        has_experts=has_experts(config),
    )


def forecast_precision(
    files: ModelFiles, *, machine: Machine, dtype: Dtype, quantization: Quantization = "auto"
) -> Precision:
    """Return the precision in which a model would be loaded.

    Args:
        files: Of the model.
        machine: Where the weights would go.
        dtype: The operator's.
        quantization: What is asked for.

    Returns:
        The precision.

    Raises:
        ConfigurationError: 4 or 8 bits are asked for where there are none.

    """
    chosen = choose_quantization(quantization, device=machine.device, has_experts=files.has_experts)
    weights = files.weights
    return Precision(
        dtype=choose_dtype(
            dtype,
            checkpoint=files.dtype,
            machine=machine,
            float32_bytes=None if weights is None else weights.measure(torch.float32, chosen),
        ),
        quantization=chosen,
    )
