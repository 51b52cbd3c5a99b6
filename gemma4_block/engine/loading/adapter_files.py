"""Read what an adapter's directory holds: which files, when they changed, the shapes of their tensors."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import torch
from safetensors import safe_open

from gemma4_block.engine.loading.naming import naming
from gemma4_block.errors import CheckpointError

if TYPE_CHECKING:
    from collections.abc import Mapping

CONFIG_NAME: Final = "adapter_config.json"
_WEIGHTS_NAMES: Final = ("adapter_model.safetensors", "adapter_model.bin")


@dataclass(frozen=True, kw_only=True, slots=True)
class AdapterFiles:
    """The files of an adapter; equal for the same files as long as nobody has changed them.

    Attributes:
        directory: Where they are.
        config: Says how the adapter was trained.
        weights: Holds its tensors.
        stamps: When each of the two was changed last, and its size.

    """

    directory: Path
    config: Path
    weights: Path
    stamps: tuple[tuple[int, int], ...]


def find_adapter_files(directory: Path) -> AdapterFiles:
    """Return the files of an adapter.

    Args:
        directory: Holds them.

    Returns:
        The files as they are now.

    Raises:
        CheckpointError: One of them is missing.

    """
    config = directory / CONFIG_NAME
    found = [directory / name for name in _WEIGHTS_NAMES if (directory / name).is_file()]
    weights = found[0] if found else directory / _WEIGHTS_NAMES[0]
    try:
        read = [path.stat() for path in (config, weights)]
    except OSError as error:
        raise CheckpointError(
            f"{error.filename} cannot be read: {error.strerror}. Finish the copy of the adapter."
        ) from error
    stamps = tuple((one.st_mtime_ns, one.st_size) for one in read)
    return AdapterFiles(directory=directory, config=config, weights=weights, stamps=stamps)


def read_adapter_shapes(files: AdapterFiles) -> dict[str, tuple[int, ...]]:
    """Return the shape of every tensor of an adapter by its name in the file.

    Args:
        files: Of the adapter.

    Returns:
        At least one.

    Raises:
        CheckpointError: The file is damaged, or holds nothing.

    """
    shapes: dict[str, tuple[int, ...]]
    with naming(files.weights):
        if files.weights.suffix == ".safetensors":
            with safe_open(files.weights, framework="pt") as file:
                shapes = {
                    name: tuple(file.get_slice(name).get_shape())
                    for name in file.keys()  # noqa: SIM118 - no dictionary
                }
        else:
            held: Mapping[str, torch.Tensor] = torch.load(
                files.weights, map_location="meta", weights_only=True
            )
            shapes = {name: tuple(tensor.shape) for name, tensor in held.items()}
    if not shapes:
        raise CheckpointError(f"{files.weights} holds no tensors. Save the adapter again.")
    return shapes
