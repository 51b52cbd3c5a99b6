"""Put a LoRA adapter on its base, or say that it belongs to another."""

from pathlib import Path

from safetensors import SafetensorError
from torch import nn

from gemma4_block.errors import CheckpointError


def apply_adapter(model: nn.Module, directory: Path, *, is_quantized: bool) -> nn.Module:
    """Return the base with its adapter: merged, or on top where the base is in 4 bits.

    Args:
        model: The base.
        directory: Holds the adapter's files.
        is_quantized: Whether the base is in 4 bits.

    Returns:
        The adapted model.

    Raises:
        CheckpointError: The adapter's files are damaged, or it was trained on another base.

    """
    from peft import PeftModel

    try:
        adapted = PeftModel.from_pretrained(model, str(directory))
        # The first loading only warns of what found no place; the second returns it.
        report = adapted.load_adapter(str(directory), "default")
    except (RuntimeError, ValueError, OSError, KeyError, TypeError, SafetensorError) as error:
        raise CheckpointError(
            f"The adapter in {directory} does not fit its base/: {error}. It was trained on another "
            "base, or its files are damaged."
        ) from error
    if report.missing_keys or report.unexpected_keys:
        raise CheckpointError(
            f"The adapter in {directory} does not fit its base/: {len(report.missing_keys)} tensors are "
            f"missing from its file, and {len(report.unexpected_keys)} in it have no place, first "
            f"{min([*report.missing_keys, *report.unexpected_keys])!r}. It was trained on another base."
        )
    # Merging into 4-bit weights would round the adapter away.
    return adapted if is_quantized else adapted.merge_and_unload()
