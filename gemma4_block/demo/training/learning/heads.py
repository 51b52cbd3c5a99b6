"""Throw-away heads on soft tokens, which help the tower to see; used in training only."""

import torch
from torch import nn
from torch.nn import functional

from gemma4_block.demo.training.learning.truth import (
    CHAR_COUNT,
    COLOR_COUNT,
    IGNORED,
    KIND_COUNT,
    PATCHES,
    Truth,
)

_CENTER_WEIGHT = 5.0
# Most patches are background without letters, which is soon learnt.
_NOTHING_WEIGHT = 0.2


class SoftTokenHeads(nn.Module):
    """Linear read-outs of what lies under the patches of a soft token."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.kinds = nn.Linear(width, PATCHES * KIND_COUNT)
        self.colors = nn.Linear(width, PATCHES * COLOR_COUNT)
        self.chars = nn.Linear(width, PATCHES * CHAR_COUNT)
        self.center = nn.Linear(width, PATCHES)
        self.box_digits = nn.Linear(width, PATCHES * 4 * (11 + 10))
        self.register_buffer("kind_weights", _rare_weights(KIND_COUNT), persistent=False)
        self.register_buffer("char_weights", _rare_weights(CHAR_COUNT), persistent=False)

    def losses(self, soft_tokens: torch.Tensor, truth: Truth) -> dict[str, torch.Tensor]:
        """Return the losses of `(N, width)` soft tokens against the truth about them, one for each head."""
        kinds = self.kinds(soft_tokens).float().reshape(-1, KIND_COUNT)
        chars = self.chars(soft_tokens).float().reshape(-1, CHAR_COUNT)
        colors = self.colors(soft_tokens).float().reshape(-1, COLOR_COUNT)
        found = {
            "kinds": functional.cross_entropy(kinds, truth.kinds.reshape(-1), weight=self._weights("kind")),
            "chars": functional.cross_entropy(chars, truth.chars.reshape(-1), weight=self._weights("char")),
            "centers": functional.binary_cross_entropy_with_logits(
                self.center(soft_tokens).float(), truth.is_center, pos_weight=torch.tensor(_CENTER_WEIGHT)
            ),
        }
        if bool((truth.colors != IGNORED).any()):
            found["colors"] = functional.cross_entropy(colors, truth.colors.reshape(-1), ignore_index=IGNORED)
        at_center = truth.is_center > 0
        if bool(at_center.any()):
            digits = self.box_digits(soft_tokens).float().reshape(-1, PATCHES, 4, 21)[at_center]
            target = truth.box_digits[at_center]
            found["hundreds"] = functional.cross_entropy(
                digits[..., :11].reshape(-1, 11), target[..., 0].reshape(-1)
            )
            found["tens"] = functional.cross_entropy(
                digits[..., 11:].reshape(-1, 10), target[..., 1].reshape(-1)
            )
        return found

    def _weights(self, which: str) -> torch.Tensor:
        weights = getattr(self, f"{which}_weights")
        assert isinstance(weights, torch.Tensor)
        return weights


def _rare_weights(count: int) -> torch.Tensor:
    weights = torch.ones(count)
    weights[0] = _NOTHING_WEIGHT
    return weights
