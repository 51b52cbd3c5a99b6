"""The most memory that each stage takes on the pretended GPU, and what is estimated for it."""

from pathlib import Path

import torch

from gemma4_block.contract import Choices, GenerationConfig, JsonSchema, Prompt
from gemma4_block.engine.footprint import forecast
from gemma4_block.engine.footprint.work import (
    measure_copied_experts,
    measure_image,
    measure_scores,
    measure_text,
    measure_tower,
)
from gemma4_block.engine.hardware import inspect_machine
from gemma4_block.engine.loading import LoadOptions, ModelFiles, load_checkpoint, read_model_files
from gemma4_block.engine.local import LocalEngine
from gemma4_block.settings import Settings
from tests.pretend_cuda.device import CUDA, TALLY
from tests.pretend_cuda.report import Peak
from tests.pretend_cuda.uses import FRAMES

_TOKENS = 1000
_SIDE = 16


@torch.no_grad()
def measure_peaks(directory: Path) -> dict[str, Peak]:
    """Return the peak of each stage above what was alive before it."""
    files = read_model_files(directory)
    shape = files.shape
    TALLY.clear()
    before = TALLY.live_bytes
    checkpoint = load_checkpoint(directory, LoadOptions(device=CUDA, dtype="float32", quantization="none"))
    model = checkpoint.model
    settings = Settings(dtype="float32", max_batch_size=1, vision_cache_bytes=0, prefix_cache_bytes=0)
    footprint = forecast(
        files, machine=inspect_machine("cuda:0"), settings=settings, quantization="none", image_seq_length=70
    ).footprint
    assert footprint is not None
    peaks = {
        "load": Peak(measured=TALLY.peak_bytes - before, estimated=model.nbytes),
        "load in 4 bits": _load_in_4_bits(directory, files),
    }

    side = _SIDE * int(shape.patches_per_token**0.5)
    pixels = torch.rand(1, side**2, shape.patch)
    positions = torch.cartesian_prod(torch.arange(side), torch.arange(side)).flip(1)[None]
    measured = _start()
    features = model.encode_images(pixels, positions)
    peaks["tower"] = Peak(measured=_end(measured), estimated=measure_tower(shape, _SIDE**2, 4))
    assert measure_image(shape, _SIDE**2) == pixels.nbytes
    del features

    ids = torch.full((1, _TOKENS), 5).to(CUDA)
    measured = _start()
    cache = model.make_cache()
    model.fill_cache_with_prompts(ids, torch.ones_like(ids), [], cache)
    kept = shape.count_cached(_TOKENS) * 4
    estimated = measure_text(shape, _TOKENS, prompts=1, itemsize=4) + kept
    peaks["prefill"] = Peak(measured=_end(measured), estimated=estimated)
    del cache

    engine = LocalEngine(checkpoint, settings)
    prompt = Prompt(text="Describe the picture. " * 20, images=(FRAMES[0],))
    engine.answer([prompt], GenerationConfig(max_new_tokens=2))
    TALLY.clear()
    engine.answer([prompt], GenerationConfig(max_new_tokens=40))
    peaks["an answer, all in all"] = Peak(
        measured=TALLY.peak_bytes - before,
        estimated=footprint.needed - footprint.framework,
    )
    words = tuple(f"word {number} of many" for number in range(60))
    choices = Choices(groups=(words,), schema=JsonSchema(text="{}"))
    engine.answer([Prompt(text="Choose", constraint=choices)], GenerationConfig())
    measured = _start()
    engine.answer([Prompt(text="Choose", constraint=choices)], GenerationConfig())
    peaks["scoring"] = Peak(
        measured=_end(measured), estimated=measure_scores(shape, _count_nodes(engine, words), itemsize=4)
    )
    engine.close()
    return peaks


@torch.no_grad()
def measure_peaks_of_experts(directory: Path) -> dict[str, Peak]:
    """Return the peak while as many tokens as are read by copies of their experts' weights are read."""
    shape = read_model_files(directory).shape
    model = load_checkpoint(directory, LoadOptions(device=CUDA, dtype="float32", quantization="none")).model
    tokens = model.most_rows_without_waiting
    assert tokens is not None
    ids = torch.full((1, tokens), 5).to(CUDA)
    cache = model.make_cache()
    measured = _start()
    model.read_prompts(ids, torch.ones_like(ids), [], cache)
    estimated = measure_text(shape, tokens, prompts=1, itemsize=4) + measure_copied_experts(shape, itemsize=4)
    return {"few tokens of experts": Peak(measured=_end(measured), estimated=estimated)}


def _load_in_4_bits(directory: Path, files: ModelFiles) -> Peak:
    measured = _start()
    load_checkpoint(directory, LoadOptions(device=CUDA, dtype="float32", quantization="nf4"))
    assert files.weights is not None
    return Peak(measured=_end(measured), estimated=files.weights.measure(torch.float32, "nf4"))


def _start() -> int:
    TALLY.clear()
    return TALLY.live_bytes


def _end(before: int) -> int:
    return TALLY.peak_bytes - before


def _count_nodes(engine: LocalEngine, words: tuple[str, ...]) -> int:
    """Return how many positions the tree of some texts has."""
    beginnings = set()
    for word in words:
        ids = engine.checkpoint.template.encode_text(word)
        beginnings |= {ids[:end] for end in range(1, len(ids))}
    return len(beginnings)
