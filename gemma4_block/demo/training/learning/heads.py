"""Throw-away heads on soft tokens, which help the tower to see; used in training only."""

import torch
from torch import nn
from torch.nn import functional

from gemma4_block.demo.training.drawing import MAX_THINGS
from gemma4_block.demo.training.learning.truth import (
    CHAR_COUNT,
    COLOR_COUNT,
    IGNORED,
    KIND_COUNT,
    MOST_LETTERS,
    PATCHES,
    Truth,
)

_CENTER_WEIGHT = 5.0
# Most patches are background without letters, which is soon learnt.
_NOTHING_WEIGHT = 0.2
# Coordinates are said as one of so many places, from one end of the picture to the other. Places beside the
# true one count as well, less the further they are: digits alone say nothing of how near a wrong answer is.
_PLACES = 101
_SPREAD = 1.5


class SoftTokenHeads(nn.Module):
    """Linear read-outs of what lies under the patches of a soft token."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.kinds = nn.Linear(width, PATCHES * KIND_COUNT)
        self.colors = nn.Linear(width, PATCHES * COLOR_COUNT)
        self.chars = nn.Linear(width, PATCHES * CHAR_COUNT)
        self.center = nn.Linear(width, PATCHES)
        self.box_digits = nn.Linear(width, PATCHES * 4 * (11 + 10))
        self.edges = nn.Linear(width, PATCHES * 4 * _PLACES)
        self.places = nn.Linear(width, 2 * _PLACES)
        # Letters and boxes are said one after the other: which comes when is easier to see than to find out.
        self.letter_orders = nn.Linear(width, PATCHES * MOST_LETTERS)
        self.thing_orders = nn.Linear(width, PATCHES * MAX_THINGS)
        # How many there are of a kind is one more than the rank of its last.
        self.ranks = nn.Linear(width, PATCHES * 3 * MAX_THINGS)
        self.read_ranks = nn.Linear(width, PATCHES * 3 * MAX_THINGS)
        self.register_buffer("kind_weights", _rare_weights(KIND_COUNT), persistent=False)
        self.register_buffer("char_weights", _rare_weights(CHAR_COUNT), persistent=False)

    def losses(
        self, soft_tokens: torch.Tensor, truth: Truth, read: torch.Tensor | None = None
    ) -> dict[str, torch.Tensor]:
        """Compare what is read from soft tokens with the truth.

        Args:
            soft_tokens: `(N, width)`, as the tower gives them.
            truth: About them.
            read: `(N, width)`, what the language model has made of them half way up, where it was asked.

        Returns:
            The losses by head; of a head whose things are not in the pictures, none.

        """
        kinds = self.kinds(soft_tokens).float().reshape(-1, KIND_COUNT)
        chars = self.chars(soft_tokens).float().reshape(-1, CHAR_COUNT)
        colors = self.colors(soft_tokens).float().reshape(-1, COLOR_COUNT)
        found = {
            "kinds": functional.cross_entropy(kinds, truth.kinds.reshape(-1), weight=self._weights("kind")),
            "chars": functional.cross_entropy(chars, truth.chars.reshape(-1), weight=self._weights("char")),
            "centers": functional.binary_cross_entropy_with_logits(
                self.center(soft_tokens).float(), truth.is_center, pos_weight=torch.tensor(_CENTER_WEIGHT)
            ),
            "places": _place_loss(
                self.places(soft_tokens).reshape(-1, 2, _PLACES), truth.places * (_PLACES - 1)
            ),
        }
        if bool((truth.colors != IGNORED).any()):
            found["colors"] = functional.cross_entropy(colors, truth.colors.reshape(-1), ignore_index=IGNORED)
        if bool((truth.letter_orders != IGNORED).any()):
            found["letter_orders"] = functional.cross_entropy(
                self.letter_orders(soft_tokens).float().reshape(-1, MOST_LETTERS),
                truth.letter_orders.reshape(-1),
                ignore_index=IGNORED,
            )
        on_thing = truth.thing_orders != IGNORED
        if bool(on_thing.any()):
            digits = self.box_digits(soft_tokens).float().reshape(-1, PATCHES, 4, 21)[on_thing]
            target = truth.box_digits[on_thing]
            edges = self.edges(soft_tokens).reshape(-1, PATCHES, 4, _PLACES)[on_thing]
            found["thing_orders"] = functional.cross_entropy(
                self.thing_orders(soft_tokens).float().reshape(-1, PATCHES, MAX_THINGS)[on_thing],
                truth.thing_orders[on_thing],
            )
            found["ranks"] = _rank_loss(self.ranks(soft_tokens), truth)
            if read is not None:
                normed = functional.rms_norm(read, read.shape[-1:])
                found["read_ranks"] = _rank_loss(self.read_ranks(normed), truth)
            found["edges"] = _place_loss(edges, 10 * target[..., 0] + target[..., 1])
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


def _rank_loss(logits: torch.Tensor, truth: Truth) -> torch.Tensor:
    return functional.cross_entropy(
        logits.float().reshape(-1, MAX_THINGS), truth.ranks.reshape(-1), ignore_index=IGNORED
    )


def _place_loss(logits: torch.Tensor, places: torch.Tensor) -> torch.Tensor:
    """Return the loss of logits `(..., _PLACES)` for true places `(...)`, beyond what nobody could avoid."""
    distance = (torch.arange(_PLACES) - places[..., None]) / _SPREAD
    target = torch.softmax(-0.5 * distance**2, dim=-1)
    return functional.kl_div(logits.float().log_softmax(-1), target, reduction="none").sum(-1).mean()


def _rare_weights(count: int) -> torch.Tensor:
    weights = torch.ones(count)
    weights[0] = _NOTHING_WEIGHT
    return weights
