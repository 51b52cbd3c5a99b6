"""Draw the pictures of a training step, with the truth about them and the questions."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
import torch
from transformers import GemmaTokenizer

from gemma4_block.demo.training.drawing import MAX_THINGS, Limits, Picture, draw_picture
from gemma4_block.demo.training.learning.architecture import (
    IMAGE_SEQ_LENGTHS,
    PATCH_SIZE_PX,
    POOLING_KERNEL_SIZE,
)
from gemma4_block.demo.training.learning.pixels import cut_patches
from gemma4_block.demo.training.learning.rows import Texts, pack_row, stack_rows
from gemma4_block.demo.training.learning.schedule import Plan
from gemma4_block.demo.training.learning.truth import Truth, find_truth

_SOFT_TOKEN_PX = PATCH_SIZE_PX * POOLING_KERNEL_SIZE
# How much larger or smaller than its budget a picture is drawn, and how large at most.
_SCALES = (0.6, 1.8)
_MOST_UNIT_PX = 760.0
# How often a picture is asked about together with the next, where both have few things and no text.
_PAIRS = 0.15


@dataclass(frozen=True, kw_only=True, slots=True)
class Batch:
    """Tensors of one training step; `texts` is None where only the tower learns.

    Attributes:
        image_seq_length: The budget of its pictures.
        pixel_values: `(B, P, 3 * patch**2)` float32, 0-1, zero-padded to the longest of the batch.
        image_position_ids: `(B, P, 2)` int64, x and y of each patch, -1 for padding.
        truth: Concatenated over the batch's soft tokens.
        texts: The questions and answers; a row is about one picture, or about two that follow each other.

    """

    image_seq_length: int
    pixel_values: torch.Tensor
    image_position_ids: torch.Tensor
    truth: Truth
    texts: Texts | None = None


def draw_batch(plan: Plan, tokenizer: GemmaTokenizer, step: int) -> Batch:
    """Draw the batch of a step; it follows from the plan's seed and the number of the step."""
    rng = np.random.default_rng((plan.seed, step))
    is_tower = plan.is_tower(step)
    size = int(rng.choice(len(plan.odds), p=plan.odds))
    count = (plan.tower_rows if is_tower else plan.rows)[size]
    return build_batch(
        rng, IMAGE_SEQ_LENGTHS[size], count, plan.difficulty(step), None if is_tower else tokenizer
    )


def build_batch(
    rng: np.random.Generator,
    image_seq_length: int,
    count: int,
    difficulty: float,
    tokenizer: GemmaTokenizer | None = None,
) -> Batch:
    """Draw pictures of one budget and put them, with questions where there is a tokenizer, into tensors."""
    pictures = [_draw(rng, image_seq_length, difficulty) for _ in range(count)]
    cut = [cut_patches(rng, picture.image, image_seq_length, wear=difficulty) for picture in pictures]
    longest = max(patches.shape[0] for patches, _ in cut)
    pixel_values = torch.zeros(count, longest, 3 * PATCH_SIZE_PX**2)
    position_ids = torch.full((count, longest, 2), -1)
    truths = []
    for row, (patches, (rows, columns)) in enumerate(cut):
        pixel_values[row, : patches.shape[0]] = patches
        y, x = torch.meshgrid(
            torch.arange(rows * POOLING_KERNEL_SIZE),
            torch.arange(columns * POOLING_KERNEL_SIZE),
            indexing="ij",
        )
        position_ids[row, : patches.shape[0]] = torch.stack([x, y], dim=-1).reshape(-1, 2)
        truths.append(find_truth(pictures[row], rows, columns))
    texts = None
    if tokenizer is not None:
        lengths = [truth.kinds.shape[0] for truth in truths]
        packed = [
            pack_row(rng, pictures[start:end], tokenizer, lengths[start:end])
            for start, end in itertools.pairwise(_draw_starts(rng, pictures))
        ]
        texts = stack_rows(packed)
    return Batch(
        image_seq_length=image_seq_length,
        pixel_values=pixel_values,
        image_position_ids=position_ids,
        truth=Truth(
            **{field.name: torch.cat([getattr(one, field.name) for one in truths]) for field in fields(Truth)}
        ),
        texts=texts,
    )


def _draw_starts(rng: np.random.Generator, pictures: Sequence[Picture]) -> list[int]:
    """Return where each row of pictures starts, and where the last one ends: most hold one, some two."""
    starts = [0]
    while starts[-1] < len(pictures):
        two = pictures[starts[-1] : starts[-1] + 2]
        is_pair = (
            len(two) == 2
            and all(picture.writing is None for picture in two)
            and sum(len(picture.things) for picture in two) <= MAX_THINGS
            and rng.random() < _PAIRS
        )
        starts.append(starts[-1] + (2 if is_pair else 1))
    return starts


def _draw(rng: np.random.Generator, image_seq_length: int, difficulty: float) -> Picture:
    natural = np.sqrt(image_seq_length) * _SOFT_TOKEN_PX
    unit = natural * np.exp(rng.uniform(*np.log(_SCALES)))
    return draw_picture(rng, Limits(unit_px=float(min(unit, _MOST_UNIT_PX)), difficulty=difficulty))
