"""One decode step as a CUDA graph: the work of all its kernels, given to the GPU at once."""

from collections.abc import Callable
from typing import Any, Final

import torch

# Kernels choose their ways and libraries set up their work space in the first of them, which must not happen
# while a graph is captured. Source: https://docs.pytorch.org/docs/stable/notes/cuda.html, CUDA Graphs.
_WARM_UPS: Final = 2


class StepGraph:
    """Captures a step, and does it again with what is at the same addresses by then.

    Args:
        step: Does the same work on the same addresses at every call, and never waits for the device.
        pool: Of the memory that graphs share, of which one is replayed at a time.

    Raises:
        RuntimeError: The step does something that a graph cannot hold.

    Attributes:
        result: What the step returned; every replay overwrites it.

    """

    def __init__(self, step: Callable[[], torch.Tensor], pool: Any) -> None:  # noqa: ANN401 - of torch, opaque
        beside, own = torch.cuda.Stream(), torch.cuda.current_stream()
        beside.wait_stream(own)
        with torch.cuda.stream(beside):
            for _ in range(_WARM_UPS):
                step()
        own.wait_stream(beside)
        self._graph = torch.cuda.CUDAGraph()
        # Other threads may use the device meanwhile, for an adapter that they fetch.
        with torch.cuda.graph(self._graph, pool=pool, capture_error_mode="thread_local"):
            self.result = step()

    def replay(self) -> torch.Tensor:
        """Do the step, and return its result."""
        self._graph.replay()
        return self.result
