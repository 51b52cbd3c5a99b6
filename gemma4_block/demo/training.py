"""Train the demo checkpoint on drawn scenes: first the tower alone, then the whole model.

Run `python -m gemma4_block.demo.training --work-dir runs/demo`. It is seeded, resumes from its last
checkpoint, shows its progress and, with `--export`, writes the averaged weights into the package.

A tower of this size learns nothing visual from answers alone, so throw-away heads on the soft tokens
say of each what lies under it, whether it is a centre, and where the box around it begins and ends.
"""

import os

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import argparse
import queue
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from rich.console import Console
from rich.progress import Progress, TextColumn
from torch import nn
from torch.nn import functional
from transformers import Gemma4TextConfig, GemmaTokenizer
from transformers.models.gemma4.modeling_gemma4 import Gemma4ClippableLinear

from gemma4_block.demo import architecture, calibration
from gemma4_block.demo.batches import IGNORED, KIND_COUNT, Batch, Truth, build_batch, draw_training_scene

if TYPE_CHECKING:
    from transformers import Gemma4ForConditionalGeneration

_SAVE_EVERY_STEPS = 100
_CALIBRATION_SCENES = 64
# Follows the seed where a training step's number would: none gets as far.
_CALIBRATION_STREAM = 2**31
_AVERAGE_DECAY = 0.995
_DIGIT_WEIGHT = 3.0
_TOKENIZER = "tokenizer"


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """How long and how hard to train.

    Attributes:
        tower_steps: Steps in which only the tower and its throw-away heads learn.
        steps: All steps.
        decay_steps: Last steps, over which the learning rate falls to nothing.
        curriculum_steps: Steps of the whole model until scenes are as full as they get.
        learning_rate: Peak rate, after 100 steps of warm-up in each stage.

    """

    tower_steps: int = 1200
    steps: int = 6000
    decay_steps: int = 1500
    curriculum_steps: int = 300
    tower_batch: int = 32
    batch: int = 16
    learning_rate: float = 2e-3
    seed: int = 20261124


