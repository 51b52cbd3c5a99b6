"""Device, precision and 4-bit choices, as pure functions."""

import pytest
import torch
from transformers import Gemma4Config, Gemma4TextConfig

from gemma4_block.contract import Quantization
from gemma4_block.engine.quantization import choose_device, choose_dtype, choose_quantization
from gemma4_block.errors import ConfigurationError

CPU, CUDA = torch.device("cpu"), torch.device("cuda")


@pytest.mark.parametrize(
    ("name", "has_cuda", "expected"),
    [("auto", True, "cuda"), ("auto", False, "cpu"), ("cpu", True, "cpu"), ("cuda:1", True, "cuda:1")],
)
def test_the_device_is_what_was_asked_or_the_gpu(name: str, *, has_cuda: bool, expected: str) -> None:
    """`auto` prefers CUDA; a name is taken at its word."""
    assert expected == str(choose_device(name, has_cuda=has_cuda, cuda_count=2 * has_cuda))


@pytest.mark.parametrize(
    ("name", "has_cuda"), [("cuda", False), ("cuda:2", True), ("mps", False), ("gpu", True)]
)
def test_a_device_that_is_not_there_is_refused(name: str, *, has_cuda: bool) -> None:
    """The message names the device."""
    with pytest.raises(ConfigurationError, match=name):
        choose_device(name, has_cuda=has_cuda, cuda_count=2 * has_cuda)


@pytest.mark.parametrize(
    ("asked", "checkpoint", "expected"),
    [
        ("auto", torch.bfloat16, torch.bfloat16),
        ("auto", torch.float32, torch.float32),
        ("auto", torch.float16, torch.bfloat16),
        ("auto", None, torch.bfloat16),
        ("float32", torch.bfloat16, torch.float32),
        (torch.bfloat16, torch.float32, torch.bfloat16),
    ],
)
def test_precision_is_asked_for_or_the_checkpoint_s(
    asked: "torch.dtype | str", checkpoint: torch.dtype | None, expected: torch.dtype
) -> None:
    """float16 is never chosen, not even for a checkpoint saved in it."""
    assert expected == choose_dtype(asked, checkpoint=checkpoint)


@pytest.mark.parametrize("asked", ["float16", torch.float16, "int8", torch.float64])
def test_other_precisions_are_refused(asked: "torch.dtype | str") -> None:
    """float16 overflows in Gemma 4; the message says what to use."""
    with pytest.raises(ConfigurationError, match="bfloat16"):
        choose_dtype(asked, checkpoint=torch.bfloat16)


def _config(*, has_experts: bool) -> Gemma4Config:
    return Gemma4Config(text_config=Gemma4TextConfig(enable_moe_block=has_experts), audio_config=None)


@pytest.mark.parametrize(
    ("quantization", "device", "has_experts", "is_4_bit"),
    [
        ("auto", CUDA, False, True),
        ("auto", CPU, False, False),
        ("auto", CUDA, True, False),
        ("none", CUDA, False, False),
        ("nf4", CPU, False, True),
    ],
)
def test_four_bits_are_the_default_on_cuda_only(
    quantization: Quantization, device: torch.device, *, has_experts: bool, is_4_bit: bool
) -> None:
    """NF4 on CUDA as in inference_models; never by itself for experts."""
    config = choose_quantization(quantization, device=device, config=_config(has_experts=has_experts))

    assert is_4_bit == (config is not None)


def test_towers_and_projectors_keep_their_precision() -> None:
    """The skip names are module paths; bare names would match nothing."""
    config = choose_quantization("nf4", device=CPU, config=_config(has_experts=False))

    assert config is not None
    assert config.bnb_4bit_quant_type == "nf4"
    assert config.llm_int8_skip_modules == [
        "lm_head",
        "model.vision_tower",
        "model.audio_tower",
        "model.embed_vision",
        "model.embed_audio",
    ]


def test_four_bits_of_a_mixture_of_experts_are_refused() -> None:
    """The message gives the reason and the way out."""
    with pytest.raises(ConfigurationError, match=r"experts.*bfloat16.*31b"):
        choose_quantization("nf4", device=CUDA, config=_config(has_experts=True))
