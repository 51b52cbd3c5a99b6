"""Say what a model finds on this machine: device, bfloat16, free memory, threads."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch

from gemma4_block.engine.quantization import find_device
from gemma4_block.engine.threads import find_own_spinning

# Ampere. Source: NVIDIA's table of compute capabilities.
_FIRST_WITH_BFLOAT16 = (8, 0)
# Names of processor features in torch.cpu.get_capabilities: x86 first, then ARM.
_BFLOAT16_FEATURES = ("avx512_bf16", "amx_bf16", "bf16", "sve_bf16")


@dataclass(frozen=True, kw_only=True, slots=True)
class Machine:
    """Where a model would work.

    Attributes:
        device: The one that the operator's settings choose.
        has_bfloat16: Whether it computes in bfloat16, and does not only store it; None where torch is too old
            to tell.
        free_bytes: Memory that weights may take; None where nobody can tell.
        threads: How many torch works with.
        spinning: What is wrong with how they wait, and what to do; None where nothing is.

    """

    device: torch.device
    has_bfloat16: bool | None
    free_bytes: int | None
    threads: int
    spinning: str | None


def inspect_machine(device_name: str) -> Machine:
    """Look at this process and the device that a name means to it.

    Args:
        device_name: `auto`, `cpu`, `cuda` or `cuda:N`.

    Returns:
        What there is now.

    Raises:
        ConfigurationError: There is no such device.

    """
    device = find_device(device_name)
    if device.type == "cuda":
        can_bfloat16: bool | None = torch.cuda.get_device_capability(device) >= _FIRST_WITH_BFLOAT16
        free_bytes: int | None = torch.cuda.mem_get_info(device)[0]
    else:
        # Public from torch 2.11 on.
        can_tell = hasattr(torch.cpu, "get_capabilities")
        can_bfloat16 = has_bfloat16(torch.cpu.get_capabilities()) if can_tell else None
        free_bytes = read_free_bytes(Path("/"))
    return Machine(
        device=device,
        has_bfloat16=can_bfloat16,
        free_bytes=free_bytes,
        threads=torch.get_num_threads(),
        spinning=find_own_spinning(device),
    )


def has_bfloat16(features: Mapping[str, object]) -> bool:
    """Say whether a processor multiplies in bfloat16.

    >>> has_bfloat16({"avx2": True, "avx512_bf16": False})
    False
    >>> has_bfloat16({"neon": True, "bf16": True})
    True
    """
    return any(features.get(name) for name in _BFLOAT16_FEATURES)


def read_free_bytes(root: Path) -> int | None:
    """Return the main memory that a program may still take on Linux, None elsewhere.

    Args:
        root: Of the file system.

    Returns:
        What the kernel calls available, or the limit of the container where that is less.

    """
    try:
        lines = (root / "proc" / "meminfo").read_text(encoding="utf-8").splitlines()
        available = next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:"))
    except (OSError, StopIteration, ValueError, IndexError):
        return None
    try:
        limit = int((root / "sys" / "fs" / "cgroup" / "memory.max").read_text(encoding="utf-8"))
    except (OSError, ValueError):  # No container, or one whose limit is the word max.
        return available
    return min(available, limit)
