"""Load a directory for the blocks, as the operator's settings say."""

from pathlib import Path

from gemma4_block.contract import Quantization
from gemma4_block.engine.compat.gemma4_hf import Gemma4HF
from gemma4_block.engine.loading.checkpoint import LoadOptions, load_checkpoint
from gemma4_block.engine.loading.precision import find_device
from gemma4_block.settings import Settings


def load_engine(directory: Path, *, quantization: Quantization, settings: Settings) -> Gemma4HF:
    """Load a directory for the blocks, on the operator's device and in the operator's precision.

    Args:
        directory: Weights, or an adapter beside its `base/`.
        quantization: Precision of the weights.
        settings: The operator's.

    Returns:
        The engine, ready to answer.

    Raises:
        CheckpointError: Files are missing, damaged or do not fit together.
        ConfigurationError: The device or precision cannot work.

    """
    device = find_device(settings.device)
    options = LoadOptions(device=device, dtype=settings.dtype, quantization=quantization)
    return Gemma4HF(load_checkpoint(directory, options), settings=settings)
