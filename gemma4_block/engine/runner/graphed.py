"""Decode batches by CUDA graphs, one for each size of batch; see `PlacedBatch` and `StepGraph`."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import torch

from gemma4_block.engine.family import LanguageModel
from gemma4_block.engine.runner.kv_cache import BatchCache
from gemma4_block.engine.runner.placed import Bucket, LayerForm, PlacedBatch, find_bucket, read_forms
from gemma4_block.engine.runner.step_graph import StepGraph

_LOGGER: Final = logging.getLogger(__name__)

# Of the memory that is free and that the places hold already; the rest is for prompts that join.
_LARGEST_SHARE: Final = 0.5


@dataclass(frozen=True, kw_only=True, slots=True)
class _Graphed:
    placed: PlacedBatch
    graph: StepGraph


class HeldBatch:
    """A batch whose KV cache is in fixed places.

    Args:
        graphed: Its size.
        lengths: How many tokens each row has.

    """

    def __init__(self, graphed: _Graphed, lengths: Sequence[int]) -> None:
        self._graphed = graphed
        self._lengths = tuple(lengths)
        self._is_in_step = True

    @property
    def has_place(self) -> bool:
        """Whether there is a place for one more token of each row."""
        return max(self._lengths) < self._graphed.placed.bucket.places

    def read(self, ids: Sequence[int] | torch.Tensor) -> torch.Tensor:
        """Read one token of each row; where that fails, the batch is as it was.

        Args:
            ids: Of the tokens, or a tensor `(B, 1)` int64 of them on the device.

        Returns:
            The logits `(B, 1, V)` float32 after each; the next step overwrites them.

        """
        placed, rows = self._graphed.placed, len(self._lengths)
        if not self._is_in_step:
            placed.begin(self._lengths)
        new = ids if isinstance(ids, torch.Tensor) else torch.tensor(ids, device=placed.ids.device)[:, None]
        self._is_in_step = False
        placed.ids[:rows].copy_(new)
        logits = self._graphed.graph.replay()
        self._lengths = tuple(length + 1 for length in self._lengths)
        self._is_in_step = True
        return logits[:rows]

    def release(self, model: LanguageModel) -> BatchCache:
        """Return copies that grow on their own; the places may then be used by another batch."""
        return self._graphed.placed.unload(model.make_cache, self._lengths)


class GraphedSteps:
    """Holds one batch at a time, in places that batches of all sizes share. From the model's thread alone.

    Never run on a GPU so far: tests replay the graphs on a CPU that pretends to be one.

    Args:
        model: On a GPU.
        read_free: Returns how many bytes of it are free; None where that is unknown.

    """

    def __init__(self, model: LanguageModel, *, read_free: Callable[[], int | None]) -> None:
        self._model = model
        self._read_free = read_free
        self._is_possible = True
        # Those that memory did not hold.
        self._too_large: set[Bucket] = set()
        self._pool: Any = None
        self._graphs: dict[Bucket, _Graphed] = {}
        self._storages: tuple[tuple[torch.Tensor, torch.Tensor], ...] = ()

    @property
    def nbytes(self) -> int:
        """Size of the places in memory; that of the graphs is theirs and torch's."""
        return sum(keys.nbytes + values.nbytes for keys, values in self._storages)

    def hold(self, batch: BatchCache) -> HeldBatch | None:
        """Copy a batch into the places; it stays as it is.

        Args:
            batch: Not empty.

        Returns:
            The batch in its places, with room for a token of each row; None where it is to be decoded without
            a graph, because memory is short or a graph cannot hold this model's steps of so many rows.

        """
        if not self._is_possible:
            return None
        bucket = find_bucket(len(batch.lengths), batch.places + 1)
        most = self._model.most_rows_without_waiting
        if bucket in self._too_large or (most is not None and bucket.rows > most):
            return None
        forms = read_forms(batch.cache)
        try:
            if not self._make_room(bucket, forms):
                return None
            graphed = self._graphs.get(bucket)
            if graphed is None:
                graphed = self._graphs[bucket] = self._capture(bucket, forms)
        except torch.OutOfMemoryError:
            self._drop()
            self._too_large.add(bucket)
            _LOGGER.warning("Memory does not hold a CUDA graph for %s; it is decoded without.", bucket)
            return None
        except RuntimeError as error:
            self._is_possible = False
            self._drop()
            _LOGGER.warning("Decoding goes on without CUDA graphs, which is slower: %s", error)
            return None
        graphed.placed.load(batch)
        return HeldBatch(graphed, batch.lengths)

    def clear(self) -> bool:
        """Give the memory of places and graphs back, and return whether there was any; no batch is held."""
        had = bool(self._storages)
        self._drop()
        self._too_large.clear()
        return had

    def _drop(self) -> None:
        self._graphs, self._storages, self._pool = {}, (), None

    def _make_room(self, bucket: Bucket, forms: Sequence[LayerForm]) -> bool:
        """Say whether there are enough places, and make them where memory allows it."""
        sizes = [form.count_values(bucket) for form in forms]
        held = [keys.numel() for keys, _ in self._storages] or [0] * len(sizes)
        if all(size <= has for size, has in zip(sizes, held, strict=True)):
            return True
        sizes = [max(size, has) for size, has in zip(sizes, held, strict=True)]
        needed = sum(2 * size * form.dtype.itemsize for size, form in zip(sizes, forms, strict=True))
        free = self._read_free()
        if free is not None and needed > _LARGEST_SHARE * (free + self.nbytes):
            return False
        # Graphs know their addresses by heart.
        self._drop()
        device = self._model.device
        self._storages = tuple(
            (
                torch.zeros(size, dtype=form.dtype, device=device),
                torch.zeros(size, dtype=form.dtype, device=device),
            )
            for size, form in zip(sizes, forms, strict=True)
        )
        return True

    def _capture(self, bucket: Bucket, forms: Sequence[LayerForm]) -> _Graphed:
        placed = PlacedBatch(bucket, forms, self._storages)
        # What warms up writes somewhere, as a row of one token would.
        placed.begin([1] * bucket.rows)

        def step() -> torch.Tensor:
            masks = placed.find_masks()
            logits = self._model.read_tokens(placed.ids, masks, placed.positions, placed.cache, last=1)
            placed.advance()
            return logits

        if self._pool is None:
            self._pool = torch.cuda.graph_pool_handle()
        return _Graphed(placed=placed, graph=StepGraph(step, self._pool))


def make_graphs(
    model: LanguageModel, *, read_free: Callable[[], int | None], are_wanted: bool
) -> GraphedSteps | None:
    """Return the graphs of a model; None on a CPU, or where the operator wants none."""
    return GraphedSteps(model, read_free=read_free) if are_wanted and model.device.type == "cuda" else None
