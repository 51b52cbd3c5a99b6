"""Precision and 4-bit choices, as pure functions."""

from dataclasses import replace

import pytest
import torch
from transformers import Gemma4Config, Gemma4TextConfig

from gemma4_block.contract import Quantization
from gemma4_block.engine.hardware.machine import Machine
from gemma4_block.engine.loading.precision import (
    choose_dtype,
    choose_quantization,
    is_slow_in,
    make_4_bit_config,
)
from gemma4_block.errors import ConfigurationError

CPU, CUDA = torch.device("cpu"), torch.device("cuda")
FAST = Machine(device=CPU, has_bfloat16=True, free_bytes=1000, threads=1, spinning=None)
SLOW = replace(FAST, has_bfloat16=False)
UNKNOWN = replace(FAST, has_bfloat16=None)
OLD_GPU = replace(SLOW, device=CUDA)


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
@pytest.mark.parametrize("machine", [FAST, UNKNOWN, OLD_GPU], ids=["fast", "unknown", "GPU"])
def test_precision_is_asked_for_or_the_checkpoint_s(
    asked: "torch.dtype | str", checkpoint: torch.dtype | None, expected: torch.dtype, machine: Machine
) -> None:
    """float16 is never chosen, not even for a checkpoint saved in it."""
    assert expected == choose_dtype(asked, checkpoint=checkpoint, machine=machine, float32_bytes=1)


@pytest.mark.parametrize(
    ("asked", "checkpoint", "free_bytes", "float32_bytes", "expected"),
    [
        pytest.param("auto", torch.bfloat16, 1000, 750, torch.float32, id="it leaves a quarter"),
        pytest.param("auto", torch.bfloat16, 1000, 751, torch.bfloat16, id="it leaves less"),
        pytest.param("auto", torch.bfloat16, None, 1, torch.bfloat16, id="nobody knows what is free"),
        pytest.param("auto", torch.bfloat16, 1000, None, torch.bfloat16, id="nobody knows the size"),
        pytest.param("auto", torch.float16, 1000, 750, torch.float32, id="saved in float16"),
        pytest.param("auto", None, 1000, 750, torch.float32, id="saved in who knows what"),
        pytest.param("auto", torch.float32, 1000, 9999, torch.float32, id="saved in float32"),
        pytest.param("bfloat16", torch.bfloat16, 1000, 1, torch.bfloat16, id="bfloat16 was asked for"),
        pytest.param("float32", torch.bfloat16, 1000, 9999, torch.float32, id="float32 was asked for"),
    ],
)
def test_a_processor_without_bfloat16_takes_float32_where_there_is_room(
    asked: str,
    checkpoint: torch.dtype | None,
    free_bytes: int | None,
    float32_bytes: int | None,
    expected: torch.dtype,
) -> None:
    """A quarter of the free memory stays free; the user's word is taken in any case."""
    machine = replace(SLOW, free_bytes=free_bytes)
    assert expected == choose_dtype(
        asked, checkpoint=checkpoint, machine=machine, float32_bytes=float32_bytes
    )


@pytest.mark.parametrize("asked", ["float16", torch.float16, "int8", torch.float64])
def test_other_precisions_are_refused(asked: "torch.dtype | str") -> None:
    """float16 overflows in Gemma 4; the message says what to use."""
    with pytest.raises(ConfigurationError, match="bfloat16"):
        choose_dtype(asked, checkpoint=torch.bfloat16, machine=FAST, float32_bytes=1)


@pytest.mark.parametrize(
    ("dtype", "machine", "is_slow"),
    [
        (torch.bfloat16, SLOW, True),
        (torch.bfloat16, FAST, False),
        (torch.bfloat16, UNKNOWN, False),
        (torch.bfloat16, OLD_GPU, False),
        (torch.float32, SLOW, False),
    ],
    ids=["no bfloat16", "bfloat16", "unknown", "GPU", "float32"],
)
def test_bfloat16_is_slow_on_a_processor_that_has_none(
    dtype: torch.dtype, machine: Machine, *, is_slow: bool
) -> None:
    """What GPUs cost was not measured, and what nobody knows is no reason to warn."""
    assert is_slow_in(dtype, machine) is is_slow


