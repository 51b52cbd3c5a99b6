"""The measured clamps of the vision tower."""

import numpy as np
import pytest
import torch
from transformers import Gemma4ForConditionalGeneration
from transformers.models.gemma4.modeling_gemma4 import Gemma4ClippableLinear

from gemma4_block.demo.training.learning.architecture import build_model
from gemma4_block.demo.training.learning.batches import Batch, build_batch
from gemma4_block.demo.training.learning.calibration import calibrate_clipped_linears


def draw_batch(seed: int) -> Batch:
    """Draw as many pictures as an export measures, at budget 70."""
    rng = np.random.default_rng(seed)
    return build_batch(rng, 70, 32, 1.0)


@torch.no_grad()
def soft_tokens(model: Gemma4ForConditionalGeneration, batch: Batch) -> torch.Tensor:
    """Return what the tower hands to the language model."""
    features = model.model.get_image_features(batch.pixel_values, batch.image_position_ids)
    return torch.cat(features.pooler_output)


@pytest.fixture(scope="module")
def model() -> Gemma4ForConditionalGeneration:
    """Return an untrained model with measured clamps."""
    model = build_model(3)
    calibrate_clipped_linears(model, [draw_batch(0)])
    return model.eval()


def clipped_linears(model: Gemma4ForConditionalGeneration) -> list[Gemma4ClippableLinear]:
    """Return the layers that have clamps."""
    return [module for module in model.modules() if isinstance(module, Gemma4ClippableLinear)]


def test_every_bound_is_finite(model: Gemma4ForConditionalGeneration) -> None:
    """No clamp is left open, and each lets zero through."""
    assert len(clipped_linears(model)) == 42
    for layer in clipped_linears(model):
        for low, high in ((layer.input_min, layer.input_max), (layer.output_min, layer.output_max)):
            assert -torch.inf < float(low) < 0 < float(high) < torch.inf


def test_bounds_are_half_a_range_beyond_what_was_seen(model: Gemma4ForConditionalGeneration) -> None:
    """Measured again with clamps in place, every range is half of the distance between its bounds."""
    seen: list[float] = []
    expected: list[float] = []
    hooks = [
        layer.linear.register_forward_hook(
            lambda _, __, outputs: seen.append(float(outputs.max() - outputs.min()))
        )
        for layer in clipped_linears(model)
    ]
    soft_tokens(model, draw_batch(0))
    for hook, layer in zip(hooks, clipped_linears(model), strict=True):
        hook.remove()
        expected.append(float(layer.output_max - layer.output_min) / 2)
    # Layers may run in another order than they are listed in.
    np.testing.assert_allclose(sorted(seen), sorted(expected), rtol=1e-4)


def test_soft_tokens_of_other_pictures_do_not_change(model: Gemma4ForConditionalGeneration) -> None:
    """Clamps touch nothing on pictures like the measured ones, so answers stay as they are."""
    batch = draw_batch(1)
    clamped = soft_tokens(model, batch)
    for layer in clipped_linears(model):
        layer.use_clipped_linears = False
    try:
        free = soft_tokens(model, batch)
    finally:
        for layer in clipped_linears(model):
            layer.use_clipped_linears = True
    assert torch.equal(clamped, free)
