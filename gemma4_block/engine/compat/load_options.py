"""Fill what a call of `from_pretrained` leaves open with the operator's settings."""

from pathlib import Path
from typing import TYPE_CHECKING

import torch

from gemma4_block.engine.loading import LoadOptions
from gemma4_block.engine.pool import find_variant_of
from gemma4_block.settings import Settings

if TYPE_CHECKING:
    from transformers import BitsAndBytesConfig


def fill_load_options(
    weights: Path,
    settings: Settings,
    *,
    device: torch.device,
    dtype: torch.dtype | str | None,
    quantization_config: "BitsAndBytesConfig | None",
    disable_quantization: bool,
    trust_remote_code: bool,
    local_files_only: bool,
) -> LoadOptions:
    """Return how to load a model.

    Args:
        weights: Directory of the weights, not of an adapter; a variant that is refused in 4 bits stays whole.
        settings: The operator's.
        device: Where the weights go.
        dtype: None means the operator's.
        quantization_config: The caller's own bitsandbytes settings; they win.
        disable_quantization: Keep the checkpoint's precision on CUDA too.
        trust_remote_code: Run code that the checkpoint brings.
        local_files_only: Never ask a hub.

    Returns:
        The options.

    """
    variant = find_variant_of(weights.resolve())
    is_whole = disable_quantization or (variant is not None and bool(variant.why_whole))
    return LoadOptions(
        device=device,
        dtype=settings.dtype if dtype is None else dtype,
        quantization="none" if is_whole else "auto",
        quantization_config=quantization_config,
        trust_remote_code=trust_remote_code,
        local_files_only=local_files_only,
    )
