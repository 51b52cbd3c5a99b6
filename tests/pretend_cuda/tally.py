"""Count what a pretended GPU is asked to do, and the bytes that are alive on it."""

import traceback
import weakref
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import RLock
from typing import Final

import torch

# Whose lines are named as those that asked for something.
_NAMED: Final = ("gemma4_block", "models/gemma4", "transformers/cache_utils")


@dataclass(kw_only=True)
class Tally:
    """What a device was asked to do since `clear`, and what it holds.

    Attributes:
        waits: What made the host wait for the device, by kind and by the line that asked.
        copies: What was copied to the device, by the line that asked.
        kernels: Operations that compute or move something on the device, by name. Views are none.
        steps: The same operations in order with the shapes of their results, while they are recorded.
        launches: How often the host gave the device work: a kernel, or a graph of many.
        live_bytes: Of the tensors on the device now.
        peak_bytes: The most since `clear`.

    """

    waits: Counter[str] = field(default_factory=Counter)
    copies: Counter[str] = field(default_factory=Counter)
    kernels: Counter[str] = field(default_factory=Counter)
    steps: list[str] | None = None
    launches: int = 0
    live_bytes: int = 0
    peak_bytes: int = 0
    _storages: dict[int, int] = field(default_factory=dict)
    _lock: RLock = field(default_factory=RLock)

    def clear(self) -> None:
        """Begin to count anew; what is alive stays so."""
        self.waits.clear()
        self.copies.clear()
        self.kernels.clear()
        self.launches = 0
        self.peak_bytes = self.live_bytes

    def note_wait(self, kind: str) -> None:
        """Count that the host waits for the device."""
        self.waits[f"{kind} {find_asker()}"] += 1

    def note_copy(self) -> None:
        """Count a copy from the host to the device."""
        self.copies[find_asker()] += 1
        self.launches += 1

    def note_kernel(self, name: str, result: object, *, is_written: bool) -> None:
        """Count an operation that the host gave to the device; one that writes on what was there before?"""
        self.kernels[name] += 1
        self.launches += 1
        if self.steps is not None and isinstance(result, torch.Tensor):
            address = f" at {result.data_ptr()}" if is_written else ""
            self.steps.append(f"{name} {tuple(result.shape)} {result.dtype}{address}")

    @contextmanager
    def recorded(self) -> Iterator[list[str]]:
        """Yield a list that takes the operations inside, in order."""
        self.steps = steps = []
        try:
            yield steps
        finally:
            self.steps = None

    def hold(self, tensor: torch.Tensor) -> None:
        """Count the bytes behind a tensor until they are freed; once, however many tensors share them."""
        storage = tensor.untyped_storage()
        place = storage.data_ptr()
        with self._lock:
            if place in self._storages or not place:
                return
            self._storages[place] = storage.nbytes()
            self.live_bytes += storage.nbytes()
            self.peak_bytes = max(self.peak_bytes, self.live_bytes)
        weakref.finalize(storage, self._release, place)

    def _release(self, place: int) -> None:
        with self._lock:
            self.live_bytes -= self._storages.pop(place, 0)


def find_asker() -> str:
    """Return the innermost line of this project, or of the model, that is being run."""
    for frame in reversed(traceback.extract_stack()):
        if any(name in frame.filename for name in _NAMED):
            return f"{frame.filename.rsplit('/', 1)[-1]}:{frame.lineno} {frame.name}"
    return "elsewhere"
