"""Run the vision tower once for each image, without padding, and cache the features."""

from collections.abc import Iterator, Sequence

import torch

from gemma4_block.engine.preprocess import FeatureCache, ImageKey, PreparedImage
from gemma4_block.engine.profiling import StageClock
from gemma4_block.engine.runner.forward import ForwardPasses
from gemma4_block.meter import get_meter

# Most patches of a pass on a GPU: eight images at a budget of 280, our choice. On a CPU a pass takes one,
# because two gain nothing: with E2B's tower 1.85 s an image instead of 1.90 s. To measure it again, compare
# the vision stage of row W2 of tests/benchmarks/speed.py with and without that limit.
_MOST_PATCHES = 8 * 280 * 9


def encode_images(
    passes: ForwardPasses, images: Sequence[PreparedImage], cache: FeatureCache, clock: StageClock
) -> list[torch.Tensor]:
    """Return the features of every image, `(soft_tokens, hidden)` on the model's device.

    Equal images are encoded once. None is padded, because the time of the tower grows with the square of the
    number of patches; on a GPU images with equally many patches are encoded together, those that an adapter
    sees otherwise apart.

    Args:
        passes: Of the model that has the tower.
        images: Any number.
        cache: Gets the new features.
        clock: Measures the tower, where it runs.

    Returns:
        One tensor for each image, in order. They may be shared, so they must not be changed.

    """
    found: dict[ImageKey, torch.Tensor] = {}
    for image in images:
        # Another request may have had it encoded since this one was preprocessed.
        seen = cache.find(image.key) if image.features is None else image.features
        get_meter().note_lookup("vision", is_hit=seen is not None)
        if seen is not None:
            found[image.key] = seen
    model = passes.model
    new = {image.key: image for image in images if image.key not in found}
    for group in _group(list(new.values()), model.device):
        with clock.measure("vision", len(group)):
            pixels = [image.pixel_values for image in group if image.pixel_values is not None]
            positions = [image.position_ids for image in group if image.position_ids is not None]
            with passes.adapters.rows([image.adapter_name for image in group]):
                encoded = model.encode_images(torch.stack(pixels), torch.stack(positions))
        for image, shared in zip(group, encoded, strict=True):
            # A slice would keep the features of its whole group in memory.
            found[image.key] = features = shared.clone()
            cache.keep(image.key, features)
    return [found[image.key] for image in images]


def _group(images: Sequence[PreparedImage], device: torch.device) -> Iterator[list[PreparedImage]]:
    groups: dict[tuple[int, str | None], list[PreparedImage]] = {}
    for image in images:
        assert image.pixel_values is not None, "an image has pixels or features"
        groups.setdefault((len(image.pixel_values), image.adapter_name), []).append(image)
    for (patches, _), group in groups.items():
        most = 1 if device.type == "cpu" else max(1, _MOST_PATCHES // patches)
        for start in range(0, len(group), most):
            yield group[start : start + most]
