"""The tower clips faster, and its features are the same."""

import torch
from transformers import AutoModelForMultimodalLM
from transformers.models.gemma4.modeling_gemma4 import Gemma4ClippableLinear

from gemma4_block.engine.gemma4.clipped_linear import ClippedLinear, ClippedMLP
from gemma4_block.engine.loading import LoadOptions, load_checkpoint
from tests.engine.conftest import DEMO_CHECKPOINT


def test_a_tower_that_clips_by_numbers_gives_the_same_bits() -> None:
    """In float32 and bfloat16, also where values are clipped."""
    for dtype in ("float32", "bfloat16"):
        plain = AutoModelForMultimodalLM.from_pretrained(DEMO_CHECKPOINT, dtype=dtype).eval()
        loaded = load_checkpoint(
            DEMO_CHECKPOINT, LoadOptions(device=torch.device("cpu"), dtype=dtype)
        ).model.module
        kinds = [type(module) for module in loaded.modules()]
        assert kinds.count(Gemma4ClippableLinear) == 0
        assert kinds.count(ClippedLinear) > 0
        assert kinds.count(ClippedMLP) > 0
        pixels = torch.rand(1, 64, 3 * 16 * 16, generator=torch.Generator().manual_seed(1)) * 9 - 4
        positions = torch.stack(torch.meshgrid(torch.arange(8), torch.arange(8), indexing="xy"), dim=-1)
        with torch.inference_mode():
            one, other = (
                model.get_image_features(
                    pixel_values=pixels,
                    image_position_ids=positions.reshape(1, 64, 2),
                    return_dict=True,
                ).pooler_output[0]
                for model in (plain, loaded)
            )
        assert torch.equal(one, other)
