"""Multiply in bfloat16 on a CPU by weights in the blocked layout of oneDNN: the same numbers, sooner."""

from typing import Final, cast

import torch
from torch import nn

from gemma4_block.engine.gemma4.int8_linear import Int8Linear
from gemma4_block.engine.hardware import Packing, give_back_pages, is_of_a_file
from gemma4_block.errors import ConfigurationError

# For how many rows the layout is chosen; it is among the best for 1 to 288. Source: docs/measured.md.
_PACKED_FOR: Final = 4
_PREFIXES: Final[dict[Packing, str]] = {"tower": "model.vision_tower.", "all": ""}


class PackedLinear(nn.Linear):
    """A linear layer that brings its weights into another layout, in their place, when it is first used.

    What a layer that never runs would take is saved, and loading takes no longer.

    Attributes:
        least_rows: To how many rows an input is filled up.

    """

    least_rows: int

    def forward(self, input: torch.Tensor) -> torch.Tensor:  # noqa: A002 - the name in nn.Linear
        """Multiply; shapes as with `nn.Linear`. Gradients do not pass."""
        if not self.weight.is_mkldnn:
            self._pack()
        flat = input.reshape(-1, self.in_features)
        rows = flat.shape[0]
        if rows < self.least_rows:
            flat = nn.functional.pad(flat, (0, 0, 0, self.least_rows - rows))
        # A clip within the product would save time, and would turn what is no number into one.
        product: torch.Tensor = torch.ops.mkldnn._linear_pointwise(  # noqa: SLF001 - public nowhere
            flat, self.weight, self.bias, "none", [], ""
        )
        return product[:rows].reshape(*input.shape[:-1], self.out_features)

    def __deepcopy__(self, memo: dict[int, object]) -> nn.Linear:
        """Return a plain layer: who copies one, as peft does, fills it with other weights."""
        plain = nn.Linear(self.in_features, self.out_features, bias=False, device="meta")
        plain.weight = nn.Parameter(_read_plain(self.weight).clone(), requires_grad=self.weight.requires_grad)
        if self.bias is not None:
            plain.bias = nn.Parameter(self.bias.detach().clone(), requires_grad=self.bias.requires_grad)
        memo[id(self)] = plain
        return plain.train(self.training)

    def _pack(self) -> None:
        plain = self.weight.detach()
        # A pass runs in inference mode, and what is made in it could not be used outside.
        with torch.inference_mode(mode=False), torch.no_grad():
            packed = torch.ops.mkldnn._reorder_linear_weight(plain, _PACKED_FOR)  # noqa: SLF001
            self.weight = nn.Parameter(packed, requires_grad=False)
        give_back_pages(plain)


class PackedHead(PackedLinear):
    """An output layer that shares its weights with the table of tokens, which stays in the pages of its file.

    Where the table is not in a file, a copy would be kept of it, so that the layer becomes a plain one.

    Attributes:
        table: The weights of the table.

    """

    table: tuple[nn.Parameter]

    def forward(self, input: torch.Tensor) -> torch.Tensor:  # noqa: A002 - the name in nn.Linear
        """Multiply; shapes as with `nn.Linear`. Gradients do not pass."""
        if not self.weight.is_mkldnn and not is_of_a_file(self.weight):
            cast("nn.Module", self).__class__ = nn.Linear
            return cast("torch.Tensor", self(input))
        return super().forward(input)


def pack_weights(model: nn.Module, packing: Packing, *, least_rows: int = 1) -> None:
    """Turn linear layers in bfloat16 on a CPU into `PackedLinear`, where that is faster.

    Args:
        model: On any device.
        packing: Which of them.
        least_rows: To how many rows their inputs are filled up.

    """
    prefix = _PREFIXES.get(packing)
    if prefix is None:
        return
    tables = {id(module.weight) for module in model.modules() if isinstance(module, nn.Embedding)}
    for name, module in model.named_modules():
        if type(module) is not nn.Linear or not name.startswith(prefix):
            continue
        if module.weight.device.type != "cpu" or module.weight.dtype != torch.bfloat16:
            continue
        is_head = id(module.weight) in tables
        module.__class__ = PackedHead if is_head else PackedLinear
        packed = cast("PackedLinear", module)
        packed.least_rows = least_rows
        if isinstance(packed, PackedHead):
            # In a tuple, because what is a parameter of the layer would be saved with it.
            packed.table = (cast("nn.Parameter", packed.weight),)


def unpack_weights(model: nn.Module) -> None:
    """Turn every `PackedLinear` back, for what computes with the weights themselves.

    Args:
        model: On any device.

    Raises:
        ConfigurationError: Weights are in 8 bits.

    """
    for module in model.modules():
        if isinstance(module, Int8Linear):
            raise ConfigurationError(
                "the adapter measures the weights of its base (use_dora), which are in 8 bits here. Choose "
                "quantization none."
            )
        if isinstance(module, PackedLinear):
            if isinstance(module, PackedHead):
                (module.weight,) = module.table
            elif module.weight.is_mkldnn:
                module.weight = nn.Parameter(_read_plain(module.weight), requires_grad=False)
            cast("nn.Module", module).__class__ = nn.Linear


def _read_plain(weight: torch.Tensor) -> torch.Tensor:
    plain = weight.detach()
    with torch.inference_mode(mode=False):
        return plain.to_dense() if plain.is_mkldnn else plain
