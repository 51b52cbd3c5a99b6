"""Say in which precision a model would be loaded, and how large that is, without loading it."""

from dataclasses import dataclass
from pathlib import Path

import torch

from gemma4_block.catalogue import Variant
from gemma4_block.contract import Quantization
from gemma4_block.engine.hardware import Machine
from gemma4_block.engine.loading.config import dtype_of, load_config, weights_directory
from gemma4_block.engine.loading.precision import choose_dtype, choose_quantization
from gemma4_block.engine.loading.weight_files import measure_bytes, measure_float32_bytes
from gemma4_block.settings import Dtype


@dataclass(frozen=True, kw_only=True, slots=True)
class Precision:
    """How weights are held.

    Attributes:
        dtype: bfloat16 or float32; of what stays whole where `quantization` is `nf4`.
        quantization: `none` or `nf4`.

    """

    dtype: torch.dtype
    quantization: Quantization


def forecast_precision(directory: Path, *, machine: Machine, dtype: Dtype) -> Precision:
    """Return what quantization `auto` makes of a directory.

    Args:
        directory: Weights, or an adapter beside its `base/`.
        machine: Where the weights would go.
        dtype: The operator's.

    Returns:
        The precision.

    Raises:
        CheckpointError: The directory's config.json cannot be read, or is of another model.

    """
    weights = weights_directory(directory)
    config = load_config(weights, trust_remote_code=False)
    quantization = choose_quantization("auto", device=machine.device, config=config)
    return Precision(
        dtype=choose_dtype(
            dtype,
            checkpoint=dtype_of(config),
            machine=machine,
            float32_bytes=measure_float32_bytes(weights, quantization),
        ),
        quantization=quantization,
    )


def forecast_variant_precision(variant: Variant, *, machine: Machine, dtype: Dtype) -> Precision:
    """Return the same of a model that is not here, from what the catalogue knows."""
    is_in_4_bits = machine.device.type == "cuda" and variant.nf4_gb is not None
    return Precision(
        dtype=choose_dtype(
            dtype,
            checkpoint=None,
            machine=machine,
            float32_bytes=variant.parameters * torch.float32.itemsize,
        ),
        quantization="nf4" if is_in_4_bits else "none",
    )


def find_weights_gb(variant: Variant, precision: Precision) -> float | None:
    """Return the size of a model's weights in 10**9 bytes; None where nobody has measured it."""
    if precision.quantization == "none":
        return variant.parameters * precision.dtype.itemsize / 1e9
    return variant.nf4_gb if precision.dtype == torch.bfloat16 else None


def forecast_weights_bytes(directory: Path, precision: Precision) -> int | None:
    """Return what a directory's weights would take in bytes; None where it has no whole safetensors files."""
    return measure_bytes(weights_directory(directory), precision.quantization, precision.dtype)
