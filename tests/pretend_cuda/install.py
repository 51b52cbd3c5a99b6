"""Let this process believe that it has a GPU. Before anything imports the engine, and for good."""

import threading
from contextlib import AbstractContextManager, nullcontext
from types import TracebackType
from typing import Any, Final

import torch
from torch.utils._pytree import tree_leaves

from tests.pretend_cuda.capture import CAPTURES, Graph
from tests.pretend_cuda.device import CUDA, TALLY, PretendCuda, PretendTensor, run

CAPACITY: Final = 80_000_000_000
"""Bytes that the device says it has."""
REPLAYS: Final[list[Graph]] = []
"""The graph of each replay, in order."""


class _CudaGraph:
    """Stands for `torch.cuda.CUDAGraph`."""

    def __init__(self) -> None:
        self.graph = Graph()

    def replay(self) -> None:
        """Do all of it again, for which the host gives the device one piece of work."""
        for operation in self.graph.operations:
            operation.repeat()
        TALLY.launches += 1
        TALLY.kernels["of a graph"] += self.graph.kernels
        REPLAYS.append(self.graph)


class _Capturing:
    """Stands for `torch.cuda.graph`."""

    def __init__(self, graph: _CudaGraph, **_: object) -> None:
        self._graph = graph

    def __enter__(self) -> None:
        CAPTURES.begin(self._graph.graph)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        CAPTURES.end()


class _Stream:
    """Stands for `torch.cuda.Stream`."""

    def __init__(self, *_: object) -> None:
        pass

    def wait_stream(self, _: object) -> None:
        """Wait for nothing, because everything has happened."""


class _Attention:
    """Attention as a GPU has it: one kernel, which holds no scores of all queries in memory."""

    _schema = torch.ops.aten.scaled_dot_product_attention.default._schema

    def __init__(self) -> None:
        self._attend = torch.nn.functional.scaled_dot_product_attention

    def __call__(self, *args: object, **kwargs: object) -> torch.Tensor:
        """Attend on the CPU."""
        attended: torch.Tensor = self._attend(*args, **kwargs)  # type: ignore[arg-type]
        return attended

    def on_either(self, *args: object, **kwargs: object) -> torch.Tensor:
        """Attend where the tensors are."""
        is_on_device = any(isinstance(one, PretendTensor) for one in tree_leaves((args, kwargs)))
        attended: torch.Tensor = run(self, args, kwargs) if is_on_device else self(*args, **kwargs)
        return attended


def install() -> None:
    """Replace what torch would ask the driver; every thread that is started later pretends as well."""
    cuda: Any = torch.cuda
    # Looks for a GPU when it is imported, and is to find none: its kernels are the CPU's.
    import bitsandbytes  # noqa: F401

    torch.nn.functional.scaled_dot_product_attention = _Attention().on_either  # type: ignore[assignment]
    torch.inference_mode = _inference_mode  # type: ignore[assignment,misc]
    _lift_host_tensors()
    for name, value in {
        "_lazy_init": lambda: None,
        "is_available": lambda: True,
        "device_count": lambda: 1,
        "current_device": lambda: 0,
        "is_initialized": lambda: True,
        "synchronize": lambda *_: None,
        "empty_cache": lambda: None,
        "get_device_name": lambda *_: "a GPU that is a CPU",
        "get_device_capability": lambda *_: (9, 0),
        "mem_get_info": lambda *_: (CAPACITY - TALLY.live_bytes, CAPACITY),
        "memory_allocated": lambda *_: TALLY.live_bytes,
        "memory_reserved": lambda *_: TALLY.live_bytes,
        "max_memory_allocated": lambda *_: TALLY.peak_bytes,
        "reset_peak_memory_stats": lambda *_: TALLY.clear(),
        "graph_pool_handle": lambda: (0, 1),
        "CUDAGraph": _CudaGraph,
        "graph": _Capturing,
        "Stream": _Stream,
        "current_stream": _Stream,
        "stream": _no_stream,
    }.items():
        setattr(cuda, name, value)
    start = threading.Thread.run

    def pretend(self: threading.Thread) -> None:
        _lift_host_tensors()
        with PretendCuda():
            start(self)

    threading.Thread.run = pretend  # type: ignore[method-assign]
    assert CUDA.index == 0


def _lift_host_tensors() -> None:
    """Let this thread make tensors from numbers on the host, and move them afterwards."""
    torch._C._ensureCUDADeviceGuardSet()  # type: ignore[attr-defined]
    torch._C._set_only_lift_cpu_tensors(True)  # type: ignore[attr-defined]  # noqa: FBT003 - torch's


def _inference_mode(mode: bool = True) -> AbstractContextManager[None]:  # noqa: FBT001, FBT002 - as torch's
    # Its tensors cannot be wrapped.
    return torch.no_grad() if mode else nullcontext()


def _no_stream(_: object) -> AbstractContextManager[None]:
    return nullcontext()
