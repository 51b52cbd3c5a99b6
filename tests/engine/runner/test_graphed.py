"""Where a graph cannot be had, a batch is decoded without one, and the log says so once."""

import logging
from pathlib import Path

import pytest
import torch

from gemma4_block.engine.loading import Checkpoint, LoadOptions, load_checkpoint
from gemma4_block.engine.runner import GraphedSteps, make_graphs
from gemma4_block.engine.runner.kv_cache import BatchCache
from tests.engine.conftest import DEMO_CHECKPOINT
from tests.engine.rooms import make_passes
from tests.miniatures import build_miniature

TEXTS = [[20, 21, 22], [23, 24]]


@pytest.fixture(scope="module")
def checkpoint() -> Checkpoint:
    """The demo on a CPU, which has no graphs."""
    return load_checkpoint(Path(DEMO_CHECKPOINT), LoadOptions(device=torch.device("cpu"), dtype="float32"))


@torch.inference_mode()
def begin(checkpoint: Checkpoint) -> BatchCache:
    """Read the texts."""
    batch, _, _ = make_passes(checkpoint).prefill(TEXTS, [], prefix_lengths=[0] * len(TEXTS))
    return batch


@pytest.mark.skipif(torch.cuda.is_available(), reason="a graph can be captured here")
@torch.inference_mode()
def test_a_failed_capture_is_told_once_and_not_tried_again(
    checkpoint: Checkpoint, caplog: pytest.LogCaptureFixture
) -> None:
    """The batch stays as it was, and the memory is given back."""
    graphs, batch = GraphedSteps(checkpoint.model, read_free=lambda: None), begin(checkpoint)
    with caplog.at_level(logging.WARNING, logger="gemma4_block"):
        assert graphs.hold(batch) is None
        assert graphs.hold(batch) is None

    assert [record.message.split(",")[0] for record in caplog.records] == [
        "Decoding goes on without CUDA graphs"
    ]
    assert (batch.lengths, graphs.nbytes) == ((3, 2), 0)


@torch.inference_mode()
def test_places_take_at_most_half_of_what_is_free(
    checkpoint: Checkpoint, caplog: pytest.LogCaptureFixture
) -> None:
    """Where they would take more, nothing is captured, and nothing is wrong."""
    # Two rows of 512 places in the full layer, and of 256 in each of the three sliding ones, in float32.
    needed = 2 * 2 * (512 * 64 + 3 * 256 * 32) * 4
    graphs = GraphedSteps(checkpoint.model, read_free=lambda: 2 * needed - 1)

    assert graphs.hold(begin(checkpoint)) is None
    assert caplog.records == []
    assert graphs.clear() is False


@torch.inference_mode()
def test_more_rows_than_experts_allow_are_not_captured(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """It is known before: nothing is tried, no memory is taken, and nothing is told."""
    directory = build_miniature("26b-a4b", tmp_path / "26b-a4b")
    experts = load_checkpoint(directory, LoadOptions(device=torch.device("cpu"), dtype="float32"))
    graphs = GraphedSteps(experts.model, read_free=lambda: None)
    batch, _, _ = make_passes(experts).prefill([[20, 21]] * 5, [], prefix_lengths=[0] * 5)

    assert experts.model.most_rows_without_waiting == 4
    assert graphs.hold(batch) is None
    assert (caplog.records, graphs.nbytes) == ([], 0)


def test_models_without_experts_have_no_such_limit(checkpoint: Checkpoint) -> None:
    """Any number of rows fits into one graph."""
    assert checkpoint.model.most_rows_without_waiting is None


def test_a_processor_and_who_wants_none_get_no_graphs(checkpoint: Checkpoint) -> None:
    """Whatever the operator's setting says on a CPU."""
    assert make_graphs(checkpoint.model, read_free=lambda: None, are_wanted=True) is None
