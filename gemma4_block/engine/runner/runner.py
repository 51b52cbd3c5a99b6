"""Work with one model: read prompts, write replies, score alternatives."""

import logging
from collections.abc import Sequence

import torch

from gemma4_block.engine.profiling import StageClock
from gemma4_block.engine.runner.decode import RunningBatch
from gemma4_block.engine.runner.forward import ModelPasses
from gemma4_block.engine.runner.prefill import PrefixCache, PromptReader, Reading, Unread
from gemma4_block.engine.runner.scoring import score_texts
from gemma4_block.engine.runner.vision import FeatureCache
from gemma4_block.engine.scheduler.request import Job

_log = logging.getLogger(__name__)


class ModelRunner:
    """The model at work; a `Worker`. From one thread at a time.

    Args:
        passes: Of the model.
        features: Of images that were seen before.
        prefixes: Beginnings of prompts that were read before.
        clock: Measures the stages.

    """

    def __init__(
        self, passes: ModelPasses, *, features: FeatureCache, prefixes: PrefixCache, clock: StageClock
    ) -> None:
        self._passes = passes
        self._features = features
        self._prefixes = prefixes
        self._reader = PromptReader(passes, features=features, prefixes=prefixes, clock=clock)
        self._running = RunningBatch(passes)
        self._clock = clock

    @torch.inference_mode()
    def start(self, jobs: Sequence[Job]) -> None:
        """Read prompts, and choose the first token of each reply."""
        reading = self._read(jobs)
        rows = [job.row for job in jobs]
        for row in rows:
            row.take_unread()
        self._running.add(reading, rows)

    @torch.inference_mode()
    def score(self, jobs: Sequence[Job]) -> None:
        """Read prompts, and score their alternatives."""
        reading = self._read(jobs)
        texts = [[text for group in job.prompt.choices for text in group] for job in jobs]
        with self._clock.measure("score", len(jobs)):
            found = score_texts(self._passes.model, reading, texts)
        for job, scores in zip(jobs, found, strict=True):
            job.scores = tuple(scores)

    @torch.inference_mode()
    def step(self) -> None:
        """Write a token of every reply."""
        with self._clock.measure("decode", len(self._running.rows)):
            self._running.step()

    @torch.inference_mode()
    def drop_ended(self) -> None:
        """Let replies go that have ended."""
        self._running.drop_ended()

    def clear(self) -> None:
        """Let all replies go, and their memory."""
        self._running.clear()
        if self._passes.model.device.type == "cuda":
            try:
                torch.cuda.empty_cache()
            except RuntimeError:
                # A device that has failed says so at every call; whoever waits is told by the first.
                _log.exception("The GPU cannot give memory back.")

    def release(self) -> bool:
        """Drop what is kept of earlier prompts, and return whether that was anything."""
        dropped = [self._features.clear(), self._prefixes.clear()]
        return any(dropped)

    def _read(self, jobs: Sequence[Job]) -> Reading:
        return self._reader.read([Unread(prompt=job.prompt, written=tuple(job.row.ids)) for job in jobs])
