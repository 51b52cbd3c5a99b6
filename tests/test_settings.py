"""The environment is read once and refused when malformed; every variable has an effect."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

import gemma4_block.demo
from gemma4_block.contract import GenerationConfig, Prompt
from gemma4_block.engine.compat.gemma4_hf import Gemma4HF
from gemma4_block.engine.pool.factory import load_engine
from gemma4_block.engine.pool.pool import choose_auto_quantization
from gemma4_block.errors import ConfigurationError, PromptError
from gemma4_block.settings import Settings, get_generation_defaults, get_settings

DEMO_CHECKPOINT = Path(gemma4_block.demo.__file__).parent / "checkpoint"


@pytest.fixture(autouse=True)
def _fresh() -> Iterator[None]:
    get_settings.cache_clear()
    get_generation_defaults.cache_clear()
    yield
    get_settings.cache_clear()
    get_generation_defaults.cache_clear()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("MAX_BATCH_SIZE", "many"),
        ("MAX_BATCH_SIZE", "0"),
        ("MAX_NEW_TOKENS", "-1"),
        ("MAX_THINKING_TOKENS", "0"),
        ("MAX_PROMPT_CHARACTERS", "0"),
        ("MAX_CLASSES", "0"),
        ("MAX_SCHEMA_CHARACTERS", "long"),
        ("MAX_IMAGE_PIXELS", "1e3.5"),
        ("DTYPE", "float16"),
        ("DEVICE", "tpu"),
        ("LOG_LEVEL", "chatty"),
    ],
)
def test_a_malformed_variable_is_refused_by_name(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    """The message names the variable and the value."""
    monkeypatch.setenv(f"GEMMA4_BLOCK_{name}", value)

    with pytest.raises(ConfigurationError, match=f"GEMMA4_BLOCK_{name}.*{value}"):
        get_settings()


@pytest.mark.parametrize(
    ("name", "value"),
    [("MAX_NEW_TOKENS", "0"), ("TEMPERATURE", "hot"), ("TOP_P", "2"), ("DO_SAMPLE", "maybe")],
)
def test_a_malformed_default_is_refused_by_name(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    """The names are those of inference_models."""
    monkeypatch.setenv(f"INFERENCE_MODELS_GEMMA4_DEFAULT_{name}", value)

    with pytest.raises(ConfigurationError, match=f"INFERENCE_MODELS_GEMMA4_DEFAULT_{name}"):
        get_generation_defaults()


def test_model_roots_are_split_like_path_and_made_absolute(monkeypatch: pytest.MonkeyPatch) -> None:
    """Empty parts are dropped; a home folder is expanded."""
    monkeypatch.setenv("GEMMA4_BLOCK_MODEL_ROOTS", "/srv/models:~/weights: :here")

    assert get_settings().model_roots == (
        Path("/srv/models"),
        Path("~/weights").expanduser(),
        Path("here").absolute(),
    )


def test_there_are_no_roots_by_default(monkeypatch: pytest.MonkeyPatch) -> None:
    """Requests can then name no directory."""
    monkeypatch.delenv("GEMMA4_BLOCK_MODEL_ROOTS", raising=False)

    assert get_settings().model_roots == ()


def test_dtype_and_device_reach_the_weights() -> None:
    """The engine is loaded as the operator says."""
    settings = Settings(device="cpu", dtype="float32")
    engine = load_engine(DEMO_CHECKPOINT, quantization="auto", settings=settings)
    weight = next(engine._service._passes.model.parameters())

    assert (weight.dtype, weight.device.type) == (torch.float32, "cpu")


def test_a_device_that_is_not_there_is_refused_at_loading() -> None:
    """The operator's device reaches the loader, the chooser of `auto`, and `from_pretrained`."""
    settings = Settings(device="cuda:77")
    for attempt in (
        lambda: load_engine(DEMO_CHECKPOINT, quantization="none", settings=settings),
        lambda: choose_auto_quantization(DEMO_CHECKPOINT, settings),
        lambda: Gemma4HF.from_pretrained(DEMO_CHECKPOINT, device="cuda:77"),
    ):
        with pytest.raises(ConfigurationError, match="cuda:77"):
            attempt()


def test_quantization_reaches_the_weights() -> None:
    """`nf4` from a step becomes 4-bit layers."""
    engine = load_engine(DEMO_CHECKPOINT, quantization="nf4", settings=Settings(device="cpu"))
    kinds = {type(module).__name__ for module in engine._service._passes.model.modules()}

    assert "Linear4bit" in kinds


def test_limits_reach_the_engine() -> None:
    """A longer prompt and a larger image than allowed fail in their own place; the batch is bounded."""
    settings = Settings(device="cpu", max_prompt_characters=10, max_image_pixels=99)
    engine = load_engine(DEMO_CHECKPOINT, quantization="auto", settings=settings)
    prompts = [
        Prompt(text="12345678901"),
        Prompt(text="x", system="12345678901"),
        Prompt(text="x", images=(np.zeros((10, 10, 3), np.uint8),)),
    ]
    answers = engine.answer(prompts, GenerationConfig(max_new_tokens=1))

    assert all(isinstance(answer, PromptError) for answer in answers)
    assert [
        limit for limit, answer in zip(("10 ", "10 ", "99 "), answers, strict=True) if limit in str(answer)
    ] == ["10 ", "10 ", "99 "]
