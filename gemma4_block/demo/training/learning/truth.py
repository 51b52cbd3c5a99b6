"""The truth about every soft token: what lies under each of its patches, and where boxes begin and end."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
import torch

from gemma4_block.demo.scenes import COLORS
from gemma4_block.demo.training.asking import KINDS, scale_box_1000
from gemma4_block.demo.training.drawing import Picture, Thing
from gemma4_block.demo.training.learning.architecture import POOLING_KERNEL_SIZE

IGNORED: Final = -100
CHARS: Final = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-.:%"
KIND_COUNT: Final = 1 + len(KINDS)
COLOR_COUNT: Final = len(COLORS)
CHAR_COUNT: Final = 1 + len(CHARS)
PATCHES: Final = POOLING_KERNEL_SIZE**2
"""Patches of a soft token."""
MOST_LETTERS: Final = 16
"""Letters of a text that are numbered; the rest are left out."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Truth:
    """The truth under each soft token, row by row of the grid; of its patches likewise.

    Attributes:
        kinds: `(N, 4)` int64, 0 for the background, then `KINDS`.
        colors: `(N, 4)` int64, of `COLORS` where a shape is, `IGNORED` elsewhere.
        chars: `(N, 4)` int64, 0 for none, then `CHARS`.
        is_center: `(N, 4)` float32, 1 where the middle of a thing lies in the patch.
        box_digits: `(N, 4, 4, 2)` int64, where a thing is, the hundreds and tens of its y1, x1, y2, x2
            (0-1000); `IGNORED` elsewhere.
        letter_orders: `(N, 4)` int64, where a letter is, its number in the text from 0.
        thing_orders: `(N, 4)` int64, where a thing is, its number in the order of answers from 0; `IGNORED`
            elsewhere.
        ranks: `(N, 4, 3)` int64, where a thing is, how many before it in that order have its kind, its
            colour and both, or its kind alone where it has no colour; `IGNORED` elsewhere.
        places: `(N, 2)` float32, y and x of the soft token's own middle, 0 to 1 of the whole picture.

    """

    kinds: torch.Tensor
    colors: torch.Tensor
    chars: torch.Tensor
    is_center: torch.Tensor
    box_digits: torch.Tensor
    letter_orders: torch.Tensor
    thing_orders: torch.Tensor
    ranks: torch.Tensor
    places: torch.Tensor


def find_truth(picture: Picture, rows: int, columns: int) -> Truth:
    """Return the truth about a picture that is cut into so many rows and columns of soft tokens."""
    height, width = picture.image.shape[:2]
    high, wide = rows * POOLING_KERNEL_SIZE, columns * POOLING_KERNEL_SIZE
    y = np.minimum(height - 1, ((np.arange(high) + 0.5) / high * height).astype(np.int64))
    x = np.minimum(width - 1, ((np.arange(wide) + 0.5) / wide * width).astype(np.int64))
    owners = picture.owners[np.ix_(y, x)]
    kind_of = np.array([1 + KINDS.index(thing.kind) for thing in picture.things] + [0], dtype=np.int64)
    color_of = np.array(
        [IGNORED if thing.color is None else COLORS.index(thing.color) for thing in picture.things]
        + [IGNORED],
        dtype=np.int64,
    )
    digits_of = np.array(
        [_digits(scale_box_1000(picture, thing)) for thing in picture.things]
        + [np.full((4, 2), IGNORED, dtype=np.int64)]
    )
    order_of = np.array([*range(len(picture.things)), IGNORED], dtype=np.int64)
    rank_of = np.array([*_find_ranks(picture.things), [IGNORED] * 3], dtype=np.int64)
    # The last entries stand for nobody, which is -1.
    kinds, colors, orders, ranks, box_digits = (
        of[owners] for of in (kind_of, color_of, order_of, rank_of, digits_of)
    )
    is_center = np.zeros((high, wide), dtype=np.float32)
    for order, thing in enumerate(picture.things):
        middle = _patch_of(thing.box_xyxy_px, height, width, high, wide)
        is_center[middle] = 1
        # Of a thing that is smaller than a patch, nothing else may be seen.
        kinds[middle], colors[middle] = kind_of[order], color_of[order]
        orders[middle], ranks[middle], box_digits[middle] = order, rank_of[order], digits_of[order]
    letters = _find_letters(picture, high, wide)
    return Truth(
        kinds=_by_token(kinds, rows, columns),
        colors=_by_token(colors, rows, columns),
        chars=_by_token(letters[0], rows, columns),
        is_center=_by_token(is_center, rows, columns),
        box_digits=_by_token(box_digits, rows, columns),
        letter_orders=_by_token(letters[1], rows, columns),
        thing_orders=_by_token(orders, rows, columns),
        ranks=_by_token(ranks, rows, columns),
        places=_find_places(rows, columns),
    )


