"""Choose the devices that models run on."""

from collections.abc import Sequence
from typing import Final

import torch

from gemma4_block.errors import ConfigurationError

_ALLOWED: Final = "auto, cpu, cuda, cuda:N, or several GPUs as in cuda:0,cuda:1"


def choose_devices(name: str, *, has_cuda: bool, cuda_count: int) -> tuple[torch.device, ...]:
    """Return the torch devices for `auto`, `cpu`, `cuda`, `cuda:N` or a list of GPUs.

    Args:
        name: What was asked for.
        has_cuda: Whether torch sees a GPU.
        cuda_count: How many.

    Returns:
        Devices that are there, each once, in the order of the name.

    Raises:
        ConfigurationError: A name is none of these, there is no such GPU, or several are not all GPUs.

    """
    names = [part.strip() for part in name.split(",")]
    devices = tuple(
        dict.fromkeys(_choose_device(part, has_cuda=has_cuda, cuda_count=cuda_count) for part in names)
    )
    if len(names) > 1 and any(device.index is None for device in devices):
        raise ConfigurationError(f"Device {name!r} is not supported; use {_ALLOWED}.")
    return devices


def find_devices(name: str) -> tuple[torch.device, ...]:
    """Return the devices that `name` means on this machine; see `choose_devices`."""
    return choose_devices(name, has_cuda=torch.cuda.is_available(), cuda_count=torch.cuda.device_count())


def choose_freest(devices: Sequence[torch.device], free_bytes: Sequence[int | None]) -> torch.device:
    """Return the device with the most free memory, the first of those that have equally much.

    Args:
        devices: At least one.
        free_bytes: Of each; None where it is unknown.

    Returns:
        One of them.

    """
    free = dict(zip(devices, free_bytes, strict=True))
    return max(devices, key=lambda device: free[device] or 0)


def _choose_device(name: str, *, has_cuda: bool, cuda_count: int) -> torch.device:
    if name == "auto":
        return torch.device("cuda" if has_cuda else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ConfigurationError(f"Device {name!r} is unknown; use {_ALLOWED}.") from error
    if device.type not in {"cpu", "cuda"}:
        raise ConfigurationError(f"Device {name!r} is not supported; use {_ALLOWED}.")
    if device.type == "cuda" and (not has_cuda or (device.index or 0) >= cuda_count):
        raise ConfigurationError(
            f"Device {name!r} was asked for and torch sees {cuda_count if has_cuda else 0} GPUs. "
            "Use auto or cpu, or install a CUDA build of torch."
        )
    return device
