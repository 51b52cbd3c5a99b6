"""The formulas of work space say how many bytes of tensors are alive at once."""

import pytest
import torch

from gemma4_block.catalogue import VARIANTS, Variant
from gemma4_block.engine.footprint import find_published_files, forecast
from gemma4_block.engine.footprint.work import measure_image, measure_scores, measure_text, measure_tower
from gemma4_block.engine.hardware import inspect_machine
from gemma4_block.engine.loading import LoadOptions, load_checkpoint, read_model_files
from gemma4_block.engine.runner.scoring import MOST_LOGITS
from gemma4_block.settings import Settings
from tests.engine.conftest import DEMO_CHECKPOINT
from tests.engine.footprint.alive import AliveTensors

BUDGET = 256
RELEASED = [variant for variant in VARIANTS if variant.hub_id is not None]
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


@pytest.mark.parametrize("variant", RELEASED, ids=lambda variant: variant.model_id)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_scoring_takes_less_than_what_is_counted(variant: Variant, dtype: torch.dtype) -> None:
    """The work of one prompt is estimated for the largest budget, and is over before choices are scored."""
    files = find_published_files(variant)
    settings = Settings(device="cpu", dtype=str(dtype).removeprefix("torch."), max_batch_size=1)
    footprint = forecast(
        files, machine=inspect_machine("cpu"), settings=settings, quantization="none"
    ).footprint
    assert footprint is not None
    assert measure_scores(files.shape, MOST_LOGITS, itemsize=dtype.itemsize) < footprint.work
