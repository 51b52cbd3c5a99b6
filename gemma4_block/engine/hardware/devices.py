"""Choose the device that a model runs on."""

import torch

from gemma4_block.errors import ConfigurationError


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
