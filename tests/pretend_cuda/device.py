"""Tensors that are on the CPU and say that they are on `cuda:0`, and the mode under which they are made."""

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Final

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from tests.pretend_cuda.capture import CAPTURES
from tests.pretend_cuda.tally import Tally, find_asker

CUDA: Final = torch.device("cuda", 0)
TALLY: Final = Tally()
"""Of the one device that there is."""

_WAITING: Final = frozenset(
    {
        "aten::_local_scalar_dense",
        "aten::equal",
        "aten::is_nonzero",
        "aten::nonzero",
        "aten::masked_select",
        "transformers::grouped_mm_fallback",
    }
)
_INDEXING: Final = frozenset({"aten::index", "aten::index_put", "aten::index_put_"})
# Those of a decode step that write on what is there from step to step.
_WRITING: Final = frozenset({"aten::index_copy_", "aten::copy_"})


class MixedDevicesError(RuntimeError):
    """An operation was given tensors of both devices, which a GPU refuses."""


class PretendTensor(torch.Tensor):
    """A CPU tensor that says it is on `cuda:0`."""

    held: torch.Tensor

    __torch_function__ = torch._C._disabled_torch_function_impl  # type: ignore[assignment]

    @staticmethod
    def __new__(cls: type["PretendTensor"], real: torch.Tensor) -> "PretendTensor":  # noqa: PYI034 - Python 3.10
        """Wrap a tensor of the CPU."""
        wrapper: PretendTensor = torch.Tensor._make_wrapper_subclass(  # type: ignore[attr-defined]
            cls,
            real.size(),
            strides=real.stride(),
            storage_offset=real.storage_offset(),
            dtype=real.dtype,
            device=CUDA,
        )
        wrapper.held = real
        TALLY.hold(real)
        return wrapper

    def tolist(self) -> Any:  # noqa: ANN401 - as torch's
        """Return the values, for which the host waits."""
        CAPTURES.refuse("tolist")
        TALLY.note_wait("tolist")
        return self.held.tolist()

    def numpy(self, *_: object, **__: object) -> Any:  # noqa: ANN401 - as torch's
        """Refuse, as a tensor on a GPU does."""
        raise TypeError("a CUDA tensor has no numpy view; move it to the host first")

    def __deepcopy__(self, memo: dict[int, Any]) -> "PretendTensor":
        """Return a copy on the device."""
        copy: PretendTensor = run(torch.ops.aten.clone.default, (self,), {})
        memo[id(self)] = copy
        return copy

    def data_ptr(self) -> int:
        """Return where the values are."""
        return self.held.data_ptr()

    def __repr__(self) -> str:  # type: ignore[override]
        return f"PretendTensor({tuple(self.held.shape)}, {self.held.dtype})"

    @classmethod
    def __torch_dispatch__(
        cls,
        func: Callable[..., Any],
        _: object,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:  # noqa: ANN401 - whatever the operation takes and returns
        """Do an operation on the CPU, and say that its result is on the device."""
        return run(func, args, {} if kwargs is None else kwargs)


class PretendCuda(TorchDispatchMode):
    """Within it, what is made on or moved to CUDA pretends to be there. Holds for one thread."""

    def __torch_dispatch__(
        self,
        func: Callable[..., Any],
        _: object,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:  # noqa: ANN401 - whatever the operation takes and returns
        """Do an operation on the CPU, and say where its result is."""
        return run(func, args, {} if kwargs is None else kwargs)


def run(func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:  # noqa: ANN401 - as above
    """Do an operation on the CPU, count it, and return what a GPU would.

    Args:
        func: Of torch.
        args: Tensors of both kinds among them.
        kwargs: As above.

    Returns:
        Its result, on the device where a GPU would have it.

    Raises:
        MixedDevicesError: It mixes tensors of both devices.
        CaptureError: It is not allowed while a graph is captured.

    """
    name: str = func._schema.name  # type: ignore[attr-defined]
    is_on_device = _look(name, args, kwargs)
    device = kwargs.get("device")
    if device is not None and torch.device(device).type == "cuda":
        kwargs = {**kwargs, "device": torch.device("cpu")}
    real_args = tuple(_unwrap(one) for one in args)
    real_kwargs = {name: _unwrap(one) for name, one in kwargs.items()}
    with torch._C.DisableTorchFunctionSubclass():  # type: ignore[attr-defined]
        compute = _count_integers if name == "aten::histc" else func
        result = compute(*real_args, **real_kwargs)
    if not is_on_device:
        return result
    is_kernel = not _is_view(func)
    CAPTURES.record(compute, real_args, real_kwargs, result, is_kernel=is_kernel)
    if is_kernel:
        TALLY.note_kernel(name, result, is_written=name in _WRITING)
    if name.endswith("_") and args and isinstance(args[0], PretendTensor):
        return args[0]
    return _wrap(result)


# What operations take and return are tensors and lists of them; torch's own walk through trees of anything
# took half of the time of all tests.
def _unwrap(value: Any) -> Any:  # noqa: ANN401 - whatever an operation takes
    if isinstance(value, PretendTensor):
        return value.held
    return type(value)(map(_unwrap, value)) if type(value) in {list, tuple} else value


def _wrap(value: Any) -> Any:  # noqa: ANN401 - whatever an operation returns
    if isinstance(value, torch.Tensor) and not isinstance(value, PretendTensor):
        return PretendTensor(value)
    return type(value)(map(_wrap, value)) if type(value) in {list, tuple} else value


def _list_tensors(values: Iterable[Any]) -> Iterator[torch.Tensor]:
    for value in values:
        if isinstance(value, torch.Tensor):
            yield value
        elif type(value) in {list, tuple}:
            yield from _list_tensors(value)


def _count_integers(values: torch.Tensor, *args: Any) -> torch.Tensor:  # noqa: ANN401 - as torch's
    """Count values, also integers, which a GPU can and a CPU cannot."""
    return torch.histc(values.float(), *args).to(values.dtype)


def _look(name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    """Count what an operation asks beside its kernel, and return whether its result is on the device."""
    tensors = list(_list_tensors((args, tuple(kwargs.values()))))
    ours = [tensor for tensor in tensors if isinstance(tensor, PretendTensor)]
    hosts = [tensor for tensor in tensors if not isinstance(tensor, PretendTensor)]
    device = None if kwargs.get("device") is None else torch.device(kwargs["device"])
    if ours and (name in _WAITING or (name == "aten::_grouped_mm" and not _is_grouped_at_once(ours))):
        _wait(name)
    if name == "aten::_to_copy" and device is not None:
        return _move(device, ours, hosts)
    if name == "aten::copy_":
        return _write(*args[:2])
    if device is not None and not ours:
        return device.type == "cuda"
    if ours and hosts:
        _mix(name, args[0], hosts)
    return bool(ours)


def _is_grouped_at_once(tensors: Sequence[torch.Tensor]) -> bool:
    # Otherwise, or below the compute capability 9.0 that this device says, offsets are copied to the host.
    # Source: _grouped_mm_cuda in aten/src/ATen/native/cuda/GroupedBlas.cpp of torch 2.10.
    return all(tensor.dtype == torch.bfloat16 for tensor in tensors if tensor.is_floating_point())


def _move(device: torch.device, ours: Sequence[torch.Tensor], hosts: Sequence[torch.Tensor]) -> bool:
    if ours and device.type != "cuda":
        _wait("to the host")
    if device.type == "cuda" and any(tensor.numel() for tensor in hosts):
        _copy()
    return device.type == "cuda"


def _write(to: torch.Tensor, source: torch.Tensor) -> bool:
    is_ours = isinstance(to, PretendTensor)
    if isinstance(source, PretendTensor) and not is_ours:
        _wait("to the host")
    elif is_ours and not isinstance(source, PretendTensor) and source.dim():
        _copy()
    return is_ours


def _mix(name: str, first: object, hosts: Sequence[torch.Tensor]) -> None:
    if name in _INDEXING and isinstance(first, PretendTensor):
        _wait("indexed with host tensors")
    elif any(tensor.dim() for tensor in hosts):
        raise MixedDevicesError(f"{name} mixes cuda:0 and cpu, asked for by {find_asker()}")


def _wait(kind: str) -> None:
    CAPTURES.refuse(kind)
    TALLY.note_wait(kind)


def _copy() -> None:
    CAPTURES.refuse("a copy from the host")
    TALLY.note_copy()


def _is_view(func: Any) -> bool:  # noqa: ANN401 - an operation of torch
    """Say whether an operation only looks at its argument otherwise, and so launches nothing."""
    if func._schema.name == "aten::_unsafe_view":
        return True
    returned = func._schema.returns
    return bool(returned) and returned[0].alias_info is not None and not returned[0].alias_info.is_write


os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
