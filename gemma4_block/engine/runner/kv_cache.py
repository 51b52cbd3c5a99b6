"""What rows have read: their KV cache, brought to one length, put together and taken apart."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn.functional import pad
from transformers import DynamicCache


@dataclass(frozen=True, kw_only=True, slots=True)
class Prefix:
    """The beginning of a prompt, as one model has read it.

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


class Context:
    """What the rows of a batch have read. Rows that have read less are padded on the left.

    Args:
        cache: Keys and values of as many places for each row as the longest has read tokens.
        lengths: How many tokens each row has read.

    Attributes:
        cache: As given; a forward pass adds to it.
        lengths: Of what it holds.
        places: How many places it has, padding included.

    """

    def __init__(self, cache: DynamicCache, lengths: Sequence[int]) -> None:
        self.cache = cache
        self.lengths = tuple(lengths)
        self.places = max(lengths)

    @classmethod
    def empty(cls, config: Any, rows: int) -> "Context":  # noqa: ANN401 - a foreign object
        """Begin rows that have read nothing.

        Args:
            config: The text model's.
            rows: How many.

        Returns:
            A context without places.

        """
        # Only this kind of cache keeps the image masks of the larger variants right. Source: unsloth issue
        # 6028.
        return cls(DynamicCache(config=config), [0] * rows)

    @classmethod
    def from_prefixes(cls, config: Any, prefixes: Sequence[Prefix]) -> "Context":  # noqa: ANN401
        """Begin rows that each go on from a prefix, which stays as it is."""
        lengths = [prefix.length for prefix in prefixes]
        layers = [[prefix.layers[place] for prefix in prefixes] for place in range(len(prefixes[0].layers))]
        return cls(_build_cache(config, layers, max(lengths)), lengths)

    @property
    def is_padded(self) -> bool:
        """Whether some row has read less than another."""
        return min(self.lengths) < self.places

    def mask(self, device: torch.device) -> torch.Tensor:
        """Return `(B, places)` int64, 0 at padding."""
        lengths = torch.tensor(self.lengths, device=device)
        return (torch.arange(self.places, device=device) >= self.places - lengths[:, None]).long()

    def record(self) -> None:
        """Keep every place of sliding layers until `trim`, not only those that the window still sees."""
        for layer in _layers_of(self.cache):
            if layer.is_sliding:
                layer.activate_past_recording()

    def grow(self, counts: Sequence[int]) -> None:
        """Take in what a forward pass has read.

        Args:
            counts: How many tokens each row has read. Where one read fewer than another, its padding is
                between what it read before and now; it moves to the left, so that windows over places are
                windows over tokens.

        """
        read = max(counts)
        has_gaps = self.places > 0 and min(counts) < read
        self.places += read
        self.lengths = tuple(length + count for length, count in zip(self.lengths, counts, strict=True))
        if not has_gaps:
            return
        for layer in _layers_of(self.cache):
            held = layer.keys.shape[-2]
            device = layer.keys.device
            places = torch.arange(held, device=device)
            counted = torch.tensor(counts, device=device)[:, None]
            # What a sliding layer has let go, no window sees any more, or it was padding.
            order = (places - (read - counted) * (places < held - counted)).clamp(min=0)
            layer.keys, layer.values = _gather(layer.keys, order), _gather(layer.values, order)

    def trim(self) -> None:
        """Let go what no row has read, or no window sees any more."""
        self.places = max(self.lengths)
        for layer in _layers_of(self.cache):
            kept = _kept(layer, self.places)
            layer.keys, layer.values = layer.keys[:, :, -kept:], layer.values[:, :, -kept:]
            if layer.is_sliding:
                layer.record_past = False
                layer.cumulative_length = self.places

    def select(self, places: Sequence[int]) -> None:
        """Keep some of the rows, in this order."""
        self.cache.batch_select_indices(torch.tensor(places, device=_layers_of(self.cache)[0].keys.device))
        self.lengths = tuple(self.lengths[place] for place in places)
        self.trim()

    def take(self, row: int, length: int) -> Prefix:
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


def join_contexts(config: Any, contexts: Sequence[Context]) -> Context:  # noqa: ANN401 - a foreign object
    """Put rows together; the contexts they come from are used up.

    Args:
        config: The text model's.
        contexts: At least one.

    Returns:
        All rows in order, padded on the left to the longest.

    """
    if len(contexts) == 1:
        return contexts[0]
    lengths = [length for context in contexts for length in context.lengths]
    layers = [
        [(layer.keys, layer.values) for layer in same]
        for same in zip(*(_layers_of(context.cache) for context in contexts), strict=True)
    ]
    return Context(_build_cache(config, layers, max(lengths)), lengths)


def _build_cache(
    config: Any,  # noqa: ANN401
    layers: Sequence[Sequence[tuple[torch.Tensor, torch.Tensor]]],
    length: int,
) -> DynamicCache:
    """Put the rows' keys and values of each layer together in new tensors."""
    cache = DynamicCache(config=config)
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
