"""How many weights there are, and how large they would be, from the heads of their files."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

import gemma4_block.demo
from gemma4_block.contract import Quantization
from gemma4_block.engine.loading import LoadOptions, ModelFiles, load_checkpoint, read_model_files
from gemma4_block.engine.loading.weight_counts import count_weights

DEMO_CHECKPOINT = Path(gemma4_block.demo.__file__).parent / "checkpoint"
SHAPE = read_model_files(DEMO_CHECKPOINT).shape


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
    counts = count_weights(tmp_path, SHAPE)
    assert counts is not None
    assert counts.measure(torch.float32, quantization) == size
    assert counts.stored is None, "the files have two precisions"


@pytest.mark.parametrize("quantization", ["none", "nf4"])
def test_what_is_loaded_takes_what_was_measured(quantization: Quantization) -> None:
    """Within 3 %: some linears of the demo are too short for 4 bits."""
    options = LoadOptions(device=torch.device("cpu"), dtype="float32", quantization=quantization)
    model = load_checkpoint(DEMO_CHECKPOINT, options).model.module
    taken = sum(parameter.nbytes for parameter in model.parameters())
    assert measure(read_model_files(DEMO_CHECKPOINT), quantization) == pytest.approx(taken, rel=0.03)


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
    assert count_weights(tmp_path, SHAPE) is None


def test_the_size_of_what_somebody_packed_is_unknown(tmp_path: Path) -> None:
    """Bytes of 4-bit weights do not say what they become."""
    packed = {"model.language_model.layers.0.mlp.up_proj.weight": torch.zeros(320, 1, dtype=torch.uint8)}
    save_file(packed, tmp_path / "model.safetensors")
    assert count_weights(tmp_path, SHAPE) is None


def test_what_no_layer_uses_is_not_counted(tmp_path: Path) -> None:
    """Layers that use the keys and values of others have weights for them in Google's files."""
    last = SHAPE.first_layer_without_cache
    name = "model.language_model.layers.{}.self_attn.k_proj.weight"
    weights = {name.format(layer): torch.zeros(10, 64) for layer in (last - 1, last)}
    weights["model.audio_tower.layers.0.weight"] = torch.zeros(5)
    weights["model.language_model.embed_tokens_per_layer.weight"] = torch.zeros(7, 64)
    weights["model.language_model.embed_tokens.weight"] = torch.zeros(3, 64)
    save_file(weights, tmp_path / "model.safetensors")
    counts = count_weights(tmp_path, SHAPE)
    assert counts is not None
    assert (counts.total, counts.linear) == (640 + 192 + 448 + 5, 640)
    assert (counts.table, counts.by_row, counts.unused) == (192, 448, 5)
    assert counts.stay_in_files(torch.float32, "none")
    assert not counts.stay_in_files(torch.bfloat16, "none")
    assert not counts.stay_in_files(torch.float32, "nf4")


def measure(files: ModelFiles, quantization: Quantization) -> int:
    """Return what weights take in float32."""
    assert files.weights is not None
    return files.weights.measure(torch.float32, quantization)
