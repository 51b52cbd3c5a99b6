"""Multiply a few rows faster in float32 on a CPU: the weights by the rows, not the rows by the weights."""

from typing import Final

import torch
from torch import nn

# Numbers of rows that are faster. Source: tests/benchmarks/few_rows.py, where decode steps of 2, 4 and 8 rows
# take 206, 204 and 336 ms, and 242, 336 and 418 ms the usual way, on an AMD EPYC with AVX2. More rows were no
# faster.
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
        # Products of other numbers of rows are slower, so rows of zeros are added.
        filled = nn.functional.pad(flat, (0, 0, 0, wanted - rows))
        product = torch.mm(self.weight, filled.t()).t()[:rows]
        # Later operations are slow on a transposed layout.
        return product.contiguous().reshape(*input.shape[:-1], -1)


def speed_up_few_rows(model: nn.Module) -> None:
    """Turn every linear layer in float32 on a CPU into a `FewRowsLinear`; others stay as they are."""
    for module in model.modules():
        if type(module) is not nn.Linear:
            continue
        weight = module.weight
        if weight.device.type == "cpu" and weight.dtype == torch.float32:
            module.__class__ = FewRowsLinear
