"""A graph of operations on fixed addresses, as CUDA captures and replays it."""

from collections.abc import Callable
from dataclasses import dataclass, field
from threading import get_ident
from typing import Any, Final

import torch
from torch.utils._pytree import tree_leaves


class CaptureError(RuntimeError):
    """Something was asked for that is not allowed while a graph is captured."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Operation:
    func: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    result: Any
    is_kernel: bool

    def repeat(self) -> None:
        """Do it again with what is at its addresses now, and leave the result where it was."""
        again = tree_leaves(self.func(*self.args, **self.kwargs))
        for before, now in zip(tree_leaves(self.result), again, strict=True):
            # What was changed in place, or is a view, is there already.
            if isinstance(before, torch.Tensor) and before.data_ptr() != now.data_ptr():
                before.copy_(now)


@dataclass(kw_only=True)
class Graph:
    """What was captured.

    Attributes:
        operations: In order.

    """

    operations: list[_Operation] = field(default_factory=list)

    @property
    def kernels(self) -> int:
        """How many a replay runs."""
        return sum(one.is_kernel for one in self.operations)


class Captures:
    """Knows whether a graph is being captured, and by which thread: what others do is no part of it."""

    def __init__(self) -> None:
        self._graph: Graph | None = None
        self._thread = 0

    def begin(self, graph: Graph) -> None:
        """Put all operations on the device into a graph from now on."""
        self._graph, self._thread = graph, get_ident()

    def end(self) -> None:
        """Stop that."""
        self._graph = None

    def refuse(self, what: str) -> None:
        """Raise where a graph is being captured, because what was asked for cannot be part of one."""
        if self._graph is not None and self._thread == get_ident():
            raise CaptureError(f"operation not permitted when stream is capturing: {what}")

    def record(
        self,
        func: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        result: object,
        *,
        is_kernel: bool,
    ) -> None:
        """Note an operation, which is a kernel or a view, where a graph is being captured."""
        if self._graph is not None and self._thread == get_ident():
            self._graph.operations.append(
                _Operation(func=func, args=args, kwargs=kwargs, result=result, is_kernel=is_kernel)
            )


CAPTURES: Final = Captures()
"""Of the one device that there is."""
