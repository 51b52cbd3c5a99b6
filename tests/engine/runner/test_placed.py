"""A batch at fixed places is read as one that grows, and can be taken out of them at any time."""

from pathlib import Path

import pytest
import torch

from gemma4_block.engine.loading import Checkpoint, LoadOptions, load_checkpoint
from gemma4_block.engine.runner.kv_cache import BatchCache
from gemma4_block.engine.runner.placed import Bucket, PlacedBatch, find_bucket, read_forms
from tests.engine.rooms import make_passes
from tests.miniatures import SLIDING_WINDOW, Shape, build_miniature

SHAPES: tuple[Shape, ...] = ("e2b", "26b-a4b", "31b")
# Shorter and longer than the window, so that rings are partly filled, or begin in their middle.
TEXTS = [list(range(20, 20 + length)) for length in (SLIDING_WINDOW - 5, SLIDING_WINDOW + 9, 7)]
# Keys in another order are added in another order; a key too many or too few changes tenths.
TOLERANCE = 2e-3


@pytest.fixture(scope="module", params=SHAPES)
def checkpoint(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    """A miniature of every kind of text model."""
    directory = build_miniature(request.param, Path(tmp_path_factory.mktemp("miniature")) / request.param)
    return load_checkpoint(directory, LoadOptions(device=torch.device("cpu"), dtype="float32"))


def begin(checkpoint: Checkpoint) -> BatchCache:
    """Read the texts."""
    batch, _, _ = make_passes(checkpoint).prefill(TEXTS, [], prefix_lengths=[0] * len(TEXTS))
    return batch


def place(batch: BatchCache, bucket: Bucket) -> PlacedBatch:
    """Put a batch where numbers of an earlier one were."""
    forms = read_forms(batch.cache)
    storages = [
        (torch.full((size,), torch.inf), torch.full((size,), torch.nan))
        for size in (form.count_values(bucket) for form in forms)
    ]
    placed = PlacedBatch(bucket, forms, storages)
    placed.load(batch)
    return placed


def read(checkpoint: Checkpoint, placed: PlacedBatch, ids: list[int]) -> torch.Tensor:
    """Read a token of each row."""
    placed.ids[: len(ids), 0] = torch.tensor(ids)
    masks = placed.find_masks()
    logits = checkpoint.model.read_tokens(placed.ids, masks, placed.positions, placed.cache, last=1)
    placed.advance()
    return logits[: len(ids)]


@pytest.mark.parametrize(
    ("rows", "places", "expected"),
    [
        (1, 1, Bucket(rows=1, places=512)),
        (3, 512, Bucket(rows=4, places=512)),
        (8, 513, Bucket(rows=8, places=1024)),
        (9, 5000, Bucket(rows=16, places=8192)),
    ],
)
def test_sizes_are_rounded_up_to_few(rows: int, places: int, expected: Bucket) -> None:
    """To powers of two, so that graphs are few."""
    assert find_bucket(rows, places) == expected


@torch.inference_mode()
def test_every_step_reads_as_a_batch_that_grows(checkpoint: Checkpoint) -> None:
    """Over the end of each ring and twice around it; rows that are idle change nothing."""
    growing = begin(checkpoint)
    placed = place(growing, Bucket(rows=4, places=512))
    passes = make_passes(checkpoint)
    for step in range(2 * SLIDING_WINDOW + 5):
        ids = [first + step % 9 for first in (30, 40, 50)]
        expected = passes.read(growing, [[token_id] for token_id in ids], last=1)
        torch.testing.assert_close(read(checkpoint, placed, ids), expected, atol=TOLERANCE, rtol=0)


@torch.inference_mode()
@pytest.mark.parametrize("steps", [0, 3, SLIDING_WINDOW + 2])
def test_what_is_taken_out_goes_on_as_if_it_had_grown(checkpoint: Checkpoint, steps: int) -> None:
    """All keys and values are those of the other batch, and so is the next step."""
    growing = begin(checkpoint)
    placed = place(growing, Bucket(rows=4, places=512))
    passes = make_passes(checkpoint)
    for step in range(steps):
        ids = [first + step % 9 for first in (30, 40, 50)]
        passes.read(growing, [[token_id] for token_id in ids], last=1)
        read(checkpoint, placed, ids)
    found = placed.unload(checkpoint.model.make_cache, growing.lengths)

    assert (found.lengths, found.places) == (growing.lengths, growing.places)
    expected = passes.read(growing, [[5], [6, 7], [8]], last=1)
    torch.testing.assert_close(
        passes.read(found, [[5], [6, 7], [8]], last=1), expected, atol=TOLERANCE, rtol=0
    )
