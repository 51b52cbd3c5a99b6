"""Choose device, precision and 4-bit settings; pure functions of what there is."""

from typing import TYPE_CHECKING

import torch

from gemma4_block.contract import Quantization
from gemma4_block.errors import ConfigurationError

if TYPE_CHECKING:
    from transformers import BitsAndBytesConfig, PreTrainedConfig

# bitsandbytes matches a name from the start of a module's path, so "vision_tower" alone matches nothing.
# Source: transformers/quantizers, tried on 5.15.1.
SKIPPED_MODULES = (
    "lm_head",
    "model.vision_tower",
    "model.audio_tower",
    "model.embed_vision",
    "model.embed_audio",
)

# The CPU kernels of bitsandbytes 0.50 quantize blocks of 64 values and fail on a layer with fewer in a row;
# only checkpoints much smaller than Google's have one.
_BLOCK_SIZE = 64


def choose_device(name: str, *, has_cuda: bool, cuda_count: int) -> torch.device:
    """Return the torch device for `auto`, `cpu`, `cuda` or `cuda:N`.

    Args:
        name: What was asked for.
        has_cuda: Whether torch sees a GPU.
        cuda_count: How many.

    Returns:
        A device that is there.

    Raises:
        ConfigurationError: The name is none of these, or there is no such GPU.

    """
    if name == "auto":
        return torch.device("cuda" if has_cuda else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ConfigurationError(f"Device {name!r} is unknown; use auto, cpu, cuda or cuda:N.") from error
    if device.type not in {"cpu", "cuda"}:
        raise ConfigurationError(f"Device {name!r} is not supported; use auto, cpu, cuda or cuda:N.")
    if device.type == "cuda" and (not has_cuda or (device.index or 0) >= cuda_count):
        raise ConfigurationError(
            f"Device {name!r} was asked for and torch sees {cuda_count if has_cuda else 0} GPUs. "
            "Use auto or cpu, or install a CUDA build of torch."
        )
    return device


def find_device(name: str) -> torch.device:
    """Return the device that `name` means on this machine; see `choose_device`."""
    return choose_device(name, has_cuda=torch.cuda.is_available(), cuda_count=torch.cuda.device_count())


def choose_dtype(dtype: "torch.dtype | str", *, checkpoint: torch.dtype | None) -> torch.dtype:
    """Return the precision of the weights.

    Args:
        dtype: `auto`, `bfloat16`, `float32`, or the torch dtype.
        checkpoint: What the checkpoint's config says, for `auto`.

    Returns:
        bfloat16 or float32.

    Raises:
        ConfigurationError: float16 or something else was asked for.

    """
    if dtype == "auto":
        # A checkpoint that somebody saved in float16 has lost nothing that bfloat16 would keep.
        return torch.bfloat16 if checkpoint in (None, torch.float16) else checkpoint
    chosen = getattr(torch, dtype, None) if isinstance(dtype, str) else dtype
    if chosen is torch.float16:
        raise ConfigurationError(
            "dtype float16 was asked for; Gemma 4's vision tower overflows in it and answers turn into "
            "padding. Use bfloat16, or float32 on a GPU without bfloat16."
        )
    if chosen not in (torch.bfloat16, torch.float32):
        raise ConfigurationError(f"dtype {dtype!r} is not offered; use auto, bfloat16 or float32.")
    return chosen


def choose_quantization(
    quantization: Quantization, *, device: torch.device, config: "PreTrainedConfig"
) -> "BitsAndBytesConfig | None":
    """Return the 4-bit settings, or None for the checkpoint's own precision.

    Args:
        quantization: What was asked for.
        device: Where the weights go.
        config: Of the checkpoint.

    Returns:
        bitsandbytes settings, or None.

    Raises:
        ConfigurationError: 4 bits were asked for a mixture of experts, whose experts would stay in bfloat16.

    """
    has_experts = bool(getattr(config.get_text_config(), "enable_moe_block", False))
    if quantization == "none" or (quantization == "auto" and (device.type == "cpu" or has_experts)):
        return None
    if has_experts:
        raise ConfigurationError(
            "quantization nf4 was asked for a mixture of experts (26B-A4B). bitsandbytes leaves the experts, "
            "nine tenths of the weights, in bfloat16, so 4 bits save almost nothing (48 of 52 GB). Use "
            "quantization none on an 80 GB GPU, or gemma-4-31b-it, which needs 19 GB in 4 bits."
        )
    from transformers import BitsAndBytesConfig

    skipped = list(SKIPPED_MODULES)
    if getattr(config.get_text_config(), "hidden_size_per_layer_input", 0) % _BLOCK_SIZE:
        skipped += ["per_layer_input_gate", "per_layer_projection"]
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_compute_dtype=torch.bfloat16,
        bnb_4bit_quant_type="nf4",
        llm_int8_skip_modules=skipped,
    )
