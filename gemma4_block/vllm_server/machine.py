"""What a machine has for a server: GPUs with their memory, or a processor."""

import shutil
import subprocess
from dataclasses import dataclass

from gemma4_block.errors import ConfigurationError

_MIB = 2**20
_TIMEOUT_S = 30


@dataclass(frozen=True, kw_only=True, slots=True)
class Gpu:
    """One GPU of NVIDIA.

    Attributes:
        memory_bytes: All that it has; what vLLM counts its share by.
        capability: Major and minor compute capability.

    """

    memory_bytes: int
    capability: tuple[int, int]


@dataclass(frozen=True, kw_only=True, slots=True)
class ServerMachine:
    """A machine that a server is to be started on.

    Attributes:
        gpus: Those that the server uses; none for the processor.
        free_bytes: Main memory that is free; None where it is unknown.

    """

    gpus: tuple[Gpu, ...] = ()
    free_bytes: int | None = None


def inspect_server_machine(device: str) -> ServerMachine:
    """Look at this machine.

    Args:
        device: `auto`, `cuda` or `cpu`; `auto` is the GPUs where there are any.

    Returns:
        What there is now.

    Raises:
        ConfigurationError: GPUs are asked for, and the driver shows none.

    """
    gpus = () if device == "cpu" else _find_gpus()
    if gpus:
        return ServerMachine(gpus=gpus)
    if device == "cuda":
        raise ConfigurationError(
            "--device is cuda, and nvidia-smi shows no GPU. Install the driver, or use cpu."
        )
    # Brings torch, which knows nothing of the GPUs that another environment may use.
    import torch

    from gemma4_block.engine.hardware import read_free_memory

    return ServerMachine(free_bytes=read_free_memory(torch.device("cpu")))


def read_gpus(listed: str) -> tuple[Gpu, ...]:
    """Read what `nvidia-smi --query-gpu=memory.total,compute_cap --format=csv,noheader,nounits` prints.

    >>> read_gpus("24564, 8.9")
    (Gpu(memory_bytes=25757220864, capability=(8, 9)),)
    """
    gpus = []
    for line in listed.splitlines():
        memory, _, capability = line.partition(", ")
        major, _, minor = capability.partition(".")
        gpus.append(Gpu(memory_bytes=int(memory) * _MIB, capability=(int(major), int(minor))))
    return tuple(gpus)


def _find_gpus() -> tuple[Gpu, ...]:
    program = shutil.which("nvidia-smi")
    if program is None:
        return ()
    query = ("--query-gpu=memory.total,compute_cap", "--format=csv,noheader,nounits")
    try:
        done = subprocess.run(  # noqa: S603 - of the driver
            [program, *query], capture_output=True, text=True, timeout=_TIMEOUT_S, check=True
        )
        return read_gpus(done.stdout)
    except (OSError, subprocess.SubprocessError, ValueError):
        # The program is there and the driver is not, or shows no figures.
        return ()
