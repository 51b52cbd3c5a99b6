"""Train from step to step: draw batches ahead, learn, log the progress, save and resume."""

import json
import time
from collections import defaultdict, deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import numpy as np
from transformers import GemmaTokenizer

from gemma4_block.demo.training.learning.batches import Batch, draw_batch
from gemma4_block.demo.training.learning.schedule import Plan
from gemma4_block.demo.training.learning.scoring import score
from gemma4_block.demo.training.learning.trainer import Trainer

_TOKENIZER = "tokenizer"
_BATCHES_AHEAD = 4


@dataclass(frozen=True, kw_only=True, slots=True)
class Settings:
    """How a training is run, which changes nothing in what is learnt.

    Attributes:
        directory: Holds `last.pt`, from which a second call goes on, the tokenizer and `log.jsonl`.
        stop_after_s: Wall-clock limit in seconds.
        save_every_s: How much is lost at most where the process is killed.
        log_every: Steps between lines of the log.
        score_every: Steps between scores of held-out pictures.
        is_compiled: Whether layers are compiled, which takes minutes at first and halves the time of a step.

    """

    directory: Path
    stop_after_s: float = float("inf")
    save_every_s: float = 180.0
    log_every: int = 100
    score_every: int = 1000
    is_compiled: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Start:
    """Weights to start from where the file of an earlier training is gone.

    Attributes:
        checkpoint: The directory of an exported checkpoint, with its tokenizer.
        step: How many steps it has learnt.

    """

    checkpoint: Path
    step: int


def train(
    plan: Plan, settings: Settings, *, finish_in: int | None = None, start: Start | None = None
) -> Trainer:
    """Train until the end that was set, or until time is up, saving on the way.

    Args:
        plan: How long and how hard.
        settings: Where and how often.
        finish_in: Let the rate fall over so many steps from here, then stop; None leaves it as it is.
        start: Where a directory without an earlier training starts; None starts from nothing.

    Returns:
        The trainer, at its last step.

    """
    settings.directory.mkdir(parents=True, exist_ok=True)
    last = settings.directory / "last.pt"
    trainer = Trainer(plan, _load_tokenizer(settings.directory, start), is_compiled=settings.is_compiled)
    trainer.tokenizer.save_pretrained(settings.directory / _TOKENIZER)
    if last.exists():
        trainer.restore(last)
    elif start is not None:
        trainer.start_from(start.checkpoint, start.step)
    if finish_in is not None:
        trainer.finish_in(finish_in)
    deadline = time.monotonic() + settings.stop_after_s
    saved = time.monotonic()
    with (settings.directory / "log.jsonl").open("a", encoding="utf-8") as log:
        diary = _Diary(trainer)
        for batch in () if trainer.is_over else _batches(trainer):
            diary.note(batch, trainer.learn(batch))
            if trainer.step % settings.log_every == 0:
                print(json.dumps(diary.page()), file=log, flush=True)
            if trainer.step % settings.score_every == 0:
                scores = {name: round(value, 4) for name, value in score(trainer).items()}
                print(json.dumps({"step": trainer.step, "scores": scores}), file=log, flush=True)
            is_over = trainer.is_over or time.monotonic() > deadline
            if is_over or time.monotonic() - saved > settings.save_every_s:
                trainer.save(last)
                saved = time.monotonic()
            if is_over:
                break
    return trainer


class _Diary:
    """Means of the losses since the last page."""

    def __init__(self, trainer: Trainer) -> None:
        self._trainer = trainer
        self._start()

    def _start(self) -> None:
        self._losses: dict[str, list[float]] = defaultdict(list)
        self._clock, self._processor, self._step = time.monotonic(), time.process_time(), self._trainer.step

    def note(self, batch: Batch, losses: dict[str, float]) -> None:
        for name, loss in losses.items():
            self._losses[name].append(loss)
        if batch.texts is not None:
            self._losses["tokens"].append(float(batch.texts.input_ids.numel()))

    def page(self) -> dict[str, float]:
        steps = max(1, self._trainer.step - self._step)
        page = {
            "step": float(self._trainer.step),
            "seconds": round((time.monotonic() - self._clock) / steps, 3),
            "processor_seconds": round((time.process_time() - self._processor) / steps, 3),
            **{name: round(float(np.mean(values)), 4) for name, values in self._losses.items()},
        }
        self._start()
        return page


def _load_tokenizer(directory: Path, start: Start | None) -> GemmaTokenizer | None:
    """Return the tokenizer of an earlier run: its ids are in the weights, whatever is asked by now."""
    saved = directory / _TOKENIZER
    if not saved.exists():
        if start is None:
            return None
        saved = start.checkpoint
    tokenizer: GemmaTokenizer = GemmaTokenizer.from_pretrained(saved)
    return tokenizer


def _batches(trainer: Trainer) -> Iterator[Batch]:
    """Draw batches ahead in a thread; the seed of each follows from its step, so a resumed run goes on."""
    with ThreadPoolExecutor(max_workers=1) as drawer:
        ahead: deque[Future[Batch]] = deque()
        following = count(trainer.step)
        try:
            while True:
                while len(ahead) < _BATCHES_AHEAD:
                    ahead.append(drawer.submit(draw_batch, trainer.plan, trainer.tokenizer, next(following)))
                yield ahead.popleft().result()
        finally:
            for future in ahead:
                future.cancel()
