"""What an engine takes is known before it is loaded."""

import sys
from dataclasses import replace

import pytest
import torch

from gemma4_block.catalogue import find_variant
from gemma4_block.contract import Quantization
from gemma4_block.engine.footprint import Footprint, Workload, estimate, find_published_files, forecast
from gemma4_block.engine.footprint.work import measure_text, measure_tower
from gemma4_block.engine.hardware import Machine
from gemma4_block.engine.loading import ModelFiles, Precision
from gemma4_block.settings import Settings
from tests.benchmarks.footprint import compare
from tests.engine.conftest import DEMO_CHECKPOINT

CPU = Machine(device=torch.device("cpu"), has_bfloat16=False, free_bytes=10**11, threads=1, spinning=None)
GPU = replace(CPU, device=torch.device("cuda"), has_bfloat16=True)
NOTHING_KEPT = Settings(vision_cache_bytes=0, prefix_cache_bytes=0)
NO_GRAPHS = Settings(vision_cache_bytes=0, prefix_cache_bytes=0, cuda_graphs=False)
ONE = Workload(prompts=1, prepared=1, image_seq_length=280)


def files_of(model_id: str) -> ModelFiles:
    """Return what is known of a variant."""
    variant = find_variant(model_id)
    assert variant is not None
    return find_published_files(variant)


def take(
    model_id: str,
    dtype: torch.dtype,
    *,
    quantization: Quantization = "none",
    machine: Machine = CPU,
    workload: Workload = ONE,
    settings: Settings = NOTHING_KEPT,
) -> Footprint:
    """Estimate a variant."""
    files = files_of(model_id)
    assert files.weights is not None
    precision = Precision(dtype=dtype, quantization=quantization)
    return estimate(files, files.weights, precision, machine=machine, workload=workload, settings=settings)


@pytest.mark.skipif(sys.platform != "linux", reason="Memory is read from Linux's files.")
@pytest.mark.parametrize("dtype", ["bfloat16", "float32"])
def test_the_demo_takes_what_was_estimated(dtype: str) -> None:
    """Within 15 % at the peak, in a process of its own, above the imported libraries."""
    found = compare(DEMO_CHECKPOINT, dtype, 70, 1)
    assert found.peak_ratio == pytest.approx(1, abs=0.15), found


@pytest.mark.parametrize(
    ("found", "sizes_gb"),
    [
        pytest.param(take("gemma-4-31b-it", torch.bfloat16, machine=GPU), (62.55, 0, 0), id="whole"),
        pytest.param(
            take("gemma-4-31b-it", torch.bfloat16, quantization="nf4", machine=GPU),
            (20.45, 0, 0),
            id="4 bits",
        ),
        pytest.param(take("gemma-4-12b-it", torch.float32), (47.84, 0, 23.92), id="converted"),
        pytest.param(
            take("gemma-4-e2b-it", torch.bfloat16, quantization="int8"), (2.62, 6.12, 0), id="8 bits"
        ),
        pytest.param(
            take("gemma-4-e2b-it", torch.bfloat16, quantization="int8_tower"),
            (2.47, 6.12, 0),
            id="8 bits with the tower",
        ),
    ],
)
def test_weights_are_counted_by_precision(found: Footprint, sizes_gb: tuple[float, float, float]) -> None:
    """4 bits and their scales for linear layers; files are read beside what becomes of them on a CPU only."""
    sizes = (found.weights, found.left_in_files, found.read_pages)
    assert tuple(round(size / 1e9, 2) for size in sizes) == sizes_gb


def test_what_is_not_read_stays_in_the_files() -> None:
    """On a CPU in the files' own precision: the tower that hears, and the table that is read by the row."""
    found, counts = take("gemma-4-e2b-it", torch.bfloat16), files_of("gemma-4-e2b-it").weights
    assert counts is not None
    assert found.mapped == found.weights
    assert found.left_in_files == 2 * (counts.by_row + counts.unused)
    assert found.weights + found.left_in_files == 2 * counts.total
    assert found.loading_peak == found.framework


