"""Choose precision and 4-bit settings; pure functions of checkpoint and machine."""

from typing import TYPE_CHECKING

import torch

from gemma4_block.contract import Quantization
from gemma4_block.errors import ConfigurationError

if TYPE_CHECKING:
    from transformers import BitsAndBytesConfig, PreTrainedConfig

    from gemma4_block.engine.hardware import Machine

# What bfloat16 costs where the processor does not multiply in it. Source: measured by
# tests/benchmarks/precision.py on one thread of an EPYC without AVX-512: 6.5 times for images, 5.9 for text.
SLOW_BFLOAT16 = "images and prompts may be read 6 times slower than in float32"

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
# A processor with AVX512_BF16 packs so many rows at a time and fails on a layer with a rest, as none of
# Google's has.
# Source: _convert_weight_packed_for_cpu in bitsandbytes/functional.py of 0.50.
_PACKED_ROWS = 32

# The rest of the free memory is for prompts, caches, and the programs that start later. A machine that has to
# swap is slower than any precision.
_LARGEST_SHARE = 3 / 4


def choose_dtype(
    dtype: "torch.dtype | str",
    *,
    checkpoint: torch.dtype | None,
    machine: "Machine",
    float32_bytes: int | None,
) -> torch.dtype:
    """Return the precision of the weights.

    Args:
        dtype: `auto`, `bfloat16`, `float32`, or the torch dtype.
        checkpoint: What the checkpoint's config says, for `auto`.
        machine: Where the weights go, for `auto`: a processor that does not multiply in bfloat16 gets
            float32 where that leaves a quarter of the free memory.
        float32_bytes: What the weights take in float32; None where nobody can tell.

    Returns:
        bfloat16 or float32.

    Raises:
        ConfigurationError: float16 or something else was asked for.

    """
    if dtype == "auto":
        # A checkpoint that somebody saved in float16 has lost nothing that bfloat16 would keep.
        own = torch.bfloat16 if checkpoint in (None, torch.float16) else checkpoint
        is_slow = is_slow_in(own, machine)
        return torch.float32 if is_slow and _has_room(machine.free_bytes, float32_bytes) else own
    chosen = getattr(torch, dtype, None) if isinstance(dtype, str) else dtype
    if chosen is torch.float16:
        raise ConfigurationError(
            "dtype float16 was asked for; Gemma 4's vision tower overflows in it and answers turn into "
            "padding. Use bfloat16, or float32 on a GPU without bfloat16."
        )
    if chosen not in (torch.bfloat16, torch.float32):
        raise ConfigurationError(f"dtype {dtype!r} is not offered; use auto, bfloat16 or float32.")
    return chosen


def is_slow_in(dtype: torch.dtype, machine: "Machine") -> bool:
    """Say whether a processor would work in bfloat16 without having it; False where nobody can tell."""
    return dtype == torch.bfloat16 and machine.device.type == "cpu" and machine.has_bfloat16 is False


def choose_quantization(
    quantization: Quantization, *, device: torch.device, has_experts: bool
) -> Quantization:
    """Return any but `auto`.

    Args:
        quantization: What was asked for.
        device: Where the weights go.
        has_experts: Whether the model is a mixture of experts.

    Returns:
        What was asked for; for `auto`, `nf4` on CUDA, except for a mixture of experts.

    Raises:
        ConfigurationError: 4 or 8 bits were asked for a mixture of experts, whose experts would stay in
            bfloat16, or 8 bits on CUDA.

    """
    if quantization == "none" or (quantization == "auto" and (device.type == "cpu" or has_experts)):
        return "none"
    if is_8_bit(quantization):
        if device.type != "cpu":
            raise ConfigurationError(
                f"quantization {quantization} was asked for on {device}; 8 bits are for CPUs, whose products "
                "of whole numbers they use. Use quantization nf4 or none on a GPU."
            )
        if has_experts:
            raise ConfigurationError(
                f"quantization {quantization} was asked for a mixture of experts (26B-A4B), whose experts, "
                "nine tenths of the weights, would stay in bfloat16. Use quantization none, or another "
                "variant."
            )
        return quantization
    if has_experts:
        raise ConfigurationError(
            "quantization nf4 was asked for a mixture of experts (26B-A4B). bitsandbytes leaves the experts, "
            "nine tenths of the weights, in bfloat16, so 4 bits save almost nothing (48 of 52 GB). Use "
            "quantization none on an 80 GB GPU, or gemma-4-31b-it, which needs 19 GB in 4 bits."
        )
    return "nf4"


def is_8_bit(quantization: Quantization) -> bool:
    """Say whether the language model is in 8 bits.

    >>> is_8_bit("int8_tower"), is_8_bit("nf4")
    (True, False)
    """
    return quantization in ("int8", "int8_tower")


def make_4_bit_config(config: "PreTrainedConfig", machine: "Machine") -> "BitsAndBytesConfig":
    """Return the settings of `nf4`.

    Args:
        config: Of the checkpoint.
        machine: Where the weights go; a processor without bfloat16 multiplies in float32.

    Returns:
        bitsandbytes settings, under which towers, projectors and embeddings stay whole.

    """
    from transformers import BitsAndBytesConfig

    skipped = list(SKIPPED_MODULES)
    text = config.get_text_config()
    layer_inputs = getattr(text, "hidden_size_per_layer_input", 0)
    if layer_inputs % _BLOCK_SIZE:
        skipped += ["per_layer_input_gate", "per_layer_projection"]
    if layer_inputs * text.num_hidden_layers % _PACKED_ROWS:
        skipped.append("per_layer_model_projection")
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_compute_dtype=torch.float32 if is_slow_in(torch.bfloat16, machine) else torch.bfloat16,
        bnb_4bit_quant_type="nf4",
        llm_int8_skip_modules=skipped,
    )


def _has_room(free_bytes: int | None, needed_bytes: int | None) -> bool:
    if free_bytes is None or needed_bytes is None:
        return False
    return needed_bytes <= _LARGEST_SHARE * free_bytes
