"""How large weights would be in float32, from the heads of their files."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

import gemma4_block.demo
from gemma4_block.contract import Quantization
from gemma4_block.engine.loading.checkpoint import LoadOptions, load_checkpoint
from gemma4_block.engine.loading.weight_files import measure_float32_bytes

DEMO_CHECKPOINT = Path(gemma4_block.demo.__file__).parent / "checkpoint"


@pytest.mark.parametrize(
    ("quantization", "size"),
    [
        # 10 * 64 linear weights, 20 * 64 embedded ones, 64 of a norm and 30 * 64 of the tower.
        pytest.param("none", 4 * (640 + 1280 + 64 + 1920), id="whole"),
        pytest.param("nf4", 640 * 9 // 16 + 4 * (1280 + 64 + 1920), id="4 bits"),
    ],
)
def test_the_size_follows_from_the_shapes(tmp_path: Path, quantization: Quantization, size: int) -> None:
    """Of all files together, whatever their own precision; 4 bits are the language model's linears only."""
    language = {
        "model.language_model.layers.0.mlp.up_proj.weight": torch.zeros(10, 64, dtype=torch.bfloat16),
        "model.language_model.embed_tokens.weight": torch.zeros(20, 64, dtype=torch.bfloat16),
        "model.language_model.norm.weight": torch.zeros(64, dtype=torch.bfloat16),
    }
    save_file(language, tmp_path / "model-00001-of-00002.safetensors")
    tower = {"model.vision_tower.layers.0.weight": torch.zeros(30, 64)}
    save_file(tower, tmp_path / "model-00002-of-00002.safetensors")
    assert measure_float32_bytes(tmp_path, quantization) == size


@pytest.mark.parametrize("quantization", ["none", "nf4"])
def test_what_is_loaded_takes_what_was_measured(quantization: Quantization) -> None:
    """Within 3 %: some linears of the demo are too short for 4 bits."""
    options = LoadOptions(device=torch.device("cpu"), dtype="float32", quantization=quantization)
    model = load_checkpoint(DEMO_CHECKPOINT, options).model
    taken = sum(parameter.nbytes for parameter in model.parameters())
    assert measure_float32_bytes(DEMO_CHECKPOINT, quantization) == pytest.approx(taken, rel=0.03)


@pytest.mark.parametrize(
    "write",
    [
        pytest.param(lambda _: None, id="no files"),
        pytest.param(lambda path: path.write_bytes(b"cut"), id="cut off"),
        pytest.param(lambda path: path.symlink_to("nowhere"), id="a link to nowhere"),
    ],
)
def test_the_size_of_what_cannot_be_read_is_unknown(tmp_path: Path, write: Callable[[Path], object]) -> None:
    """Loading says what is wrong."""
    write(tmp_path / "model.safetensors")
    assert measure_float32_bytes(tmp_path, "none") is None
