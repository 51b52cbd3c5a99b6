"""The learner: the model, throw-away heads that help its tower to see, optimizers and averaged weights."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional
from transformers import Gemma4ForConditionalGeneration, Gemma4TextConfig, GemmaTokenizer
from transformers.models.gemma4.modeling_gemma4 import Gemma4ClippableLinear

from gemma4_block.demo.training.learning import architecture, calibration
from gemma4_block.demo.training.learning.batches import Batch, build_batch
from gemma4_block.demo.training.learning.heads import SoftTokenHeads
from gemma4_block.demo.training.learning.schedule import Plan
from gemma4_block.demo.training.learning.truth import IGNORED
from gemma4_block.demo.training.learning.worker import Worker

_CALIBRATION_PICTURES = 32
# Follows the seed where a training step's number would: none gets as far.
_CALIBRATION_STREAM = 2**31
_HEADS_STREAM = 2**31 + 2
_HEADS_STEPS = 150
_HEADS_LEARNING_RATE = 1e-2
_AVERAGE_DECAY = 0.998
_HEADS_WEIGHT = 0.4
# Of nine layers the last three read the keys of the two before them.
_READ_LAYERS = 4


class Trainer:
    """The model, its optimizers and how far it has come; everything that a checkpoint holds."""

    def __init__(
        self, plan: Plan, tokenizer: GemmaTokenizer | None = None, *, is_compiled: bool = False
    ) -> None:
        self.plan = plan
        self.model: Gemma4ForConditionalGeneration = architecture.build_model(plan.seed)
        self.tokenizer = architecture.build_tokenizer(plan.seed) if tokenizer is None else tokenizer
        for module in self.model.modules():
            # The clamps have no bounds before `export` measures them, and cost a third of a step.
            if isinstance(module, Gemma4ClippableLinear):
                module.use_clipped_linears = False
        self.heads = SoftTokenHeads(self._text_config.hidden_size)
        self._worker = Worker(self.model, is_compiled=is_compiled)
        self.step = self._start = 0
        self.end: int | None = None
        self.decay_steps = 0
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

    @property
    def is_over(self) -> bool:
        """Say whether the end that was set is reached."""
        return self.end is not None and self.step >= self.end

    def finish_in(self, steps: int) -> None:
        """Let the learning rate fall to nothing over so many steps from here, and then be over."""
        self.end, self.decay_steps = self.step + steps, steps

    def start_from(self, checkpoint: Path, step: int) -> None:
        """Take the weights of an exported checkpoint; the optimizers know nothing, and the heads learn anew.

        Args:
            checkpoint: A directory that `export` wrote, of this trainer's tokenizer.
            step: How many steps it has learnt, so that no picture comes a second time.

        """
        self.average = _read_weights(checkpoint)
        self.model.load_state_dict(self.average, strict=False)
        self._worker.take_weights()
        self.step = self._start = step
        self._teach_heads()

    def _teach_heads(self) -> None:
        """Teach the heads alone, because what they do not know yet would be mended in the tower."""
        optimizer = torch.optim.AdamW(self.heads.parameters(), lr=_HEADS_LEARNING_RATE, weight_decay=0.0)
        rng = np.random.default_rng((self.plan.seed, _HEADS_STREAM))
        for number in range(_HEADS_STEPS):
            size = number % len(architecture.IMAGE_SEQ_LENGTHS)
            batch = build_batch(rng, architecture.IMAGE_SEQ_LENGTHS[size], self.plan.tower_rows[size], 1.0)
            with torch.no_grad():
                soft_tokens = _see(self._worker.model, batch)
            torch.stack(list(self.heads.losses(soft_tokens, batch.truth).values())).sum().backward()
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)

    def save(self, path: Path) -> None:
        """Write everything needed to go on, whole or not at all."""
        state = {
            "step": self.step,
            "start": self._start,
            "end": self.end,
            "decay_steps": self.decay_steps,
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
        self.step, self.end, self.decay_steps = state["step"], state["end"], state["decay_steps"]
        self._start = state["start"]
        self.model.load_state_dict(state["model"])
        self._worker.take_weights()
        self.heads.load_state_dict(state["heads"])
        self.average = state["average"]
        for optimizer, saved in zip(self.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)

    def learn(self, batch: Batch) -> dict[str, float]:
        """Take one step; returns the losses of the heads, and of the answers where there are any."""
        rate = self.plan.rate(self.step, self.end, self.decay_steps, self._start)
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = rate
        losses = self._losses(self._worker.model, batch)
        seen = sum(loss for name, loss in losses.items() if name != "answers")
        loss = losses["answers"] + _HEADS_WEIGHT * seen if "answers" in losses else seen
        assert isinstance(loss, torch.Tensor)
        loss.backward()
        self._worker.hand_over_gradients()
        nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        for optimizer in self.optimizers:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        self._worker.take_weights()
        self._update_average()
        self.step += 1
        return {name: float(value.detach()) for name, value in losses.items()}

    def losses(self, batch: Batch) -> Mapping[str, torch.Tensor]:
        """Return the losses of the heads by name, and `answers` where there is text."""
        with torch.autocast("cpu", torch.bfloat16):
            return self._losses(self.model, batch)

    def predict(self, batch: Batch) -> torch.Tensor:
        """Return the logits `(N, vocabulary)` at all places of answers."""
        with torch.autocast("cpu", torch.bfloat16):
            return _predict(self.model, batch)[0]

    def _losses(self, model: Gemma4ForConditionalGeneration, batch: Batch) -> Mapping[str, torch.Tensor]:
        if batch.texts is None:
            return self.heads.losses(_see(model, batch), batch.truth)
        logits, soft_tokens, read = _predict(model, batch)
        is_answer = batch.texts.labels != IGNORED
        losses = functional.cross_entropy(logits, batch.texts.labels[is_answer], reduction="none")
        weights = batch.texts.weights[is_answer]
        answers = (weights * losses).sum() / weights.sum()
        return {**self.heads.losses(soft_tokens.float(), batch.truth, read.float()), "answers": answers}

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """Put the averaged weights into the model, and the own ones back afterwards."""
        own = {name: value.detach().clone() for name, value in self.model.named_parameters()}
        self.model.load_state_dict(self.average, strict=False)
        try:
            yield
        finally:
            self.model.load_state_dict(own, strict=False)

    def export(self, directory: Path, *, earlier: Path | None = None, share: float = 1.0) -> None:
        """Write the averaged weights, with measured clamps, as a bfloat16 checkpoint with all its files.

        Weights between those of a checkpoint and those that it became by more training keep more of what only
        the former knew. Source: Wortsman et al., Robust fine-tuning of zero-shot models, 2022.

        Args:
            directory: Gets the files.
            earlier: The checkpoint that this training started from; needed where `share` is less than 1.
            share: How much of the new weights is taken; the rest is of the earlier ones.

        """
        exported = architecture.build_model(self.plan.seed)
        exported.load_state_dict(self.average, strict=False)
        if earlier is not None:
            old = _read_weights(earlier)
            with torch.no_grad():
                for name, value in exported.named_parameters():
                    value.lerp_(old[name], 1 - share)
        rng = np.random.default_rng((self.plan.seed, _CALIBRATION_STREAM))
        batches = [
            build_batch(rng, length, _CALIBRATION_PICTURES, 1.0) for length in architecture.IMAGE_SEQ_LENGTHS
        ]
        calibration.calibrate_clipped_linears(exported, batches)
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

    @torch.no_grad()
    def _update_average(self) -> None:
        decay = min(_AVERAGE_DECAY, (self.step + 1) / (self.step + 10))
        for name, value in self.model.named_parameters():
            self.average[name].lerp_(value, 1 - decay)


def _read_weights(checkpoint: Path) -> dict[str, torch.Tensor]:
    """Return the parameters of an exported checkpoint in float32."""
    model = Gemma4ForConditionalGeneration.from_pretrained(checkpoint, dtype=torch.float32)
    return {name: value.detach().clone() for name, value in model.named_parameters()}


def _see(model: Gemma4ForConditionalGeneration, batch: Batch) -> torch.Tensor:
    """Return the soft tokens `(M, width)` of all pictures, float32."""
    pixels = batch.pixel_values.to(model.dtype)
    features = model.model.get_image_features(pixels, batch.image_position_ids)
    return torch.cat(features.pooler_output).float()


def _predict(
    model: Gemma4ForConditionalGeneration, batch: Batch
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return the logits `(N, vocabulary)` at all places of answers, and the soft tokens `(M, width)`.

    The last is what the language model has made of the soft tokens, `(M, width)`, where its own keys end.
    """
    assert batch.texts is not None
    outputs = model.model(
        input_ids=batch.texts.input_ids,
        pixel_values=batch.pixel_values.to(model.dtype),
        image_position_ids=batch.image_position_ids,
        attention_mask={
            "full_attention": batch.texts.full_mask,
            "sliding_attention": batch.texts.sliding_mask,
        },
        position_ids=batch.texts.position_ids,
        use_cache=False,
        output_hidden_states=True,
    )
    logits = model.lm_head(outputs.last_hidden_state[batch.texts.labels != IGNORED]).float()
    text_config = model.config.text_config
    assert isinstance(text_config, Gemma4TextConfig)
    cap = text_config.final_logit_softcapping
    assert cap is not None
    is_image = batch.texts.input_ids == model.config.image_token_id
    read = outputs.hidden_states[_READ_LAYERS][is_image]
    return torch.tanh(logits / cap) * cap, outputs.image_hidden_states, read
