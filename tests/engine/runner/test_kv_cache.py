"""The KV cache of a batch is what it was after a pass that failed, wherever in the model that was."""

from pathlib import Path

import pytest
import torch

from gemma4_block.engine.loading import Checkpoint, LoadOptions, load_checkpoint
from gemma4_block.engine.runner.kv_cache import BatchCache
from tests.engine.rooms import make_passes
from tests.miniatures import SLIDING_WINDOW, Shape, build_miniature

SHAPES: tuple[Shape, ...] = ("e2b", "26b-a4b", "31b")
# Shorter and longer than the window, so that rows are padded and sliding layers have let go of tokens.
TEXTS = [
    list(range(20, 20 + length)) for length in (SLIDING_WINDOW - 5, SLIDING_WINDOW + 1, 3 * SLIDING_WINDOW)
]
STEPS = ([[5], [6], [7]], [[8, 9, 10], [11], [12, 13]], [[14], [15], [16]])


@pytest.fixture(scope="module", params=SHAPES)
def checkpoint(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    """A miniature of every kind of text model."""
    directory = build_miniature(request.param, Path(tmp_path_factory.mktemp("miniature")) / request.param)
    return load_checkpoint(directory, LoadOptions(device=torch.device("cpu")))


def begin(checkpoint: Checkpoint) -> BatchCache:
    """Read the texts."""
    batch, _, _ = make_passes(checkpoint).prefill(TEXTS, [], prefix_lengths=[0] * len(TEXTS))
    return batch


def copy_states(batch: BatchCache) -> list[torch.Tensor]:
    """Copy all keys and values."""
    return [states.clone() for layer in batch.cache.layers for states in (layer.keys, layer.values)]


@torch.inference_mode()
def test_a_pass_that_fails_can_be_done_again(checkpoint: Checkpoint) -> None:
    """At each step the pass fails once in each layer; the logits are those of passes that did not fail."""
    passes = make_passes(checkpoint)
    layers = checkpoint.model.module.get_decoder().layers  # type: ignore[attr-defined]
    plain, failing = begin(checkpoint), begin(checkpoint)
    for step in STEPS:
        expected = passes.read(plain, step, last=1)
        for layer in layers:
            before, lengths = copy_states(failing), failing.lengths

            def fail(*_: object) -> None:
                raise torch.OutOfMemoryError("no memory")

            hook = layer.self_attn.register_forward_hook(fail)
            with pytest.raises(torch.OutOfMemoryError):
                passes.read(failing, step, last=1)
            hook.remove()
            after = copy_states(failing)
            assert failing.lengths == lengths
            assert all(torch.equal(one, other) for one, other in zip(before, after, strict=True))
        assert torch.equal(passes.read(failing, step, last=1), expected)


@torch.inference_mode()
def test_rows_that_cannot_be_selected_stay(checkpoint: Checkpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory runs out while the second layer is copied: no layer has fewer rows than another."""
    batch = begin(checkpoint)
    before = copy_states(batch)
    index = torch.Tensor.__getitem__
    copied: list[int] = []

    def run_out(states: torch.Tensor, key: object) -> torch.Tensor:
        if isinstance(key, torch.Tensor):
            copied.append(1)
            if len(copied) == 3:
                raise torch.OutOfMemoryError("no memory")
        return index(states, key)  # type: ignore[arg-type]

    monkeypatch.setattr(torch.Tensor, "__getitem__", run_out)
    with pytest.raises(torch.OutOfMemoryError):
        batch.select([0, 2])
    monkeypatch.undo()

    assert batch.lengths == tuple(map(len, TEXTS))
    assert all(torch.equal(one, other) for one, other in zip(before, copy_states(batch), strict=True))
    batch.select([0, 2])
    assert batch.lengths == (len(TEXTS[0]), len(TEXTS[2]))
