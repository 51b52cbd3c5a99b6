"""How fast this machine multiplies and reads, with the threads that the engines get."""

import platform
import re
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from tests.benchmarks.processors import ProcessorKind, find_processor_kind

_GEMM_SIZE = 2048
_GEMV_SHAPE = (16 * 1024, 8 * 1024)
_READ_BYTES = 2**30
_REPEATS = 7
_CPU_INFO = Path("/proc/cpuinfo")


@dataclass(frozen=True, kw_only=True, slots=True)
class Machine:
    """What the floors are computed from.

    Attributes:
        cpu: Its name.
        kind: Of its processor.
        threads: How many.
        dtype: Of the weights.
        gemm_flops: Floating point operations in a second in a large product of matrices, in this precision.
        gemv_bytes: Bytes of weights in a second in a product of a matrix and a vector, in this precision.
        read_bytes: Bytes in a second where memory is read once from end to end.

    """

    cpu: str
    kind: ProcessorKind
    threads: int
    dtype: str
    gemm_flops: float
    gemv_bytes: float
    read_bytes: float

    def to_json(self) -> dict[str, object]:
        """Return it for people, rounded and in units of 10**9."""
        return {
            name.replace("_flops", "_gflops").replace("_bytes", "_gb_s"): round(value / 1e9, 1)
            if isinstance(value, float)
            else value
            for name, value in asdict(self).items()
        }


def measure_machine(dtype: torch.dtype, *, scale: int = 1) -> Machine:
    """Measure now, with as many threads as torch has.

    Args:
        dtype: Of the weights.
        scale: Divides all sizes; more than 1 only shows that the code works.

    """
    size = _GEMM_SIZE // scale
    # Both operands lie as those of a linear layer, for which libraries have their best code.
    left, right = torch.randn(size, size).to(dtype), torch.randn(size, size).to(dtype)
    rows, columns = (side // scale for side in _GEMV_SHAPE)
    matrix, vector = torch.ones(rows, columns, dtype=dtype), torch.ones(1, columns, dtype=dtype)
    numbers = torch.ones(_READ_BYTES // scale // 4)
    return Machine(
        cpu=_cpu_name(),
        kind=find_processor_kind(),
        threads=torch.get_num_threads(),
        dtype=str(dtype).removeprefix("torch."),
        gemm_flops=2 * size**3 / _best_s(lambda: torch.nn.functional.linear(left, right)),
        gemv_bytes=matrix.nbytes / _best_s(lambda: torch.nn.functional.linear(vector, matrix)),
        read_bytes=numbers.nbytes / _best_s(numbers.sum),
    )


def read_memory() -> dict[str, int]:
    """Read what Linux says about this process, in bytes."""
    # psutil has no peak on Linux, and that of getrusage is no less than what the parent had when it started
    # this process: measured, 617 MB in place of 18 MB.
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    sizes = (line.split() for line in lines if line.endswith(" kB"))
    return {name.rstrip(":"): int(size) * 1024 for name, size, _ in sizes}


def _best_s(work: Callable[[], object]) -> float:
    work()
    times = []
    for _ in range(_REPEATS):
        started = time.perf_counter()
        work()
        times.append(time.perf_counter() - started)
    return min(times)


def _cpu_name() -> str:
    names = re.findall(r"model name\s*: (.*)", _CPU_INFO.read_text()) if _CPU_INFO.is_file() else []
    return names[0] if names else platform.processor() or platform.machine()
