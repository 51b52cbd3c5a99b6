"""What the package knows of released models is what their configs and transformers say."""

import shutil
from pathlib import Path

import pytest
import torch
from torch import nn
from transformers import AutoModelForMultimodalLM

from gemma4_block.catalogue import VARIANTS, Variant, find_variant
from gemma4_block.engine.footprint.published import find_published_files
from gemma4_block.engine.gemma4.model import Gemma4Model
from gemma4_block.engine.loading import load_config, read_model_files
from tests.miniatures import CONFIGS, build_miniature

RELEASED = [variant for variant in VARIANTS if variant.hub_id is not None]


@pytest.mark.parametrize("variant", RELEASED, ids=lambda variant: variant.model_id)
def test_a_released_model_is_known_without_its_files(variant: Variant, tmp_path: Path) -> None:
    """Its shape is that of its config, and its weights are those of the modules built from it."""
    shutil.copyfile(CONFIGS / f"{variant.model_id}.config.json", tmp_path / "config.json")
    config = load_config(tmp_path, trust_remote_code=False)
    with torch.device("meta"):
        model = AutoModelForMultimodalLM.from_config(config)
    known = find_published_files(variant)
    read = read_model_files(tmp_path)
    assert (known.shape, known.dtype, known.has_experts) == (read.shape, read.dtype, read.has_experts)
    linear = [
        module.weight.numel()
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear) and "language_model" in name
    ]
    sizes = {name: parameter.numel() for name, parameter in model.named_parameters()}
    weights = known.weights
    assert weights is not None
    tower = [
        module.weight.numel()
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear) and "vision_tower.encoder" in name
    ]
    found = (weights.total, weights.linear, weights.tower, weights.table, weights.by_row, weights.unused)
    assert found == (
        sum(sizes.values()),
        sum(linear),
        sum(tower),
        sizes["model.language_model.embed_tokens.weight"],
        sum(size for name, size in sizes.items() if "embed_tokens_per_layer" in name),
        sum(
            size
            for name, size in sizes.items()
            if name.startswith(("model.audio_tower", "model.embed_audio"))
        ),
    )
    if variant.nf4_gb is not None:
        assert round(weights.measure(torch.bfloat16, "nf4") / 1e9, 2) == variant.nf4_gb
    cache = Gemma4Model(model).measure_cache
    assert [
        known.shape.count_cached(tokens) * config.get_text_config().dtype.itemsize for tokens in (10, 5000)
    ] == [
        cache(10),
        cache(5000),
    ]


@pytest.mark.parametrize("shape", ["e2b", "12b", "26b-a4b"])
def test_files_say_what_is_loaded_from_them(shape: str, tmp_path: Path) -> None:
    """What Google's files hold in vain does not count."""
    directory = build_miniature(shape, tmp_path / shape)  # type: ignore[arg-type]
    model = AutoModelForMultimodalLM.from_pretrained(directory, dtype=torch.float32)
    files = read_model_files(directory)
    assert files.weights is not None
    assert files.weights.stored is torch.float32
    held = sum(parameter.numel() for parameter in model.parameters())
    # Buffers, such as the bounds of clipped layers, are in the files too.
    assert 0 <= files.weights.total - held < 0.01 * held
    assert files.shape.count_cached(100) * 4 == Gemma4Model(model).measure_cache(100)


def test_the_demo_is_read_from_its_files() -> None:
    """It is always here."""
    demo = find_variant("gemma-4-demo")
    assert demo is not None
    assert demo.directory is not None
    assert find_published_files(demo) == read_model_files(demo.directory)
