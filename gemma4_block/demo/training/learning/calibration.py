"""Measure the clamps of the vision tower's linear layers, as Google's checkpoints carry them."""

from collections.abc import Sequence

import torch
from torch import nn
from transformers import Gemma4ForConditionalGeneration
from transformers.models.gemma4.modeling_gemma4 import Gemma4ClippableLinear

from gemma4_block.demo.training.learning.batches import Batch

# Share of the measured range added at either side, so that no picture like the measured ones is clipped.
_MARGIN = 0.5


@torch.no_grad()
def calibrate_clipped_linears(model: Gemma4ForConditionalGeneration, batches: Sequence[Batch]) -> None:
    """Set the four bounds of every clipped linear layer half a range beyond what batches send through it.

    Args:
        model: Changed in place; its bounds must still be infinite, or they would hide what lies beyond.
        batches: Pictures that stand for all later ones, of every budget; texts are not looked at.

    """
    lows: dict[tuple[nn.Module, str], torch.Tensor] = {}
    highs: dict[tuple[nn.Module, str], torch.Tensor] = {}

    def measure(layer: nn.Module, inputs: tuple[torch.Tensor], outputs: torch.Tensor) -> None:
        for side, values in (("input", inputs[0]), ("output", outputs)):
            low, high = values.aminmax()
            lows[layer, side] = torch.minimum(low, lows.get((layer, side), low))
            highs[layer, side] = torch.maximum(high, highs.get((layer, side), high))

    layers = [module for module in model.modules() if isinstance(module, Gemma4ClippableLinear)]
    hooks = [layer.register_forward_hook(measure) for layer in layers]
    try:
        for batch in batches:
            model.model.get_image_features(batch.pixel_values, batch.image_position_ids)
    finally:
        for hook in hooks:
            hook.remove()
    for layer in layers:
        for side in ("input", "output"):
            low, high = lows[layer, side], highs[layer, side]
            margin = _MARGIN * (high - low)
            getattr(layer, f"{side}_min").copy_(low - margin)
            getattr(layer, f"{side}_max").copy_(high + margin)
