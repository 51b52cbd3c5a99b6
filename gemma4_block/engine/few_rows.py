"""Multiply a few rows faster in float32 on a CPU: the weights by the rows, not the rows by the weights."""

from typing import Final

import torch
from torch import nn

# Source: measured on an AMD EPYC with AVX2, torch 2.15, two turns on a busy machine. A step of E2B's
# width takes 263 ms for 4 rows, and 179 ms in this way; 8 rows gain nothing. 2 rows take 209 and 175 ms by
# tests/benchmarks/few_rows.py.
_MOST_ROWS: Final = 4


class FewRowsLinear(nn.Linear):
    """A linear layer that is faster for two to four rows, and otherwise `nn.Linear`."""

    def forward(self, input: torch.Tensor) -> torch.Tensor:  # noqa: A002 - the name in nn.Linear
        """Multiply; shapes as with `nn.Linear`."""
        rows = input.shape[:-1].numel()
        if not 1 < rows <= _MOST_ROWS or self.bias is not None:
            return super().forward(input)
        flat = input.reshape(rows, -1)
        # The fast way wants exactly so many.
        filled = nn.functional.pad(flat, (0, 0, 0, _MOST_ROWS - rows))
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
