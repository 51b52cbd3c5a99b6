"""In which precision a model would be loaded, without loading it."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import gemma4_block.demo
from gemma4_block.catalogue import Variant, find_variant
from gemma4_block.engine.footprint import find_published_files, forecast
from gemma4_block.engine.hardware.machine import Machine
from gemma4_block.engine.loading import Precision, forecast_precision, read_model_files
from gemma4_block.errors import CheckpointError
from gemma4_block.settings import Dtype, Settings

DEMO_CHECKPOINT = Path(gemma4_block.demo.__file__).parent / "checkpoint"
CONFIGS = Path(__file__).parents[1] / "configs"
CPU = Machine(device=torch.device("cpu"), has_bfloat16=True, free_bytes=28 * 10**9, threads=1, spinning=None)
SLOW = replace(CPU, has_bfloat16=False)
CUDA = replace(CPU, device=torch.device("cuda"))
WHOLE = Precision(dtype=torch.bfloat16, quantization="none")
IN_FLOAT32 = Precision(dtype=torch.float32, quantization="none")
IN_4_BITS = Precision(dtype=torch.bfloat16, quantization="nf4")


def variant(model_id: str) -> Variant:
    """Return a variant that is there."""
    found = find_variant(model_id)
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("machine", "dtype", "precision"),
    [
        pytest.param(CPU, "auto", WHOLE, id="what the checkpoint says"),
        pytest.param(CPU, "float32", IN_FLOAT32, id="float32"),
        pytest.param(SLOW, "auto", IN_FLOAT32, id="a processor without bfloat16"),
        pytest.param(replace(SLOW, free_bytes=15_000_000), "auto", WHOLE, id="and without room"),
        pytest.param(CUDA, "auto", IN_4_BITS, id="4 bits on CUDA"),
    ],
)
def test_the_precision_is_that_of_loading(machine: Machine, dtype: Dtype, precision: Precision) -> None:
    """It follows from the checkpoint, the machine and the operator's word."""
    assert forecast_precision(read_model_files(DEMO_CHECKPOINT), machine=machine, dtype=dtype) == precision


def test_a_mixture_of_experts_stays_whole(tmp_path: Path) -> None:
    """Its own config says what it is."""
    config = (CONFIGS / "gemma-4-26b-a4b-it.config.json").read_text(encoding="utf-8")
    (tmp_path / "config.json").write_text(config, encoding="utf-8")
    assert forecast_precision(read_model_files(tmp_path), machine=CUDA, dtype="auto") == WHOLE


def test_a_directory_of_another_model_is_refused(tmp_path: Path) -> None:
    """Its name may say Gemma; its config says what it is."""
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "llama"}), encoding="utf-8")
    with pytest.raises(CheckpointError, match="llama"):
        read_model_files(tmp_path)


@pytest.mark.parametrize(
    ("model_id", "machine", "dtype", "precision"),
    [
        pytest.param("gemma-4-e2b-it", CPU, "auto", WHOLE, id="whole"),
        pytest.param("gemma-4-e2b-it", CPU, "float32", IN_FLOAT32, id="twice as large"),
        pytest.param("gemma-4-e2b-it", SLOW, "auto", IN_FLOAT32, id="a processor without bfloat16"),
        pytest.param("gemma-4-e4b-it", SLOW, "auto", WHOLE, id="and without room"),
        pytest.param("gemma-4-e2b-it", CUDA, "auto", IN_4_BITS, id="4 bits"),
        pytest.param("gemma-4-26b-a4b-it", CUDA, "auto", WHOLE, id="a mixture of experts"),
    ],
)
def test_the_precision_of_a_model_that_is_not_here_is_known(
    model_id: str, machine: Machine, dtype: Dtype, precision: Precision
) -> None:
    """The package knows enough of it to say what loading would make of it."""
    files = find_published_files(variant(model_id))
    assert forecast(files, machine=machine, settings=Settings(dtype=dtype)).precision == precision
