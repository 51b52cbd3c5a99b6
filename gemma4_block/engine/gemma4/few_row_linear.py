"""Multiply a few rows faster in float32 on a CPU: the weights by the rows, not the rows by the weights."""

from typing import Final

import torch
from torch import nn

# Source: steps of 2, 4 and 8 rows take 206, 204 and 336 ms, and 242, 336 and 418 ms the usual way, by
# tests/benchmarks/few_rows.py on an AMD EPYC with AVX2. Products of more rows were no faster.
_FILLED_ROWS: Final = (4, 8)


class FewRowsLinear(nn.Linear):
    """A linear layer that is faster for two to eight rows, and otherwise `nn.Linear`."""

    def forward(self, input: torch.Tensor) -> torch.Tensor:  # noqa: A002 - the name in nn.Linear
        """Multiply; shapes as with `nn.Linear`."""
        rows = input.shape[:-1].numel()
        if not 1 < rows <= _FILLED_ROWS[-1] or self.bias is not None:
            return super().forward(input)
        flat = input.reshape(rows, -1)
        wanted = next(count for count in _FILLED_ROWS if rows <= count)
        # Other numbers of rows are slower.
        filled = nn.functional.pad(flat, (0, 0, 0, wanted - rows))
        product = torch.mm(self.weight, filled.t()).t()[:rows]
        # What follows is slow on what is laid out the other way.
        return product.contiguous().reshape(*input.shape[:-1], -1)


def speed_up_few_rows(model: nn.Module) -> None:
    """Let every linear layer of a model in float32 on a CPU do so; others stay as they are."""
    for module in model.modules():
        if type(module) is not nn.Linear:
            continue
        weight = module.weight
        if weight.device.type == "cpu" and weight.dtype == torch.float32:
            module.__class__ = FewRowsLinear
