"""Inspect this machine for a model: device, bfloat16, free memory, threads."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import psutil
import torch

from gemma4_block.engine.hardware.devices import choose_freest, find_devices
from gemma4_block.engine.hardware.packing import Packing, choose_packing
from gemma4_block.engine.hardware.threads import find_own_spinning

# Compute capability of Ampere. Source: is_bf16_supported in torch/cuda/__init__.py of torch 2.15.
_FIRST_WITH_BFLOAT16 = (8, 0)
# Names of processor features in torch.cpu.get_capabilities: x86 first, then ARM.
_BFLOAT16_FEATURES = ("avx512_bf16", "amx_bf16", "bf16", "sve_bf16")
_ROOT: Final = Path("/")
# How the two versions of Linux's control groups name a limit, what is used of it, and what of that is files
# which the kernel would drop.
_LIMITS: Final = (
    ("memory.max", "memory.current", ("inactive_file", "active_file")),
    ("memory.limit_in_bytes", "memory.usage_in_bytes", ("total_inactive_file", "total_active_file")),
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Machine:
    """Where a model would work.

    Attributes:
        device: The one that the operator's settings choose.
        has_bfloat16: Whether it computes in bfloat16, and does not only store it; None where torch is too old
            to tell.
        free_bytes: Memory that weights may take; None where it is unknown.
        threads: How many torch works with.
        spinning: What is wrong with how they wait, and what to do; None where nothing is.
        packing: Which layers in bfloat16 leave the pages of their files, because they are packed.

    """

    device: torch.device
    has_bfloat16: bool | None
    free_bytes: int | None
    threads: int
    spinning: str | None
    packing: Packing = "none"


def find_device(name: str) -> torch.device:
    """Return the device that a name means on this machine; of several, the one with the most free memory.

    Args:
        name: `auto`, `cpu`, `cuda`, `cuda:N`, or several GPUs.

    Returns:
        A device that is there.

    Raises:
        ConfigurationError: There is none of that name.

    """
    devices = find_devices(name)
    if len(devices) == 1:
        return devices[0]
    return choose_freest(devices, [read_free_memory(device) for device in devices])


def inspect_machine(device_name: str) -> Machine:
    """Look at this process and the device that a name means to it.

    Args:
        device_name: See `find_device`.

    Returns:
        What there is now.

    Raises:
        ConfigurationError: There is no such device.

    """
    device = find_device(device_name)
    features = read_processor_features() if device.type == "cpu" else None
    if device.type == "cuda":
        can_bfloat16: bool | None = torch.cuda.get_device_capability(device) >= _FIRST_WITH_BFLOAT16
    else:
        can_bfloat16 = None if features is None else has_bfloat16(features)
    return Machine(
        device=device,
        has_bfloat16=can_bfloat16,
        free_bytes=read_free_memory(device),
        threads=torch.get_num_threads(),
        spinning=find_own_spinning(device),
        packing=choose_packing(features or {}),
    )


def read_free_memory(device: torch.device) -> int | None:
    """Return how many bytes a loaded model can still take on its device; None where that is unknown."""
    if device.type != "cuda":
        return find_free_bytes(read_available_bytes(), _ROOT)
    # Memory that torch has reserved and does not use is free to the model, though not to other programs.
    unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    free: int = torch.cuda.mem_get_info(device)[0] + unused
    return free


def read_processor_features() -> Mapping[str, object] | None:
    """Return what torch says of the processor; None where torch is too old to tell."""
    # Public from torch 2.11 on.
    if not hasattr(torch.cpu, "get_capabilities"):
        return None
    features: Mapping[str, object] = torch.cpu.get_capabilities()
    return features


def has_bfloat16(features: Mapping[str, object]) -> bool:
    """Say whether a processor multiplies in bfloat16.

    >>> has_bfloat16({"avx2": True, "avx512_bf16": False})
    False
    >>> has_bfloat16({"neon": True, "bf16": True})
    True
    """
    return any(features.get(name) for name in _BFLOAT16_FEATURES)


def read_available_bytes() -> int | None:
    """Return the main memory that the system can give without swapping; None where it does not say."""
    try:
        return psutil.virtual_memory().available
    except (OSError, KeyError, ValueError):  # No /proc, or one that is not Linux's.
        return None


def find_free_bytes(available_bytes: int | None, root: Path) -> int | None:
    """Return the main memory that a program may still take.

    Args:
        available_bytes: Main memory that the whole system can give; None where that is unknown.
        root: Of the file system that says, on Linux, what limits this process has.

    Returns:
        What is available, or what is left of a container's or service's limit where that is less; None where
        the former is not known.

    """
    if available_bytes is None:
        return None
    left = (_read_left_bytes(directory) for directory in _find_control_groups(root))
    return min([available_bytes, *(size for size in left if size is not None)])


def _find_control_groups(root: Path) -> Iterator[Path]:
    """Yield the folders of the groups that this process is in, from the innermost to the outermost.

    In a container the path may be that of the host, of which only the outermost folder is there.
    """
    mounts = {"": root / "sys" / "fs" / "cgroup", "memory": root / "sys" / "fs" / "cgroup" / "memory"}
    try:
        lines = (root / "proc" / "self" / "cgroup").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    for line in lines:
        _, controllers, path = line.split(":", maxsplit=2)
        if controllers in mounts:
            folder = Path(path.lstrip("/"))
            yield from (mounts[controllers] / part for part in (folder, *folder.parents))
    yield from mounts.values()


def _read_left_bytes(directory: Path) -> int | None:
    """Return what is left of a group's limit; None where it has none."""
    for limit_name, used_name, file_names in _LIMITS:
        try:
            limit = int((directory / limit_name).read_text(encoding="utf-8"))
        except (OSError, ValueError):  # Not there, or the word max.
            continue
        try:
            sizes = _read_sizes(directory / "memory.stat")
            used = int((directory / used_name).read_text(encoding="utf-8"))
            used -= sum(sizes.get(name, 0) for name in file_names)
        except (OSError, ValueError):
            used = 0
        return max(0, limit - used)
    return None


def _read_sizes(path: Path) -> dict[str, int]:
    """Read lines of a name and a number."""
    words = (line.split() for line in path.read_text(encoding="utf-8").splitlines())
    return {name: int(size) for name, size, *_ in words}
