"""The trainer: it learns, resumes where it stopped, and exports a checkpoint that the engine runs."""

import stat
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from gemma4_block.contract import Answer, GenerationConfig, Prompt
from gemma4_block.demo.batches import build_batch, draw_training_scene
from gemma4_block.demo.scenes import draw_scene
from gemma4_block.demo.trainer import Plan, Trainer
from gemma4_block.demo.training import _batches, train
from gemma4_block.engine.compat.gemma4_hf import Gemma4HF

PLAN = Plan(tower_steps=3, steps=5, decay_steps=2, curriculum_steps=1, tower_batch=2, batch=2)


@pytest.mark.slow
def test_a_resumed_training_goes_on_as_if_it_had_not_stopped(tmp_path: Path) -> None:
    """Three steps of the tower and two of the whole model; stopped after one, nothing differs."""
    whole = Trainer(PLAN)
    losses = [whole.learn(batch) for batch in _batches(PLAN, whole)]
    assert len(losses) == 5
    assert all(answered == 0 for _, answered in losses[:3])
    assert all(answered > 0 for _, answered in losses[3:])

    assert train(PLAN, tmp_path, stop_after_s=0).step == 1
    resumed = train(PLAN, tmp_path, stop_after_s=float("inf"))
    assert resumed.step == 5
    weights = resumed.model.state_dict()
    assert all(torch.equal(weights[name], value) for name, value in whole.model.state_dict().items())
    assert all(torch.equal(resumed.average[name], value) for name, value in whole.average.items())
    rng = np.random.default_rng(0)
    batch = build_batch(rng, [draw_training_scene(rng, 1.0) for _ in range(2)], whole.tokenizer)
    assert resumed.learn(batch) == whole.learn(batch)


@pytest.mark.slow
def test_the_heads_learn_what_lies_under_soft_tokens() -> None:
    """Twenty steps on the same two pictures lower the loss of the heads by more than a seventh."""
    trainer = Trainer(Plan(tower_steps=100, steps=200, learning_rate=2e-2))
    rng = np.random.default_rng(0)
    batch = build_batch(rng, [draw_training_scene(rng, 0.0) for _ in range(2)])
    losses = [trainer.learn(batch)[0] for _ in range(20)]
    assert losses[-1] < 0.85 * losses[0]


@pytest.mark.slow
def test_an_export_is_a_readable_bfloat16_checkpoint_with_measured_clamps(tmp_path: Path) -> None:
    """The engine loads what was written; every clamp has finite bounds, lower below upper."""
    Trainer(PLAN).export(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {
        "chat_template.jinja",
        "config.json",
        "generation_config.json",
        "model.safetensors",
        "processor_config.json",
        "tokenizer.json",
        "tokenizer_config.json",
    }
    assert {stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()} == {0o644}
    tensors = load_file(tmp_path / "model.safetensors")
    assert {tensor.dtype for tensor in tensors.values()} == {torch.bfloat16}
    for side in ("input", "output"):
        lows = [tensor for name, tensor in sorted(tensors.items()) if name.endswith(f"{side}_min")]
        highs = [tensor for name, tensor in sorted(tensors.items()) if name.endswith(f"{side}_max")]
        # Seven layers in each of four blocks of the tower.
        assert len(lows) == len(highs) == 28
        assert all(
            bool(low.isfinite() and high.isfinite() and low < high)
            for low, high in zip(lows, highs, strict=True)
        )

    scene = draw_scene(np.random.default_rng(0))
    (answer,) = Gemma4HF.from_pretrained(tmp_path, "cpu").answer(
        [Prompt(text="Describe the image.", images=(scene.image,))], GenerationConfig(max_new_tokens=2)
    )
    assert isinstance(answer, Answer)
    assert answer.output_tokens >= 1
