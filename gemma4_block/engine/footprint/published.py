"""What the files of the released models say of them, so that models which are not here can be judged.

Source: config.json of each repository of the catalogue, and the modules that transformers 5.15 builds from
it; tests/engine/footprint/test_published.py reads and builds them again.
"""

from dataclasses import dataclass
from typing import Final

import torch

from gemma4_block.catalogue import Variant
from gemma4_block.contract import IMAGE_SEQ_LENGTHS
from gemma4_block.engine.loading import ModelFiles, WeightCounts, read_model_files
from gemma4_block.engine.shape import CacheLayers, ModelShape, TowerShape

_VOCABULARY: Final = 262_144
_PATCH: Final = 16 * 16 * 3
_SMALL_TOWER: Final = TowerShape(hidden=768, intermediate=3072)
_LARGE_TOWER: Final = TowerShape(hidden=1152, intermediate=4304)


def find_published_files(variant: Variant) -> ModelFiles:
    """Return what the files of a variant say, also where they are not here.

    Args:
        variant: Of the catalogue.

    Returns:
        The same as reading them would.

    """
    if variant.directory is not None:
        return read_model_files(variant.directory)
    published = _PUBLISHED[variant.model_id]
    return ModelFiles(
        shape=published.shape,
        weights=WeightCounts(
            total=variant.parameters,
            linear=published.linear,
            tower=published.tower,
            table=published.shape.vocabulary * published.shape.hidden,
            by_row=published.by_row,
            unused=published.unused,
            stored=torch.bfloat16,
            file_bytes=variant.parameters * torch.bfloat16.itemsize,
        ),
        dtype=torch.bfloat16,
        has_experts=variant.model_id == "gemma-4-26b-a4b-it",
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class _Published:
    """The shape of a model, and how many of its weights are of a kind; see `WeightCounts`."""

    shape: ModelShape
    linear: int
    tower: int = 0
    by_row: int = 0
    unused: int = 0


_PUBLISHED: Final = {
    "gemma-4-e2b-it": _Published(
        shape=ModelShape(
            hidden=1536,
            intermediate=6144,
            expert_weights=0,
            layer_inputs=35 * 256,
            vocabulary=_VOCABULARY,
            caches=(
                CacheLayers(count=12, values=512, window=512),
                CacheLayers(count=3, values=1024, window=None),
            ),
            patch=_PATCH,
            patches_per_token=9,
            tower=_SMALL_TOWER,
            first_layer_without_cache=15,
            image_seq_lengths=IMAGE_SEQ_LENGTHS,
        ),
        linear=1_876_819_968,
        tower=150_994_944,
        by_row=2_348_810_240,
        unused=307_183_904,
    ),
    "gemma-4-e4b-it": _Published(
        shape=ModelShape(
            hidden=2560,
            intermediate=10_240,
            expert_weights=0,
            layer_inputs=42 * 256,
            vocabulary=_VOCABULARY,
            caches=(
                CacheLayers(count=20, values=1024, window=512),
                CacheLayers(count=4, values=2048, window=None),
            ),
            patch=_PATCH,
            patches_per_token=9,
            tower=_SMALL_TOWER,
            first_layer_without_cache=24,
            image_seq_lengths=IMAGE_SEQ_LENGTHS,
        ),
        linear=3_972_792_320,
        tower=150_994_944,
        by_row=2_818_572_288,
        unused=308_756_768,
    ),
    "gemma-4-12b-it": _Published(
        shape=ModelShape(
            hidden=3840,
            intermediate=15_360,
            expert_weights=0,
            layer_inputs=0,
            vocabulary=_VOCABULARY,
            caches=(
                CacheLayers(count=40, values=4096, window=1024),
                CacheLayers(count=8, values=1024, window=None),
            ),
            patch=9 * _PATCH,
            patches_per_token=1,
            tower=None,
            first_layer_without_cache=48,
            image_seq_lengths=IMAGE_SEQ_LENGTHS,
        ),
        linear=10_899_947_520,
        unused=2_457_600,
    ),
    "gemma-4-26b-a4b-it": _Published(
        shape=ModelShape(
            hidden=2816,
            intermediate=2112 + 8 * 704,
            expert_weights=128 * 3 * 704 * 2816,
            layer_inputs=0,
            vocabulary=_VOCABULARY,
            caches=(
                CacheLayers(count=25, values=4096, window=1024),
                CacheLayers(count=5, values=2048, window=None),
            ),
            patch=_PATCH,
            patches_per_token=9,
            tower=_LARGE_TOWER,
            first_layer_without_cache=30,
            image_seq_lengths=IMAGE_SEQ_LENGTHS,
        ),
        linear=1_656_258_560,
        tower=544_942_080,
    ),
    "gemma-4-31b-it": _Published(
        shape=ModelShape(
            hidden=5376,
            intermediate=21_504,
            expert_weights=0,
            layer_inputs=0,
            vocabulary=_VOCABULARY,
            caches=(
                CacheLayers(count=50, values=8192, window=1024),
                CacheLayers(count=10, values=4096, window=None),
            ),
            patch=_PATCH,
            patches_per_token=9,
            tower=_LARGE_TOWER,
            first_layer_without_cache=60,
            image_seq_lengths=IMAGE_SEQ_LENGTHS,
        ),
        linear=29_286_727_680,
        tower=544_942_080,
    ),
}
