"""The formulas of work space say how many bytes of tensors are alive at once."""

import pytest
import torch

from gemma4_block.engine.footprint.work import measure_image, measure_text, measure_tower
from gemma4_block.engine.loading import LoadOptions, load_checkpoint, read_model_files
from tests.engine.conftest import DEMO_CHECKPOINT
from tests.engine.footprint.alive import AliveTensors

BUDGET = 256
SIDE = 16


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_the_tower_takes_what_its_formula_says(dtype: torch.dtype) -> None:
    """Beside the pixels that it is given; within a quarter, as their parts are never alive all at once."""
    # Packed weights are no work, and have no place to be counted by.
    options = LoadOptions(device=torch.device("cpu"), dtype=dtype, is_trained=True)
    model = load_checkpoint(DEMO_CHECKPOINT, options).model
    shape = read_model_files(DEMO_CHECKPOINT).shape
    side = SIDE * int(shape.patches_per_token**0.5)
    pixels = torch.rand(1, side**2, shape.patch)
    positions = torch.cartesian_prod(torch.arange(side), torch.arange(side)).flip(1)[None]
    with torch.inference_mode(), AliveTensors() as alive:
        model.encode_images(pixels, positions)
    expected = measure_tower(shape, BUDGET, dtype.itemsize) - measure_image(shape, BUDGET)
    assert pixels.nbytes == measure_image(shape, BUDGET)
    assert alive.peak == pytest.approx(expected, rel=0.25)


@pytest.mark.parametrize(("prompts", "tokens"), [(1, 1000), (2, 1000), (1, 3000)])
def test_prompts_take_what_their_formula_says(prompts: int, tokens: int) -> None:
    """Beside the KV cache; within 15 %."""
    options = LoadOptions(device=torch.device("cpu"), dtype=torch.float32)
    model = load_checkpoint(DEMO_CHECKPOINT, options).model
    shape = read_model_files(DEMO_CHECKPOINT).shape
    ids = torch.full((prompts, tokens), 5)
    with torch.inference_mode(), AliveTensors() as alive:
        model.fill_cache_with_prompts(ids, torch.ones_like(ids), [], model.make_cache())
    cache = prompts * shape.count_cached(tokens) * torch.float32.itemsize
    expected = measure_text(shape, tokens, prompts=prompts, itemsize=4) + cache
    assert alive.peak == pytest.approx(expected, rel=0.15)