def _config() -> Gemma4Config:
    return Gemma4Config(text_config=Gemma4TextConfig(enable_moe_block=False), audio_config=None)


@pytest.mark.parametrize(
    ("quantization", "device", "has_experts", "expected"),
    [
        ("auto", CUDA, False, "nf4"),
        ("auto", CPU, False, "none"),
        ("auto", CUDA, True, "none"),
        ("none", CUDA, False, "none"),
        ("nf4", CPU, False, "nf4"),
        ("int8", CPU, False, "int8"),
        ("int8_tower", CPU, False, "int8_tower"),
    ],
)
def test_four_bits_are_the_default_on_cuda_only(
    quantization: Quantization, device: torch.device, expected: Quantization, *, has_experts: bool
) -> None:
    """NF4 on CUDA as in inference_models; never by itself for experts."""
    assert expected == choose_quantization(quantization, device=device, has_experts=has_experts)


@pytest.mark.parametrize("quantization", ["int8", "int8_tower"])
@pytest.mark.parametrize(
    ("device", "has_experts", "words"),
    [
        pytest.param(CUDA, False, "for CPUs.*nf4 or none on a GPU", id="GPU"),
        pytest.param(CPU, True, "would stay in bfloat16.*Use quantization none", id="experts"),
    ],
)
def test_eight_bits_are_refused_where_they_save_nothing(
    quantization: Quantization, device: torch.device, words: str, *, has_experts: bool
) -> None:
    """The message says what to choose."""
    with pytest.raises(ConfigurationError, match=words):
        choose_quantization(quantization, device=device, has_experts=has_experts)


def test_towers_and_projectors_keep_their_precision() -> None:
    """The skip names are module paths; bare names would match nothing."""
    config = make_4_bit_config(_config(), FAST)

    assert config.bnb_4bit_quant_type == "nf4"
    assert config.llm_int8_skip_modules == [
        "lm_head",
        "model.vision_tower",
        "model.audio_tower",
        "model.embed_vision",
        "model.embed_audio",
    ]


@pytest.mark.parametrize(
    ("width", "layers", "whole"),
    [
        (256, 35, []),
        (64, 3, []),
        (16, 6, ["per_layer_input_gate", "per_layer_projection"]),
        (16, 9, ["per_layer_input_gate", "per_layer_projection", "per_layer_model_projection"]),
    ],
    ids=["as E2B", "narrow", "narrower", "rows that cannot be packed"],
)
def test_layers_that_are_too_narrow_for_4_bits_keep_their_precision(
    width: int, layers: int, whole: list[str]
) -> None:
    """Only checkpoints that are much smaller than Google's have such; bitsandbytes fails on them."""
    text = Gemma4TextConfig(hidden_size_per_layer_input=width, num_hidden_layers=layers)
    skipped = make_4_bit_config(Gemma4Config(text_config=text), FAST).llm_int8_skip_modules
    assert skipped[5:] == whole


@pytest.mark.parametrize(
    ("machine", "expected"),
    [(FAST, torch.bfloat16), (SLOW, torch.float32), (UNKNOWN, torch.bfloat16), (OLD_GPU, torch.bfloat16)],
    ids=["bfloat16", "no bfloat16", "unknown", "GPU"],
)
def test_four_bits_are_multiplied_in_what_the_processor_has(machine: Machine, expected: torch.dtype) -> None:
    """The weights are unpacked for it at every step, to either precision alike."""
    config = make_4_bit_config(_config(), machine)
    assert config.bnb_4bit_compute_dtype == expected


def test_four_bits_of_a_mixture_of_experts_are_refused() -> None:
    """The message gives the reason and the way out."""
    with pytest.raises(ConfigurationError, match=r"experts.*bfloat16.*31b"):
        choose_quantization("nf4", device=CUDA, has_experts=True)
