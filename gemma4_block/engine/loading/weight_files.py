"""Say how large weights would be in float32, from the heads of their files."""

from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open

from gemma4_block.contract import Quantization

# Half a byte for a weight, and four for what 64 of them are scaled by.
_NF4_BYTES = 0.5 + 4 / 64


def measure_float32_bytes(directory: Path, quantization: Quantization) -> int | None:
    """Return what a directory's weights take where all that is not in 4 bits is in float32.

    Google's files hold a few weights that are not loaded; they count.

    Args:
        directory: Of weights.
        quantization: `none` or `nf4`.

    Returns:
        Bytes; None where there are no safetensors files, or damaged ones.

    """
    try:
        shapes = _read_shapes(directory)
    except (SafetensorError, OSError):
        return None
    total = sum(
        shape.numel() * (_NF4_BYTES if quantization == "nf4" and _is_linear(name, shape) else 4)
        for name, shape in shapes.items()
    )
    return round(total) if shapes else None


def _read_shapes(directory: Path) -> dict[str, torch.Size]:
    """Return the shapes of all weights by name, which may be in more than one file."""
    shapes = {}
    for path in directory.glob("*.safetensors"):
        with safe_open(path, framework="pt") as file:
            names = file.keys()
            shapes.update({name: torch.Size(file.get_slice(name).get_shape()) for name in names})
    return shapes


def _is_linear(name: str, shape: torch.Size) -> bool:
    """Say whether a weight is of a linear layer of the language model, as far as its name tells."""
    is_matrix = len(shape) == 2  # noqa: PLR2004 - rows and columns
    return is_matrix and "language_model" in name and "embed_tokens" not in name
