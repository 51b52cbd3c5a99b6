"""The tower takes its patches in blocks, and its features are the same."""

import pytest
import torch
from transformers import AutoModelForMultimodalLM
from transformers.models.gemma4.modeling_gemma4 import Gemma4RMSNorm, Gemma4VisionEncoderLayer

from gemma4_block.engine.gemma4.blocked_tower import BlockedLayer
from gemma4_block.engine.gemma4.frugal_norm import FrugalRMSNorm
from gemma4_block.engine.gemma4.gelu_table import GeluTable
from gemma4_block.engine.loading import LoadOptions, load_checkpoint
from tests.engine.conftest import DEMO_CHECKPOINT

# Patches of five blocks in bfloat16, and of two in float32.
SIDE = 48


@pytest.mark.parametrize("padded", [0, 192], ids=["all patches", "some padded"])
@pytest.mark.parametrize(
    # A product of fewer rows may be added up in another order, which the norms behind it even out.
    ("dtype", "tolerance"),
    [(torch.float32, 1e-5), (torch.bfloat16, 0.02)],
    ids=["float32", "bfloat16"],
)
def test_a_tower_in_blocks_gives_the_same_features(dtype: torch.dtype, tolerance: float, padded: int) -> None:
    """Of every soft token, within rounding."""
    plain = AutoModelForMultimodalLM.from_pretrained(DEMO_CHECKPOINT, dtype=dtype).eval()
    loaded = load_checkpoint(DEMO_CHECKPOINT, LoadOptions(device=torch.device("cpu"), dtype=dtype)).model
    kinds = [type(module) for module in loaded.module.model.vision_tower.modules()]
    assert kinds.count(BlockedLayer) > 0
    assert kinds.count(Gemma4VisionEncoderLayer) == 0
    assert kinds.count(GeluTable) == int(dtype == torch.bfloat16)
    pixels = torch.rand(1, SIDE**2, 3 * 16 * 16, generator=torch.Generator().manual_seed(1))
    positions = torch.cartesian_prod(torch.arange(SIDE), torch.arange(SIDE)).flip(1)[None]
    positions[:, SIDE**2 - padded :] = -1
    with torch.inference_mode():
        expected = plain.get_image_features(
            pixel_values=pixels, image_position_ids=positions, return_dict=True
        ).pooler_output
        found = loaded.encode_images(pixels, positions)

    assert len(found) == len(expected) == 1
    assert found[0].shape == expected[0].shape
    error = (found[0].double() - expected[0].double()).norm(dim=-1) / expected[0].double().norm(dim=-1)
    assert error.max() < tolerance


def test_a_tower_that_is_trained_stays_as_it_is() -> None:
    """What is written over would be missing on the way back."""
    options = LoadOptions(device=torch.device("cpu"), dtype=torch.bfloat16, is_trained=True)
    kinds = {type(module) for module in load_checkpoint(DEMO_CHECKPOINT, options).model.module.modules()}
    assert Gemma4VisionEncoderLayer in kinds
    assert kinds.isdisjoint({BlockedLayer, FrugalRMSNorm, GeluTable})


def test_every_number_is_looked_up_to_the_bit() -> None:
    """Infinities too, and what is no number stays none; where they lie does not matter."""
    activation = torch.nn.GELU(approximate="tanh")
    every = torch.arange(2**16, dtype=torch.int32).to(torch.uint16).view(torch.bfloat16)
    states = torch.stack([every, every.flip(0), every.roll(7)], dim=-1)
    for given in (states, states.transpose(0, 1)):
        found = GeluTable(activation)(given)
        torch.testing.assert_close(found, activation(given), rtol=0, atol=0, equal_nan=True)


@pytest.mark.parametrize("with_scale", [True, False])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_a_frugal_norm_is_that_of_transformers(*, with_scale: bool, dtype: torch.dtype) -> None:
    """To the bit, and what is given stays as it was."""
    torch.manual_seed(0)
    norm = Gemma4RMSNorm(48, with_scale=with_scale)
    if with_scale:
        torch.nn.init.uniform_(norm.weight, 0.1, 9.0)
    norm.to(dtype).requires_grad_(requires_grad=False)
    states = (20 * torch.randn(2, 3, 48)).to(dtype)
    given = states.clone()
    expected = norm(states)
    norm.__class__ = FrugalRMSNorm

    assert torch.equal(norm(states), expected)
    assert torch.equal(states, given)
