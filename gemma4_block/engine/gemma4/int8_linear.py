"""Multiply on a CPU by weights in 8 bits: half of what bfloat16 reads, by whole numbers, a little off."""

from collections.abc import Mapping
from typing import Final, cast

import torch
from torch import nn

from gemma4_block.engine.hardware import give_back_pages
from gemma4_block.errors import ConfigurationError

# Of signed numbers in 8 bits, with as many below zero as above.
_LEVELS: Final = 127
# Without VNNI two products of 8 bits are added in 16, which holds those of 7 bits only.
_LEVELS_WITHOUT_VNNI: Final = 63
_VNNI_FEATURES: Final = ("avx512_vnni", "avx_vnni", "amx_int8")
# What oneDNN's layout is chosen for; see tests/benchmarks/few_rows.py.
_PACKED_FOR: Final = 4
_LANGUAGE_MODEL: Final = "model.language_model.", "lm_head"
_TOWER: Final = ("model.vision_tower.encoder.",)
# Rows that are in float32 at once: the output layer has one for each token, and large pieces leave holes.
_ROWS_AT_ONCE: Final = 256


class Int8Linear(nn.Linear):
    """A linear layer with a scale for each output channel, and one for each row of its input.

    Attributes:
        weight: int8, `(out_features, in_features)`.
        scales: float32, one for each output channel.
        compute_dtype: Of input and output; peft looks here for the precision of adapters.
        input_levels: The largest whole number that an input becomes.

    """

    scales: torch.Tensor
    compute_dtype: torch.dtype
    input_levels: int

    def forward(self, input: torch.Tensor) -> torch.Tensor:  # noqa: A002 - the name in nn.Linear
        """Multiply; shapes as with `nn.Linear`. Gradients do not pass."""
        flat = input.reshape(-1, self.in_features)
        largest = flat.abs().amax(dim=-1, keepdim=True).float()
        # A row of zeroes stays one.
        steps = largest.clamp_(min=torch.finfo(torch.float32).tiny).div_(self.input_levels)
        product = self._multiply((flat / steps).round_()).mul_(steps).to(input.dtype)
        if self.bias is not None:
            product += self.bias
        return product.reshape(*input.shape[:-1], self.out_features)

    def __deepcopy__(self, memo: dict[int, object]) -> nn.Linear:
        """Refuse: who copies a layer, as peft does for an adapter that replaces it, wants its weights."""
        raise ConfigurationError(
            "the adapter replaces whole layers (modules_to_save), which are in 8 bits here. "
            "Choose quantization none."
        )

    def _multiply(self, rows: torch.Tensor) -> torch.Tensor:
        """Return the products `(rows, out_features)` float32 of whole numbers, scaled by channel."""
        if not self.weight.is_mkldnn:
            whole = rows.to(torch.int8)
            return torch._int_mm(whole, self.weight.t()) * self.scales  # noqa: SLF001 - public nowhere
        # Only AMX has a product of two signed numbers: without it, oneDNN takes 300 times as long for one.
        zero = self.input_levels + 1
        zeroes = torch.zeros_like(self.scales, dtype=torch.int32)
        return cast(
            "torch.Tensor",
            torch.ops.onednn.qlinear_pointwise(
                (rows + zero).to(torch.uint8),
                1.0,
                zero,
                self.weight,
                self.scales,
                zeroes,
                None,
                1.0,
                0,
                torch.float32,
                "none",
                [],
                "",
            ),
        )


def round_language_model(model: nn.Module, dtype: torch.dtype, features: Mapping[str, object]) -> None:
    """Round the linear layers of the language model to 8 bits, one after the other, the output layer last.

    The table of tokens, which has the same weights, stays whole: a prompt reads few of its rows.

    Args:
        model: On a CPU.
        dtype: Which the rest computes in.
        features: Of the processor, as `torch.cpu.get_capabilities` names them.

    """
    _round(model, _LANGUAGE_MODEL, dtype, features)


def round_tower(model: nn.Module, dtype: torch.dtype, features: Mapping[str, object]) -> None:
    """Round the linear layers of the vision tower, if there is one; see `round_language_model`."""
    _round(model, _TOWER, dtype, features)


def choose_input_levels(features: Mapping[str, object]) -> int:
    """Return the largest whole number that an input may become, so that sums do not overflow.

    >>> choose_input_levels({"avx512_vnni": True})
    127
    >>> choose_input_levels({"avx2": True})
    63
    """
    return _LEVELS if any(features.get(name) for name in _VNNI_FEATURES) else _LEVELS_WITHOUT_VNNI


def _round(
    model: nn.Module, prefixes: tuple[str, ...], dtype: torch.dtype, features: Mapping[str, object]
) -> None:
    for name, module in model.named_modules():
        if name.startswith(prefixes) and type(module) is nn.Linear:
            _round_layer(module, dtype, choose_input_levels(features))


def _round_layer(layer: nn.Linear, dtype: torch.dtype, input_levels: int) -> None:
    plain = layer.weight.detach()
    scales = torch.empty(layer.out_features)
    rounded = torch.empty_like(plain, dtype=torch.int8, memory_format=torch.contiguous_format)
    for start in range(0, layer.out_features, _ROWS_AT_ONCE):
        rows = slice(start, start + _ROWS_AT_ONCE)
        whole = plain[rows].float()
        scale = whole.abs().amax(dim=1).clamp_(min=torch.finfo(torch.float32).tiny).div_(_LEVELS)
        # Weights in float32 are not copied by `float`, and whoever shares them needs them as they are.
        scales[rows], rounded[rows] = scale, whole.div(scale[:, None]).round_().to(torch.int8)
    if has_onednn_products():
        rounded = torch.ops.onednn.qlinear_prepack(rounded, [_PACKED_FOR, layer.in_features])
    layer.weight = nn.Parameter(rounded, requires_grad=False)
    layer.__class__ = Int8Linear
    # No buffer, which a conversion of the model would round.
    made = cast("Int8Linear", layer)
    made.scales, made.compute_dtype, made.input_levels = scales, dtype, input_levels
    give_back_pages(plain)


def has_onednn_products() -> bool:
    """Say whether this torch has oneDNN's product of whole numbers; its own is several times slower."""
    return torch.backends.mkldnn.is_available() and hasattr(torch.ops.onednn, "qlinear_pointwise")
