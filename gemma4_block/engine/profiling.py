"""Measure where the time of a call goes."""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import Lock
from typing import Literal

import torch

from gemma4_block.meter import get_meter

Stage = Literal["preprocess", "vision", "prefill", "decode", "score", "read"]
"""`preprocess`: images and texts become tensors; `vision`: the tower encodes images; `prefill`: prompts fill
the KV cache; `decode`: tokens are generated; `score`: choices are scored; `read`: tokens are detokenized."""

STAGES: tuple[Stage, ...] = ("preprocess", "vision", "prefill", "decode", "score", "read")


@dataclass(frozen=True, kw_only=True, slots=True)
class StageTime:
    """The time of a call in one stage.

    Attributes:
        seconds: Together; a pass that also worked for other calls counts in full.
        passes: How often.
        most_rows: The most images, prompts or sequences in one pass, those of other calls too.
        shared_passes: How many of the passes also worked for other calls.

    """

    seconds: float = 0.0
    passes: int = 0
    most_rows: int = 0
    shared_passes: int = 0

    def __str__(self) -> str:
        passes = "pass" if self.passes == 1 else "passes"
        shared = f", {self.shared_passes} shared with other calls" if self.shared_passes else ""
        return f"{self.seconds:.3f} s in {self.passes} {passes} of up to {self.most_rows}{shared}"


@dataclass(kw_only=True)
class Profile:
    """Where the time of one call went. Threads of their own may preprocess beside the other stages.

    Attributes:
        is_wanted: Whether the caller asked for it. Else the seconds of stages on a GPU are wrong, because the
            clock does not wait for the GPU.
        stages: Those that the call had.

    """

    is_wanted: bool
    stages: dict[Stage, StageTime] = field(default_factory=dict)
    _lock: Lock = field(default_factory=Lock, repr=False)

    def add(self, stage: Stage, seconds: float, rows: int, *, calls: int = 1) -> None:
        """Count a pass over so many images, prompts or sequences, which worked for so many calls."""
        with self._lock:
            before = self.stages.get(stage, StageTime())
            self.stages[stage] = StageTime(
                seconds=before.seconds + seconds,
                passes=before.passes + 1,
                most_rows=max(before.most_rows, rows),
                shared_passes=before.shared_passes + (calls > 1),
            )

    def __str__(self) -> str:
        return "; ".join(f"{stage} {self.stages[stage]}" for stage in STAGES if stage in self.stages)


class StageClock:
    """Measures the stages of a model that works for one or several calls at once.

    Args:
        device: The model's.
        wait_for: Blocks until a device has done its work.

    """

    def __init__(
        self, device: torch.device, *, wait_for: Callable[[torch.device], None] = torch.cuda.synchronize
    ) -> None:
        self._device = device
        self._wait_for = wait_for
        self._profiles: Sequence[Profile] = ()
        self._must_wait = False

    @contextmanager
    def working_for(self, profiles: Sequence[Profile]) -> Iterator[None]:
        """Add what is measured inside to these; from one thread at a time."""
        self._profiles = profiles
        self._must_wait = must_wait(self._device, profiles)
        try:
            yield
        finally:
            self._profiles = ()
            self._must_wait = False

    @contextmanager
    def measure(self, stage: Stage, rows: int) -> Iterator[None]:
        """Measure a pass over so many images, prompts or sequences."""
        started = self._now()
        yield
        seconds = self._now() - started
        get_meter().note_pass(stage, rows, seconds)
        for profile in self._profiles:
            profile.add(stage, seconds, rows, calls=len(self._profiles))

    def _now(self) -> float:
        if self._must_wait:
            self._wait_for(self._device)
        return time.perf_counter()


def must_wait(device: torch.device, profiles: Iterable[Profile]) -> bool:
    """Say whether the clock must wait for the device at both ends of a stage.

    A GPU works on after the call that started the work. Waiting costs time, so only a wanted profile does it.

    >>> must_wait(torch.device("cuda"), [Profile(is_wanted=False), Profile(is_wanted=True)])
    True
    >>> must_wait(torch.device("cuda"), [Profile(is_wanted=False)])
    False
    >>> must_wait(torch.device("cpu"), [Profile(is_wanted=True)])
    False
    """
    return device.type == "cuda" and any(profile.is_wanted for profile in profiles)
