"""8 bits on a CPU: what is rounded, how far answers move, and what is refused."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from gemma4_block.contract import Answer, GenerationConfig, LocalModel, Quantization
from gemma4_block.engine.gemma4.int8_linear import Int8Linear
from gemma4_block.engine.loading import LoadOptions, load_checkpoint
from gemma4_block.engine.local import LocalEngine
from gemma4_block.engine.pool import find_reference
from gemma4_block.errors import ConfigurationError
from gemma4_block.settings import Settings
from tests.engine.conftest import DEMO_CHECKPOINT
from tests.engine.test_adapters import PROMPTS, TEXT, read_logits
from tests.miniatures import Shape, build_miniature, save_adapter

_CPU = torch.device("cpu")


def _load(directory: Path, quantization: Quantization, dtype: str = "float32") -> Any:  # noqa: ANN401 - foreign
    options = LoadOptions(device=_CPU, dtype=dtype, quantization=quantization)
    return load_checkpoint(directory, options).model.module  # type: ignore[attr-defined]


def _measure_error(found: torch.Tensor, expected: torch.Tensor) -> float:
    return float((found - expected).norm() / expected.norm())


@pytest.mark.parametrize(("shape", "most"), [("e2b", 0.35), ("12b", 0.17), ("31b", 0.15)])
def test_logits_stay_near_those_of_whole_weights(shape: Shape, most: float, tmp_path: Path) -> None:
    """Random weights make more of every error than trained ones; docs/measured.md has the table."""
    directory = build_miniature(shape, tmp_path / shape)

    error = _measure_error(read_logits(_load(directory, "int8")), read_logits(_load(directory, "none")))

    assert 0 < error < most


@pytest.mark.parametrize(
    ("quantization", "rounded"),
    [("none", set()), ("int8", {"language_model"}), ("int8_tower", {"language_model", "vision_tower"})],
)
def test_layers_of_the_chosen_parts_are_rounded(
    quantization: Quantization, rounded: set[str], tmp_path: Path
) -> None:
    """All of them, the output layer too; embeddings and what leads from the tower stay whole."""
    model = _load(build_miniature("e2b", tmp_path / "e2b"), quantization)
    kinds: dict[str, set[bool]] = {}
    for name, module in model.model.named_modules():
        if isinstance(module, nn.Linear):
            kinds.setdefault(name.split(".")[0], set()).add(isinstance(module, Int8Linear))

    assert {part for part, is_rounded in kinds.items() if True in is_rounded} == rounded
    assert kinds["language_model"] == {"language_model" in rounded}
    assert kinds["embed_vision"] == {False}
    assert isinstance(model.lm_head, Int8Linear) == ("language_model" in rounded)
    assert model.get_input_embeddings().weight.dtype == torch.float32


@pytest.mark.parametrize("dtype", ["bfloat16", "float32"])
def test_the_table_of_tokens_stays_what_the_files_hold(dtype: str, tmp_path: Path) -> None:
    """The output layer shares its weights until it is rounded, which changes nothing in them."""
    directory = build_miniature("e2b", tmp_path / "e2b", dtype=getattr(torch, dtype))
    found, whole = (
        _load(directory, quantization, dtype).get_input_embeddings().weight
        for quantization in ("int8", "none")
    )

    assert torch.equal(found, whole)


@pytest.mark.parametrize("dtype", ["bfloat16", "float32"])
def test_weights_are_rounded_from_what_the_files_hold(dtype: str, tmp_path: Path) -> None:
    """Files in bfloat16 give the same whole numbers whatever is computed in, and the rest is converted."""
    directory = build_miniature("e2b", tmp_path / "e2b", dtype=torch.bfloat16)
    found, expected = _load(directory, "int8", dtype), _load(directory, "int8", "bfloat16")
    rounded = {name: one for name, one in found.named_modules() if isinstance(one, Int8Linear)}

    assert rounded
    assert found.dtype == getattr(torch, dtype)
    for name, layer in rounded.items():
        assert layer.compute_dtype == getattr(torch, dtype)
        assert torch.equal(layer.scales, expected.get_submodule(name).scales)
    assert read_logits(found).isfinite().all()


def test_an_adapter_by_request_is_as_near_as_the_base_is(tmp_path: Path) -> None:
    """Beside weights in 8 bits it adds its own change, whole."""
    adapter = save_adapter(DEMO_CHECKPOINT, tmp_path, target_modules=TEXT)
    options = LoadOptions(device=_CPU, dtype="float32")
    merged = load_checkpoint(adapter, options, base=DEMO_CHECKPOINT).model.module  # type: ignore[attr-defined]
    checkpoint = load_checkpoint(
        DEMO_CHECKPOINT, LoadOptions(device=_CPU, dtype="float32", quantization="int8")
    )
    module = checkpoint.model.module  # type: ignore[attr-defined]
    plain = read_logits(module)
    fitting = checkpoint.adapters.check(adapter)
    tag = checkpoint.adapters.add(fitting, checkpoint.adapters.fetch(fitting), sees_as_base=True)
    with checkpoint.adapters.rows([None]):
        assert torch.equal(read_logits(module), plain)
    with checkpoint.adapters.rows([tag.name]):
        found = read_logits(module)

    expected = read_logits(merged)
    assert _measure_error(plain, expected) > 0.05
    assert _measure_error(found, expected) < 0.05


def test_an_adapter_of_its_own_stays_beside_rounded_weights(tmp_path: Path) -> None:
    """Merged, it would be rounded with them."""
    adapter = save_adapter(DEMO_CHECKPOINT, tmp_path, target_modules=TEXT)
    options = LoadOptions(device=_CPU, dtype="float32", quantization="int8")
    model = load_checkpoint(adapter, options, base=DEMO_CHECKPOINT).model.module  # type: ignore[attr-defined]

    assert type(model).__name__.startswith("Peft")


@pytest.mark.parametrize("is_merged", [True, False], ids=["of its own", "by request"])
def test_an_adapter_that_needs_whole_weights_is_refused(is_merged: bool, tmp_path: Path) -> None:  # noqa: FBT001
    """DoRA measures the weights of its base."""
    adapter = save_adapter(DEMO_CHECKPOINT, tmp_path, target_modules=TEXT, use_dora=True)
    options = LoadOptions(device=_CPU, dtype="float32", quantization="int8")

    def use() -> None:
        if is_merged:
            load_checkpoint(adapter, options, base=DEMO_CHECKPOINT)
            return
        bank = load_checkpoint(DEMO_CHECKPOINT, options).adapters
        fitting = bank.check(adapter)
        bank.add(fitting, bank.fetch(fitting), sees_as_base=True)

    with pytest.raises(ConfigurationError, match=r"use_dora.*Choose quantization none"):
        use()


def test_a_base_to_train_on_is_refused() -> None:
    """No gradient passes through whole numbers."""
    options = LoadOptions(device=_CPU, quantization="int8", is_trained=True)
    with pytest.raises(ConfigurationError, match="Train on quantization none or nf4"):
        load_checkpoint(DEMO_CHECKPOINT, options)


@pytest.mark.parametrize("quantization", ["int8", "int8_tower"])
def test_the_demo_answers_in_8_bits(quantization: Quantization) -> None:
    """Though 4 bits are refused for it; to simple questions it says what it says with whole weights."""
    reference = find_reference("gemma-4-demo", quantization, Settings(device="cpu"))
    assert isinstance(reference, LocalModel)
    assert reference.quantization == quantization
    texts = {}
    for precision in ("none", quantization):
        options = LoadOptions(device=_CPU, dtype="float32", quantization=precision)
        engine = LocalEngine(load_checkpoint(reference.directory, options), Settings())
        answers = engine.answer(PROMPTS[:1], GenerationConfig(max_new_tokens=8))
        engine.close()
        texts[precision] = [answer.text for answer in answers if isinstance(answer, Answer)]

    assert texts[quantization] == texts["none"] != []