def _find_places(rows: int, columns: int) -> torch.Tensor:
    y, x = torch.meshgrid(
        (torch.arange(rows) + 0.5) / rows, (torch.arange(columns) + 0.5) / columns, indexing="ij"
    )
    return torch.stack([y, x], dim=-1).reshape(-1, 2)


def _find_letters(
    picture: Picture, high: int, wide: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return which letter covers each patch, `(high, wide)`, and its number in the text."""
    chars: npt.NDArray[np.int64] = np.zeros((high, wide), dtype=np.int64)
    orders: npt.NDArray[np.int64] = np.full((high, wide), IGNORED, dtype=np.int64)
    if picture.writing is None:
        return chars, orders
    height, width = picture.image.shape[:2]
    center_y, center_x = (np.arange(high) + 0.5) / high * height, (np.arange(wide) + 0.5) / wide * width
    for order, letter in enumerate(picture.writing.letters):
        x1, y1, x2, y2 = letter.box_xyxy_px
        inside = np.ix_((center_y > y1) & (center_y < y2), (center_x > x1) & (center_x < x2))
        middle = _patch_of(letter.box_xyxy_px, height, width, high, wide)
        chars[inside] = chars[middle] = 1 + CHARS.index(letter.char)
        orders[inside] = orders[middle] = order if order < MOST_LETTERS else IGNORED
    return chars, orders


def _find_ranks(things: Sequence[Thing]) -> list[list[int]]:
    ranks = []
    for place, thing in enumerate(things):
        before = things[:place]
        ranks.append([
            sum(other.kind == thing.kind for other in before),
            IGNORED if thing.color is None else sum(other.color == thing.color for other in before),
            sum((other.kind, other.color) == (thing.kind, thing.color) for other in before),
        ])  # fmt: skip
    return ranks


def _digits(box_1000: Sequence[int]) -> npt.NDArray[np.int64]:
    """Return the hundreds and tens of each number of a box, `(4, 2)`."""
    box = np.array(box_1000)
    return np.stack([box // 100, box // 10 % 10], axis=-1)


def _patch_of(
    box: tuple[float, float, float, float], height: int, width: int, high: int, wide: int
) -> tuple[int, int]:
    """Return row and column of the patch in which the middle of a box lies."""
    x1, y1, x2, y2 = box
    row = min(high - 1, max(0, int((y1 + y2) / 2 / height * high)))
    return row, min(wide - 1, max(0, int((x1 + x2) / 2 / width * wide)))


def _by_token(
    values: npt.NDArray[np.int64] | npt.NDArray[np.float32], rows: int, columns: int
) -> torch.Tensor:
    k = POOLING_KERNEL_SIZE
    rest = values.shape[2:]
    grouped = values.reshape(rows, k, columns, k, *rest).swapaxes(1, 2).reshape(rows * columns, k * k, *rest)
    return torch.from_numpy(np.ascontiguousarray(grouped))
