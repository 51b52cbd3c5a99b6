"""The KV cache of a batch: padded to one length, joined, cut to some sequences, restored after a failure."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn.functional import pad
from transformers import DynamicCache


@dataclass(frozen=True, kw_only=True, slots=True)
class Prefix:
    """The KV cache of the prefix of a prompt.

    Attributes:
        length: How many tokens it has.
        layers: Keys and values of each layer that keeps any, `(1, heads, K, head_dim)`: of all its tokens, or
            in a sliding layer of the last that fit the window.

    """

    length: int
    layers: tuple[tuple[torch.Tensor, torch.Tensor], ...]

    @property
    def nbytes(self) -> int:
        """Size in memory."""
        return sum(keys.nbytes + values.nbytes for keys, values in self.layers)


class BatchCache:
    """The KV cache of a batch, one row for each sequence. Shorter rows are padded on the left.

    Args:
        cache: Keys and values, as many places for each row as the longest has tokens.
        lengths: How many tokens each row has.

    Attributes:
        cache: As given; a forward pass adds to it.
        lengths: Tokens of each row.
        places: How many places there are for each row, padding included.

    """

    def __init__(self, cache: DynamicCache, lengths: Sequence[int]) -> None:
        self.cache = cache
        self.lengths = tuple(lengths)
        self.places = max(lengths)

    @property
    def is_padded(self) -> bool:
        """Whether some row has fewer tokens than another."""
        return min(self.lengths) < self.places

    def mask(self, lengths: torch.Tensor) -> torch.Tensor:
        """Return which places hold tokens.

        Args:
            lengths: `(B, 1)` int64, those of the rows, on the device of the mask.

        Returns:
            `(B, places)` int64, 0 at padding.

        """
        places = torch.arange(self.places, device=lengths.device)
        return (places >= self.places - lengths).long()

    def record(self) -> None:
        """Keep every place of sliding layers until `trim`, not only those still in the window."""
        for layer in _layers_of(self.cache):
            if layer.is_sliding:
                layer.activate_past_recording()

    @contextmanager
    def restored_on_failure(self) -> Iterator[None]:
        """Restore the cache where the forward pass inside fails; where it does not, `grow` comes next."""
        self.record()
        layers = _layers_of(self.cache)
        held = [layer.keys.shape[-2] for layer in layers]
        try:
            yield
        except BaseException:
            for layer, count in zip(layers, held, strict=True):
                layer.keys, layer.values = layer.keys[:, :, :count], layer.values[:, :, :count]
                if layer.is_sliding:
                    layer.record_past = False
                    layer.cumulative_length = self.places
            raise

    def grow(self, counts: Sequence[int]) -> None:
        """Count the tokens that a forward pass has added, and move padding to the left.

        Args:
            counts: How many tokens each row has got. Where one got fewer than another, its padding is
                between its earlier and its new tokens; it must be on the left, because a sliding window
                counts places.

        """
        added = max(counts)
        has_gaps = self.places > 0 and min(counts) < added
        self.places += added
        self.lengths = tuple(length + count for length, count in zip(self.lengths, counts, strict=True))
        if not has_gaps:
            return
        for layer in _layers_of(self.cache):
            held = layer.keys.shape[-2]
            device = layer.keys.device
            places = torch.arange(held, device=device)
            counted = torch.tensor(counts, device=device)[:, None]
            # Clamped where a sliding layer has dropped the place: no window sees it, or it was padding.
            order = (places - (added - counted) * (places < held - counted)).clamp(min=0)
            layer.keys, layer.values = _gather(layer.keys, order), _gather(layer.values, order)

    def drop_last(self, counts: Sequence[int]) -> None:
        """Drop the last tokens of each row, and trim; no place may have been trimmed since they were added.

        Args:
            counts: How many tokens of each row.

        """
        self.lengths = tuple(length - count for length, count in zip(self.lengths, counts, strict=True))
        if any(counts):
            for layer in _layers_of(self.cache):
                device = layer.keys.device
                places = torch.arange(layer.keys.shape[-2], device=device)
                # What is moved into the first places is padding, or no window sees it.
                order = (places - torch.tensor(counts, device=device)[:, None]).clamp(min=0)
                layer.keys, layer.values = _gather(layer.keys, order), _gather(layer.values, order)
        self.trim()

    def trim(self) -> None:
        """Drop places that are padding in every row, or that no window sees any more."""
        self.places = max(self.lengths)
        for layer in _layers_of(self.cache):
            kept = _kept(layer, self.places)
            layer.keys, layer.values = layer.keys[:, :, -kept:], layer.values[:, :, -kept:]
            if layer.is_sliding:
                layer.record_past = False
                layer.cumulative_length = self.places

    def select(self, rows: Sequence[int]) -> None:
        """Keep some of the rows, in this order, or stay as it was where memory does not hold the copies."""
        layers = _layers_of(self.cache)
        index = torch.tensor(rows, device=layers[0].keys.device)
        chosen = [(layer.keys[index], layer.values[index]) for layer in layers]
        for layer, (keys, values) in zip(layers, chosen, strict=True):
            layer.keys, layer.values = keys, values
        self.lengths = tuple(self.lengths[row] for row in rows)
        self.trim()

    def copy_prefix(self, row: int, length: int) -> Prefix:
        """Copy the first tokens of a row; every place must still be there, see `record`."""
        start = self.places - self.lengths[row]
        layers = []
        for layer in _layers_of(self.cache):
            first = start + max(0, length - _kept(layer, length))
            own = slice(first, start + length)
            layers.append(
                (layer.keys[row : row + 1, :, own].clone(), layer.values[row : row + 1, :, own].clone())
            )
        return Prefix(length=length, layers=tuple(layers))


def begin_from_prefixes(make_cache: Callable[[], DynamicCache], prefixes: Sequence[Prefix]) -> BatchCache:
    """Return a batch whose sequences each begin with a prefix; the prefixes stay as they are.

    Args:
        make_cache: Makes an empty cache of the model.
        prefixes: One for each row.

    Returns:
        Rows in the same order.

    """
    lengths = [prefix.length for prefix in prefixes]
    layers = [[prefix.layers[place] for prefix in prefixes] for place in range(len(prefixes[0].layers))]
    return BatchCache(_fill_cache(make_cache(), layers, max(lengths)), lengths)


def join_batches(make_cache: Callable[[], DynamicCache], batches: Sequence[BatchCache]) -> BatchCache:
    """Join batches, which stay as they are.

    Args:
        make_cache: Makes an empty cache of the model.
        batches: At least one.

    Returns:
        All rows in order, padded on the left to the longest; of a single batch, that batch itself.

    """
    if len(batches) == 1:
        return batches[0]
    lengths = [length for batch in batches for length in batch.lengths]
    layers = [
        [(layer.keys, layer.values) for layer in same]
        for same in zip(*(_layers_of(batch.cache) for batch in batches), strict=True)
    ]
    return BatchCache(_fill_cache(make_cache(), layers, max(lengths)), lengths)


def _fill_cache(
    cache: DynamicCache, layers: Sequence[Sequence[tuple[torch.Tensor, torch.Tensor]]], length: int
) -> DynamicCache:
    """Put the rows' keys and values of each layer together in new tensors."""
    for layer, parts in zip(_layers_of(cache), layers, strict=True):
        kept = _kept(layer, length)
        keys, values = (
            torch.cat([pad(part[which], (0, 0, kept - part[which].shape[-2], 0)) for part in parts])
            for which in (0, 1)
        )
        layer.lazy_initialization(keys, values)
        layer.keys, layer.values = keys, values
        if layer.is_sliding:
            layer.cumulative_length = length
    return cache


def _layers_of(cache: DynamicCache) -> Sequence[Any]:
    """Return the layers, whose union of types knows nothing of what these two kinds have."""
    return cache.layers


def _kept(layer: Any, length: int) -> int:  # noqa: ANN401 - a layer of a cache
    return min(length, layer.sliding_window - 1) if layer.is_sliding else length


def _gather(states: torch.Tensor, order: torch.Tensor) -> torch.Tensor:
    index = order[:, None, :, None].expand(-1, states.shape[1], -1, states.shape[3])
    return states.gather(2, index)
