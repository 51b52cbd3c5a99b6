"""The learner: the model, throw-away heads that help its tower to see, optimizers and averaged weights."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import nn
from torch.nn import functional
from transformers import Gemma4TextConfig, GemmaTokenizer
from transformers.models.gemma4.modeling_gemma4 import Gemma4ClippableLinear

from gemma4_block.demo.training import architecture, calibration
from gemma4_block.demo.training.batches import (
    IGNORED,
    KIND_COUNT,
    Batch,
    Truth,
    build_batch,
    draw_training_scene,
)

if TYPE_CHECKING:
    from transformers import Gemma4ForConditionalGeneration

_CALIBRATION_SCENES = 64
# Follows the seed where a training step's number would: none gets as far.
_CALIBRATION_STREAM = 2**31
_AVERAGE_DECAY = 0.995
_DIGIT_WEIGHT = 3.0


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
