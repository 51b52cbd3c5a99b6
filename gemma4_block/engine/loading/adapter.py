"""Put a LoRA adapter on its base for good."""

from copy import deepcopy
from pathlib import Path

from torch import nn

from gemma4_block.engine.gemma4 import unpack_weights
from gemma4_block.engine.loading.adapter_fit import read_adapter
from gemma4_block.engine.loading.naming import naming


def apply_adapter(model: nn.Module, directory: Path, *, base: Path, is_quantized: bool) -> nn.Module:
    """Return the base with its adapter: merged, or on top where merging would change it.

    Args:
        model: The base.
        directory: Holds the adapter's files.
        base: Where the weights of the base are.
        is_quantized: Whether the base is in 4 or 8 bits.

    Returns:
        The adapted model.

    Raises:
        CheckpointError: The adapter's files are damaged, or it was trained on another base.
        ConfigurationError: It needs the weights of its base, which are in 8 bits.

    """
    from peft import PeftModel

    adapter = read_adapter(directory, base)
    if adapter.config.use_dora:
        unpack_weights(model)
    with naming(adapter.files.weights, adapter.files.config):
        adapted = PeftModel.from_pretrained(model, str(directory), config=deepcopy(adapter.config))
    # Merging into rounded weights would round the adapter away, and a bias has no place in layers without.
    return adapted if is_quantized or adapter.config.lora_bias else adapted.merge_and_unload()
