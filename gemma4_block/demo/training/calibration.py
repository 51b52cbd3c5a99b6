"""Measure the clamps of the vision tower's linear layers, as Google's checkpoints carry them."""

import torch
from torch import nn
from transformers import Gemma4ForConditionalGeneration
from transformers.models.gemma4.modeling_gemma4 import Gemma4ClippableLinear

from gemma4_block.demo.training.batches import Batch

# Share of the measured range added at either side, so that no picture like the measured ones is clipped.
_MARGIN = 0.25


@torch.no_grad()
def calibrate_clipped_linears(model: Gemma4ForConditionalGeneration, batch: Batch) -> None:
    """Set the four bounds of every clipped linear layer a quarter wider than what `batch` sends through it.

    Args:
        model: Changed in place; its bounds must still be infinite, or they would hide what lies beyond.
        batch: Pictures that stand for all later ones; texts are not looked at.

    """
    measured: dict[nn.Module, tuple[torch.Tensor, torch.Tensor]] = {}

    def measure(layer: nn.Module, inputs: tuple[torch.Tensor], outputs: torch.Tensor) -> None:
        measured[layer] = (_widened_range(inputs[0]), _widened_range(outputs))

    layers = [module for module in model.modules() if isinstance(module, Gemma4ClippableLinear)]
    hooks = [layer.register_forward_hook(measure) for layer in layers]
    try:
        model.model.get_image_features(batch.pixel_values, batch.image_position_ids)
    finally:
        for hook in hooks:
            hook.remove()
    for layer in layers:
        seen_in, seen_out = measured[layer]
        layer.input_min.copy_(seen_in[0])
        layer.input_max.copy_(seen_in[1])
        layer.output_min.copy_(seen_out[0])
        layer.output_max.copy_(seen_out[1])


def _widened_range(values: torch.Tensor) -> torch.Tensor:
    low, high = values.aminmax()
    margin = _MARGIN * (high - low)
    return torch.stack([low - margin, high + margin])
