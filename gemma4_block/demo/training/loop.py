"""Train from step to step: draw batches ahead, learn, show the progress, save and resume."""

import time
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.progress import Progress, TextColumn
from transformers import GemmaTokenizer

from gemma4_block.demo.training.batches import Batch, build_batch, draw_training_scene
from gemma4_block.demo.training.trainer import Plan, Trainer

_SAVE_EVERY_STEPS = 100
_TOKENIZER = "tokenizer"
_BATCHES_AHEAD = 4


def train(plan: Plan, work_dir: Path, *, stop_after_s: float) -> Trainer:
    """Train until the plan is done or time is up, saving to `work_dir` on the way.

    Args:
        plan: How long and how hard.
        work_dir: Holds `last.pt`, from which a second call goes on.
        stop_after_s: Wall-clock limit in seconds.

    Returns:
        The trainer, at its last step.

    """
    work_dir.mkdir(parents=True, exist_ok=True)
    last = work_dir / "last.pt"
    trainer = Trainer(plan, _load_tokenizer(work_dir))
    trainer.tokenizer.save_pretrained(work_dir / _TOKENIZER)
    if last.exists():
        trainer.restore(last)
    deadline = time.monotonic() + stop_after_s
    columns = (*Progress.get_default_columns(), TextColumn("{task.fields[losses]}"))
    with Progress(*columns, console=Console(stderr=True)) as progress:
        bar = progress.add_task("training", total=plan.steps, completed=trainer.step, losses="")
        log = (work_dir / "log.txt").open("a", encoding="utf-8")
        seen_mean, answered_mean = 0.0, 0.0
        started = time.monotonic()
        for batch in _batches(plan, trainer):
            seen, answered = trainer.learn(batch)
            weight = 0.05
            seen_mean += weight * (seen - seen_mean)
            answered_mean += weight * (answered - answered_mean)
            progress.update(
                bar, completed=trainer.step, losses=f"seen {seen_mean:.3f} answered {answered_mean:.3f}"
            )
            if trainer.step % 20 == 0:
                pace = (time.monotonic() - started) / 20
                started = time.monotonic()
                print(f"{trainer.step} {seen_mean:.4f} {answered_mean:.4f} {pace:.2f}s", file=log, flush=True)
            is_over = trainer.step >= plan.steps or time.monotonic() > deadline
            if trainer.step % _SAVE_EVERY_STEPS == 0 or is_over:
                trainer.save(last)
            if is_over:
                break
        log.close()
    return trainer


def _load_tokenizer(work_dir: Path) -> GemmaTokenizer | None:
    """Return the tokenizer of an earlier run: its ids are in the weights, whatever is asked by now."""
    directory = work_dir / _TOKENIZER
    return GemmaTokenizer.from_pretrained(directory) if directory.exists() else None


def _batches(plan: Plan, trainer: Trainer) -> Iterator[Batch]:
    """Draw batches ahead in a thread; the seed of each follows from its step, so a resumed run goes on."""
    with ThreadPoolExecutor(max_workers=1) as drawer:
        ahead: deque[Future[Batch]] = deque()
        following = iter(range(trainer.step, plan.steps))
        for _ in range(trainer.step, plan.steps):
            while len(ahead) < _BATCHES_AHEAD and (step := next(following, None)) is not None:
                ahead.append(drawer.submit(_draw_batch, plan, trainer.tokenizer, step))
            yield ahead.popleft().result()


def _draw_batch(plan: Plan, tokenizer: GemmaTokenizer, step: int) -> Batch:
    rng = np.random.default_rng((plan.seed, step))
    is_tower = step < plan.tower_steps
    stage_step, stage_length = (
        (step, plan.tower_steps // 3) if is_tower else (step - plan.tower_steps, plan.curriculum_steps)
    )
    difficulty = min(1.0, stage_step / max(1, stage_length))
    count = plan.tower_batch if is_tower else plan.batch
    scenes = [draw_training_scene(rng, difficulty) for _ in range(count)]
    return build_batch(rng, scenes, None if is_tower else tokenizer)
