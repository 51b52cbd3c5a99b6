"""Attention that is faster attends as that of transformers does."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from transformers.integrations.sdpa_attention import sdpa_attention_forward

from gemma4_block.contract import Answer, GenerationConfig, Prompt
from gemma4_block.demo.scenes import draw_scene
from gemma4_block.engine.compat import Gemma4HF
from gemma4_block.engine.gemma4 import divided_attention, grouped_attention, opening
from gemma4_block.engine.loading import LoadOptions, load_checkpoint
from tests.engine.conftest import DEMO_CHECKPOINT

ATTENTIONS = pytest.mark.parametrize("attend", [grouped_attention.attend, divided_attention.attend])
DIVIDED = {"avx512_bf16": True}


def _draw(
    heads: int, shared: int, *, size: int, keys: int, dtype: torch.dtype
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    # Queries and keys as norms leave them, in the layout of a projection.
    query, key, value = (
        torch.nn.functional.normalize(
            torch.randn(2, length, count, 64, generator=generator, dtype=torch.float64), dim=-1
        ).transpose(1, 2)
        for count, length in ((heads, size), (shared, keys), (shared, keys))
    )
    return (8 * query).to(dtype), (8 * key).to(dtype), value.to(dtype)


def _mask(size: int, keys: int) -> torch.Tensor:
    """Let each query see those before it, and the first row only its last keys."""
    seen = torch.ones(size, keys, dtype=torch.bool).tril(keys - size).repeat(2, 1, 1, 1)
    seen[0, :, :, : (keys - size) // 2] = False
    return seen


def _module(heads: int, shared: int, *, is_causal: bool = True) -> Any:  # noqa: ANN401
    return SimpleNamespace(num_key_value_groups=heads // shared, is_causal=is_causal, training=False)


@ATTENTIONS
@pytest.mark.parametrize("is_masked", [True, False])
@pytest.mark.parametrize(("heads", "shared"), [(8, 1), (4, 2), (3, 3)])
@pytest.mark.parametrize("size", [1, 2, 5, 64, 65, 200])
def test_tokens_attend_as_in_transformers(
    attend: Any,  # noqa: ANN401
    size: int,
    heads: int,
    shared: int,
    *,
    is_masked: bool,
) -> None:
    """In float32; without a mask one token sees all keys, and several see those before them."""
    keys = 231 if is_masked or size == 1 else size
    states = _draw(heads, shared, size=size, keys=keys, dtype=torch.float32)
    mask = _mask(size, keys) if is_masked else None
    module = _module(heads, shared)
    expected, _ = sdpa_attention_forward(module, *states, mask, scaling=1.0)
    found, _ = attend(module, *states, mask, scaling=1.0)

    assert found.is_contiguous()
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("scaling", [1.0, 0.5, None])
@pytest.mark.parametrize("is_masked", [True, False])
@pytest.mark.parametrize(("heads", "shared"), [(4, 1), (3, 3)])
@pytest.mark.parametrize("size", [65, 700, 1100])
def test_much_attention_in_bfloat16_is_as_exact(
    monkeypatch: pytest.MonkeyPatch,
    size: int,
    heads: int,
    shared: int,
    scaling: float | None,
    *,
    threads: int,
    is_masked: bool,
) -> None:
    """As the fused one, beside float64, whether it is done in blocks or not."""
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    keys = size + 31 if is_masked else size
    states = _draw(heads, shared, size=size, keys=keys, dtype=torch.bfloat16)
    mask = _mask(size, keys) if is_masked else None
    module = _module(heads, shared, is_causal=False)
    exact, _ = sdpa_attention_forward(module, *(one.double() for one in states), mask, scaling=scaling)
    fused, _ = sdpa_attention_forward(module, *states, mask, scaling=scaling)
    found, _ = divided_attention.attend(module, *states, mask, scaling=scaling)

    assert found.dtype == torch.bfloat16
    assert found.shape == exact.shape
    assert found.is_contiguous()
    # The fused one rounds before it divides by the sum; the other's rounding is up to twice as much.
    assert (found - exact).norm() < 2 * (fused - exact).norm()


@ATTENTIONS
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("size", [5, 80])
def test_padding_that_sees_nothing_harms_nobody(attend: Any, size: int, dtype: torch.dtype) -> None:  # noqa: ANN401
    """Its own rows are numbers, because the keys that come of them are multiplied by zero later."""
    states = _draw(4, 1, size=size, keys=90, dtype=dtype)
    mask = _mask(size, 90)
    mask[1, :, :3] = False
    module = _module(4, 1)
    expected, _ = sdpa_attention_forward(module, *states, mask, scaling=1.0)
    found, _ = attend(module, *states, mask, scaling=1.0)

    assert found.isfinite().all()
    torch.testing.assert_close(found[0], expected[0], rtol=0.02, atol=0.01)
    torch.testing.assert_close(found[1, 3:], expected[1, 3:], rtol=0.02, atol=0.01)


@pytest.mark.parametrize(
    ("features", "name"),
    [
        (DIVIDED, "gemma4_block_divided"),
        (DIVIDED | {"amx_bf16": True}, "gemma4_block_grouped"),
        ({}, "gemma4_block_grouped"),
    ],
)
def test_the_processor_decides_how_a_model_attends(
    monkeypatch: pytest.MonkeyPatch, features: dict[str, bool], name: str
) -> None:
    """The tower too, which has nothing to group."""
    monkeypatch.setattr(opening, "read_processor_features", lambda: features)
    options = LoadOptions(device=torch.device("cpu"), dtype=torch.bfloat16)
    model = load_checkpoint(DEMO_CHECKPOINT, options).model.module
    tower = "sdpa" if name == "gemma4_block_grouped" else name
    assert model.get_decoder().config._attn_implementation == name
    assert model.model.vision_tower.config._attn_implementation == tower
    assert model.model.vision_tower.encoder.config._attn_implementation == tower


def test_trained_models_are_not_divided(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is written in place passes no gradients."""
    monkeypatch.setattr(opening, "read_processor_features", lambda: DIVIDED)
    options = LoadOptions(device=torch.device("cpu"), dtype=torch.bfloat16, is_trained=True)
    model = load_checkpoint(DEMO_CHECKPOINT, options).model.module
    assert model.get_decoder().config._attn_implementation == "gemma4_block_grouped"
    assert model.model.vision_tower.config._attn_implementation == "sdpa"


def test_crops_of_other_sizes_are_answered_together_in_bfloat16(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the processor divides attention, by masks in which padding sees nothing."""
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)
    options = LoadOptions(device=torch.device("cpu"), dtype=torch.bfloat16)
    engine = Gemma4HF(load_checkpoint(DEMO_CHECKPOINT, options))
    image = draw_scene(np.random.default_rng(4), shape_count=3).image
    prompts = [
        Prompt(text="Describe the shapes.", images=(image[:height],), image_seq_length=70)
        for height in (60, 120, 224)
    ]
    config = GenerationConfig(max_new_tokens=12)
    together = engine.answer(prompts, config)

    assert [type(answer) for answer in together] == [Answer] * len(prompts)
    alone = [engine.answer([prompt], config)[0] for prompt in prompts]
    assert [answer.text for answer in together] == [answer.text for answer in alone]  # type: ignore[union-attr]
