"""Count the bytes of tensors that are alive at once."""

import weakref
from collections.abc import Callable
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class AliveTensors(TorchDispatchMode):
    """Counts what operations make, while it is entered.

    Attributes:
        peak: The most bytes at any time.

    """

    def __init__(self) -> None:
        super().__init__()
        self.peak = 0
        self._sizes: dict[int, int] = {}

    def __torch_dispatch__(
        self,
        func: Callable[..., Any],
        types: object,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:  # noqa: ANN401 - whatever the operation returns
        """Do the operation, and count its results that are new."""
        given = {_place(one) for one in tree_leaves((args, kwargs)) if isinstance(one, torch.Tensor)}
        result = func(*args, **(kwargs or {}))
        for made in tree_leaves(result):
            if isinstance(made, torch.Tensor) and _place(made) not in given:
                self._count(made.untyped_storage())
        return result

    def _count(self, storage: torch.UntypedStorage) -> None:
        place = storage.data_ptr()
        if place in self._sizes:
            return
        self._sizes[place] = storage.nbytes()
        weakref.finalize(storage, self._sizes.pop, place, None)
        self.peak = max(self.peak, sum(self._sizes.values()))


def _place(tensor: torch.Tensor) -> int:
    return tensor.untyped_storage().data_ptr()
