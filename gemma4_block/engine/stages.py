"""Measure where the time of a call goes."""

import logging
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import Lock
from typing import Literal

import torch

Stage = Literal["preprocess", "vision", "prefill", "decode", "score", "read"]
"""`preprocess`: images and texts become tensors; `vision`: the tower; `prefill`: prompts are read; `decode`:
answers are written; `score`: alternatives are compared; `read`: tokens become texts."""

STAGES: tuple[Stage, ...] = ("preprocess", "vision", "prefill", "decode", "score", "read")

_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class StageTime:
    """What a call spent in one stage.

    Attributes:
        seconds: Together; work that was shared with other calls counts in full.
        passes: How often.
        most_rows: The most images, prompts or answers that were worked on at once.

    """

    seconds: float = 0.0
    passes: int = 0
    most_rows: int = 0


@dataclass
class Profile:
    """Where the time of one call went. Preprocessing runs beside the other stages."""

    stages: dict[Stage, StageTime] = field(default_factory=dict)
    _lock: Lock = field(default_factory=Lock, repr=False)

    def add(self, stage: Stage, seconds: float, rows: int) -> None:
        """Count one pass."""
        with self._lock:
            before = self.stages.get(stage, StageTime())
            self.stages[stage] = StageTime(
                seconds=before.seconds + seconds,
                passes=before.passes + 1,
                most_rows=max(before.most_rows, rows),
            )

    def __str__(self) -> str:
        return ", ".join(
            f"{stage} {spent.seconds:.3f} s in {spent.passes} x {spent.most_rows}"
            for stage in STAGES
            if (spent := self.stages.get(stage)) is not None
        )


class StageClock:
    """Measures the stages of a model that works for one or several calls at once.

    Args:
        device: The model's.

    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._profiles: Sequence[Profile] = ()

    @contextmanager
    def working_for(self, profiles: Sequence[Profile]) -> Iterator[None]:
        """Add what is measured inside to these; from one thread at a time."""
        self._profiles = profiles
        try:
            yield
        finally:
            self._profiles = ()

    @contextmanager
    def measure(self, stage: Stage, rows: int) -> Iterator[None]:
        """Measure a pass over some rows."""
        started = self._now()
        yield
        seconds = self._now() - started
        for profile in self._profiles:
            profile.add(stage, seconds, rows)

    def _now(self) -> float:
        # A GPU works on after the call. Waiting for it costs time, so only where somebody wants to know.
        if self._device.type == "cuda" and _log.isEnabledFor(logging.DEBUG):
            torch.cuda.synchronize(self._device)
        return time.perf_counter()