class SoftTokenHeads(nn.Module):
    """Linear read-outs of what lies under a soft token; used in training only."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.kinds = nn.Linear(width, KIND_COUNT)
        self.center = nn.Linear(width, 1)
        self.box_digits = nn.Linear(width, 4 * (11 + 10))

    def loss(self, soft_tokens: torch.Tensor, truth: Truth) -> torch.Tensor:
        """Return the scalar loss of `(N, width)` soft tokens against the truth about them."""
        kinds = functional.cross_entropy(self.kinds(soft_tokens), truth.kinds)
        center = functional.binary_cross_entropy_with_logits(
            self.center(soft_tokens)[:, 0], truth.is_center, pos_weight=torch.tensor(5.0)
        )
        at_center = truth.is_center > 0
        if not bool(at_center.any()):
            return kinds + center
        digits = self.box_digits(soft_tokens[at_center]).reshape(-1, 4, 21)
        target = truth.box_digits[at_center]
        hundreds = functional.cross_entropy(digits[..., :11].reshape(-1, 11), target[..., 0].reshape(-1))
        tens = functional.cross_entropy(digits[..., 11:].reshape(-1, 10), target[..., 1].reshape(-1))
        return kinds + center + hundreds + tens


class Trainer:
    """The model, its optimizers and how far it has come; everything that a checkpoint holds."""

    def __init__(self, plan: Plan, tokenizer: GemmaTokenizer | None = None) -> None:
        self.plan = plan
        self.model: Gemma4ForConditionalGeneration = architecture.build_model(plan.seed)
        self.tokenizer = architecture.build_tokenizer(plan.seed) if tokenizer is None else tokenizer
        for module in self.model.modules():
            # The clamps have no bounds before `export` measures them, and cost a third of a step.
            if isinstance(module, Gemma4ClippableLinear):
                module.use_clipped_linears = False
        # Counts and coordinates are a few digits among many easy tokens, and the hardest to learn.
        self._token_weights = torch.ones(architecture.VOCAB_SIZE)
        self._token_weights[self.tokenizer.convert_tokens_to_ids(list("0123456789"))] = _DIGIT_WEIGHT
        self.heads = SoftTokenHeads(self._text_config.hidden_size)
        self.step = 0
        self.average = {name: value.detach().clone() for name, value in self.model.named_parameters()}
        matrices: list[nn.Parameter] = []
        others: list[nn.Parameter] = []
        for name, parameter in self.model.named_parameters():
            is_matrix = parameter.ndim == 2 and "embed_tokens" not in name
            (matrices if is_matrix else others).append(parameter)
        self.optimizers: list[torch.optim.Optimizer] = [
            torch.optim.Muon(
                matrices, lr=plan.learning_rate, weight_decay=0.05, adjust_lr_fn="match_rms_adamw"
            ),
            torch.optim.AdamW(
                [*others, *self.heads.parameters()],
                lr=plan.learning_rate,
                betas=(0.9, 0.98),
                weight_decay=0.0,
            ),
        ]

    def save(self, path: Path) -> None:
        """Write everything needed to go on, whole or not at all."""
        state = {
            "step": self.step,
            "model": self.model.state_dict(),
            "heads": self.heads.state_dict(),
            "average": self.average,
            "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
        }
        partial = path.with_suffix(".partial")
        torch.save(state, partial)
        partial.replace(path)

    def restore(self, path: Path) -> None:
        """Go on from a file that `save` wrote."""
        state = torch.load(path, weights_only=True)
        self.step = state["step"]
        self.model.load_state_dict(state["model"])
        self.heads.load_state_dict(state["heads"])
        self.average = state["average"]
        for optimizer, saved in zip(self.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)

    def learn(self, batch: Batch) -> tuple[float, float]:
        """Take one step; returns the loss of the soft tokens and of the answers (0 without text)."""
        rate = self._learning_rate()
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = rate
        with torch.autocast("cpu", torch.bfloat16):
            if batch.input_ids is None:
                features = self.model.model.get_image_features(batch.pixel_values, batch.image_position_ids)
                seen = self.heads.loss(torch.cat(features.pooler_output), batch.truth)
                answered = torch.zeros(())
            else:
                answered, soft_tokens = self._answer_loss(batch)
                seen = self.heads.loss(soft_tokens, batch.truth)
        loss = answered + (1.0 if batch.input_ids is None else 0.4) * seen
        loss.backward()
        nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        for optimizer in self.optimizers:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        self._update_average()
        self.step += 1
        return float(seen.detach()), float(answered.detach())

    def export(self, directory: Path) -> None:
        """Write the averaged weights, with measured clamps, as a bfloat16 checkpoint with all its files."""
        exported = architecture.build_model(self.plan.seed)
        exported.load_state_dict(self.average, strict=False)
        rng = np.random.default_rng((self.plan.seed, _CALIBRATION_STREAM))
        scenes = [draw_training_scene(rng, 1.0) for _ in range(_CALIBRATION_SCENES)]
        calibration.calibrate_clipped_linears(exported, build_batch(rng, scenes))
        exported.bfloat16().save_pretrained(directory)
        architecture.build_processor(self.tokenizer).save_pretrained(directory)
        for path in directory.iterdir():
            # The weights come from a temporary file, which only its owner may read.
            path.chmod(0o644)

    @property
    def _text_config(self) -> Gemma4TextConfig:
        config = self.model.config.text_config
        assert isinstance(config, Gemma4TextConfig)
        return config

    def _answer_loss(self, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
        assert batch.labels is not None
        outputs = self.model.model(
            input_ids=batch.input_ids,
            pixel_values=batch.pixel_values,
            image_position_ids=batch.image_position_ids,
            attention_mask={"full_attention": batch.mask, "sliding_attention": batch.mask},
            position_ids=batch.position_ids,
            use_cache=False,
        )
        is_answer = batch.labels != IGNORED
        logits = self.model.lm_head(outputs.last_hidden_state[is_answer])
        cap = self._text_config.final_logit_softcapping
        assert cap is not None
        logits = torch.tanh(logits / cap) * cap
        targets = batch.labels[is_answer]
        weights = self._token_weights[targets]
        losses = functional.cross_entropy(logits, targets, reduction="none")
        return (weights * losses).sum() / weights.sum(), outputs.image_hidden_states

    def _learning_rate(self) -> float:
        plan = self.plan
        since = self.step if self.step < plan.tower_steps else self.step - plan.tower_steps
        warm = min(1.0, (since + 1) / 100)
        left = min(1.0, (plan.steps - self.step) / plan.decay_steps)
        return plan.learning_rate * warm * left

    @torch.no_grad()
    def _update_average(self) -> None:
        decay = min(_AVERAGE_DECAY, (self.step + 1) / (self.step + 10))
        for name, value in self.model.named_parameters():
            self.average[name].lerp_(value, 1 - decay)


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
    ready: queue.Queue[Batch] = queue.Queue(maxsize=4)
    first = trainer.step
    stopped = threading.Event()

    def produce() -> None:
        for step in range(first, plan.steps):
            rng = np.random.default_rng((plan.seed, step))
            is_tower = step < plan.tower_steps
            stage_step, stage_length = (
                (step, plan.tower_steps // 3)
                if is_tower
                else (step - plan.tower_steps, plan.curriculum_steps)
            )
            difficulty = min(1.0, stage_step / max(1, stage_length))
            scenes = [
                draw_training_scene(rng, difficulty)
                for _ in range(plan.tower_batch if is_tower else plan.batch)
            ]
            batch = build_batch(rng, scenes, None if is_tower else trainer.tokenizer)
            while not stopped.is_set():
                try:
                    ready.put(batch, timeout=1)
                    break
                except queue.Full:
                    continue
            if stopped.is_set():
                return

    thread = threading.Thread(target=produce, daemon=True)
    thread.start()
    try:
        for _ in range(first, plan.steps):
            yield ready.get()
    finally:
        stopped.set()


def main() -> None:
    """Read the command line, train, and export where asked."""
    defaults = Plan()
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--work-dir", type=Path, default=Path("runs/demo"))
    parser.add_argument("--export", type=Path, help="write the checkpoint here at the end")
    parser.add_argument("--stop-after-s", type=float, default=float("inf"))
    parser.add_argument("--steps", type=int, default=defaults.steps)
    parser.add_argument("--tower-steps", type=int, default=defaults.tower_steps)
    parser.add_argument("--decay-steps", type=int, default=defaults.decay_steps)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    plan = Plan(steps=arguments.steps, tower_steps=arguments.tower_steps, decay_steps=arguments.decay_steps)
    trainer = train(plan, arguments.work_dir, stop_after_s=arguments.stop_after_s)
    if arguments.export is not None:
        trainer.export(arguments.export)


if __name__ == "__main__":
    main()