def test_what_is_packed_or_rounded_leaves_the_files() -> None:
    """Layers of the language model and the tower when they are first used; 8 bits when they are loaded."""
    counts = files_of("gemma-4-e2b-it").weights
    assert counts is not None
    packed = take("gemma-4-e2b-it", torch.bfloat16, machine=replace(CPU, packing="all"))
    seeing = take("gemma-4-e2b-it", torch.bfloat16, machine=replace(CPU, packing="tower"))
    rounded = take("gemma-4-e2b-it", torch.bfloat16, quantization="int8")

    assert packed.weights - packed.mapped == 2 * (counts.linear + counts.table + counts.tower)
    assert seeing.weights - seeing.mapped == 2 * counts.tower
    assert rounded.weights - rounded.mapped == counts.linear + counts.table
    assert rounded.left_in_files == 2 * (counts.by_row + counts.unused + counts.table)


def test_every_part_counts() -> None:
    """In what is needed, by batch and budget, and the settings' limits of what is kept."""
    kept = Settings(vision_cache_bytes=1_000, prefix_cache_bytes=20_000)
    found = take("gemma-4-e2b-it", torch.float32, settings=kept)
    assert found.caches == 21_000
    assert found.needed == (
        found.weights + found.kv_cache + found.work + found.images + found.caches + found.framework
    )
    more = take(
        "gemma-4-e2b-it",
        torch.float32,
        workload=replace(ONE, prompts=4, prepared=16, image_seq_length=1120),
        settings=kept,
    )
    assert more.images == 16 * 1120 * 9 * 768 * 4
    assert more.kv_cache > 8 * found.kv_cache
    assert more.work > 4 * found.work


def test_the_kv_cache_is_that_of_prompt_and_answer() -> None:
    """E2B: 1,048 tokens in three full layers, and 511 of them in twelve sliding ones, in bfloat16."""
    found = take("gemma-4-e2b-it", torch.bfloat16, machine=GPU, settings=NO_GRAPHS)
    assert found.kv_cache == 2 * (3 * 1024 * 1048 + 12 * 512 * 511)


def test_places_of_cuda_graphs_come_on_top() -> None:
    """E2B: 2,048 places in three full layers, and the window in twelve sliding ones, in bfloat16."""
    plain = take("gemma-4-e2b-it", torch.bfloat16, machine=GPU, settings=NO_GRAPHS)
    found = take("gemma-4-e2b-it", torch.bfloat16, machine=GPU)
    assert found.kv_cache - plain.kv_cache == 2 * (3 * 1024 * 2048 + 12 * 512 * 511)
    assert take("gemma-4-e2b-it", torch.bfloat16).kv_cache == plain.kv_cache


def test_a_gpu_copies_experts_of_few_tokens() -> None:
    """As much as one layer of the 26B-A4B has, 128 experts of three matrices; a processor copies none."""
    shape = files_of("gemma-4-26b-a4b-it").shape
    read = measure_tower(shape, 280, 2) + measure_text(shape, 280 + 256, prompts=1, itemsize=2)

    on_gpu = take("gemma-4-26b-a4b-it", torch.bfloat16, machine=GPU).work
    assert on_gpu - read == 2 * 128 * 3 * 704 * 2816
    assert take("gemma-4-26b-a4b-it", torch.bfloat16).work < 2 * read


@pytest.mark.parametrize(
    ("machine", "prompts"), [pytest.param(CPU, 8, id="CPU"), pytest.param(GPU, 1, id="GPU")]
)
def test_main_memory_must_hold_a_whole_batch(machine: Machine, prompts: int) -> None:
    """A process that runs out of it is killed; a GPU that runs out is asked for less."""
    files = files_of("gemma-4-e2b-it")
    settings = Settings(dtype="bfloat16", cuda_graphs=False)
    found = forecast(files, machine=machine, settings=settings, quantization="none")
    assert found.footprint is not None
    tokens = 1120 + 256 + 512
    copies = 2 if prompts > 1 else 1
    assert found.footprint.kv_cache == copies * prompts * files.shape.count_cached(tokens) * 2


def test_people_read_the_parts() -> None:
    """In units of 10**9 bytes."""
    assert str(take("gemma-4-31b-it", torch.bfloat16, machine=GPU, settings=NO_GRAPHS)) == (
        "63.91 GB: weights 62.55, KV cache 0.92, work 0.18, images 0.01, caches 0.00, "
        "torch and tokenizer 0.25"
    )
