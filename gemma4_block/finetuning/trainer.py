"""Train an adapter step by step; a run that was cut off goes on where it was saved."""

import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Final

import numpy as np
import torch
from accelerate import Accelerator
from transformers import get_cosine_schedule_with_warmup

from gemma4_block.engine.loading import Checkpoint, NewAdapter
from gemma4_block.errors import ConfigurationError
from gemma4_block.finetuning.dataset import Example
from gemma4_block.finetuning.lessons import Lessons
from gemma4_block.finetuning.plan import Plan
from gemma4_block.finetuning.rows import answer_losses

# Source: https://ai.google.dev/gemma/docs/core/huggingface_vision_finetune_qlora.
_WARMUP_SHARE: Final = 0.03
_MOST_GRADIENT: Final = 0.3
# Our choice: a cut costs some seconds of work, or a few minutes.
_SAVE_EVERY_STEPS: Final = 25
_STATE: Final = "step-"
_PLAN: Final = "plan.json"
_STEP: Final = "step"


class AdapterTrainer:
    """Trains an adapter, and keeps what it needs to go on in a folder.

    Args:
        checkpoint: The base.
        lessons: Prepare its rows.
        examples: To learn from.
        plan: How.
        folder: Of the run; one with a run under the same plan goes on with that.
        save_every_steps: How many steps a cut may cost.

    Attributes:
        adapter: What is trained.
        steps: Of the whole training.
        step: How many of them are done.

    Raises:
        ConfigurationError: The folder holds a run under another plan.

    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        lessons: Lessons,
        examples: tuple[Example, ...],
        plan: Plan,
        folder: Path,
        *,
        save_every_steps: int = _SAVE_EVERY_STEPS,
    ) -> None:
        self._checkpoint = checkpoint
        self._lessons = lessons
        self._examples = examples
        self._plan = plan
        self._folder = folder
        self._save_every_steps = save_every_steps
        self.steps = plan.count_steps(len(examples))
        self.step = 0
        self.adapter = NewAdapter(checkpoint.model, rank=plan.rank, seed=plan.seed)
        # Passes are added up below: Accelerate would weigh the last ones of an epoch, if fewer, too little.
        self._accelerator = Accelerator(cpu=checkpoint.model.device.type == "cpu")
        optimizer = torch.optim.AdamW(self.adapter.parameters, lr=plan.learning_rate, weight_decay=0.0)
        schedule = get_cosine_schedule_with_warmup(
            optimizer, max(1, round(_WARMUP_SHARE * self.steps)), self.steps
        )
        self._optimizer, self._schedule = self._accelerator.prepare(optimizer, schedule)
        self._accelerator.register_for_checkpointing(self.adapter, self)
        self._resume()

    def state_dict(self) -> Mapping[str, int]:
        """Return how far it is."""
        return {_STEP: self.step}

    def load_state_dict(self, state: Mapping[str, int]) -> None:
        """Go on from there."""
        self.step = state[_STEP]

    def train(self, tell: Callable[[float], None]) -> None:
        """Take the steps that are left, and save on the way.

        Args:
            tell: Is told the loss of each, the mean over its examples.

        """
        while self.step < self.steps:
            loss = self._learn(self._choose())
            self.step += 1
            tell(loss)
            if self.step % self._save_every_steps == 0 or self.step == self.steps:
                self._save()

    def _choose(self) -> list[Example]:
        """Return the examples of the next step; every epoch has an order of its own."""
        steps_an_epoch = self.steps // self._plan.epochs
        epoch, place = divmod(self.step, steps_an_epoch)
        order = np.random.default_rng((self._plan.seed, epoch)).permutation(len(self._examples))
        start = place * self._plan.examples_a_step
        return [self._examples[index] for index in order[start : start + self._plan.examples_a_step]]

    def _learn(self, examples: Sequence[Example]) -> float:
        total = 0.0
        for start in range(0, len(examples), self._plan.batch_size):
            lessons = [self._lessons.word(one) for one in examples[start : start + self._plan.batch_size]]
            losses = answer_losses(
                self._checkpoint.model,
                list(self._lessons.prepare(lessons)),
                self._lessons.features,
                pad_id=self._checkpoint.special_tokens.pad_id,
            )
            # Each example weighs the same, however the step is cut into passes.
            loss = losses.sum() / len(examples)
            self._accelerator.backward(loss)
            total += float(loss.detach())
        self._accelerator.clip_grad_norm_(self.adapter.parameters, _MOST_GRADIENT)
        self._optimizer.step()
        self._schedule.step()
        self._optimizer.zero_grad()
        return total

    def _save(self) -> None:
        """Write the state, whole or not at all; the last one goes when the new one is there."""
        earlier = self._find_states()
        partial = self._folder / "partial"
        shutil.rmtree(partial, ignore_errors=True)
        self._accelerator.save_state(str(partial))
        partial.rename(self._folder / f"{_STATE}{self.step}")
        for state in earlier:
            shutil.rmtree(state)

    def _find_states(self) -> list[Path]:
        """Return the folders of states, the latest last."""
        found = self._folder.glob(f"{_STATE}*")
        return sorted(found, key=lambda path: int(path.name.removeprefix(_STATE)))

    def _resume(self) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        path = self._folder / _PLAN
        own = asdict(self._plan) | {"examples": len(self._examples)}
        if not path.exists():
            path.write_text(json.dumps(own), encoding="utf-8")
        begun = json.loads(path.read_text(encoding="utf-8"))
        if begun != own:
            changed = {name: value for name, value in begun.items() if own.get(name) != value}
            raise ConfigurationError(
                f"{self._folder} holds a run with other options: {changed}. Give the same ones to go on with "
                "it, or another folder."
            )
        states = self._find_states()
        if states:
            self._accelerator.load_state(str(states[-1]))
