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
    """What the rows of a left-padded batch have read.

    Args:
        cache: Keys and values of `L` positions for each row.
        mask: `(B, L)` int64, 0 at padding.

    Attributes:
        cache: As given; a forward pass adds to it.
        mask: Of what it holds.

    """

    def __init__(self, cache: DynamicCache, mask: torch.Tensor) -> None:
        self.cache = cache
        self.mask = mask

    @classmethod
    def empty(cls, config: Any, rows: int, device: torch.device) -> "Context":  # noqa: ANN401 - a foreign object
        """Begin rows that have read nothing.

        Args:
            config: The text model's.
            rows: How many.
            device: The model's.

        Returns:
            A context without positions.

        """
        # Only this kind of cache keeps the image masks of the larger variants right. Source: unsloth issue
        # 6028.
        return cls(DynamicCache(config=config), torch.ones(rows, 0, dtype=torch.long, device=device))

    @classmethod
    def from_prefixes(cls, config: Any, prefixes: Sequence[Prefix], device: torch.device) -> "Context":  # noqa: ANN401
        """Begin rows that each go on from a prefix, which stays as it is."""
        longest = max(prefix.length for prefix in prefixes)
        lengths = torch.tensor([prefix.length for prefix in prefixes], device=device)
        mask = (torch.arange(longest, device=device) >= longest - lengths[:, None]).long()
        layers = [[prefix.layers[place] for prefix in prefixes] for place in range(len(prefixes[0].layers))]
        return cls(_build_cache(config, layers, longest), mask)

    @property
    def next_positions(self) -> torch.Tensor:
        """The position of each row's next token, `(B, 1)` int64."""
        return self.mask.sum(dim=1, keepdim=True)

    def record(self) -> None:
        """Keep every position of sliding layers until `trim`, not only those that the window still sees."""
        for layer in _layers_of(self.cache):
            if layer.is_sliding:
                layer.activate_past_recording()

    def grow(self, read: torch.Tensor, *, is_even: bool) -> None:
        """Take in what a forward pass has read.

        Args:
            read: `(B, Q)` int64, 0 at the left where a row read fewer than the others. That padding moves to
                the left of all that the row has read, so that windows over places are windows over tokens.
            is_even: Whether all rows read as many, or had read nothing before.

        """
        whole = torch.cat([self.mask, read], dim=1)
        if is_even:
            self.mask = whole
            return
        # Stable: real tokens stay in their order.
        order = whole.argsort(dim=1, stable=True)
        self.mask = whole.gather(1, order)
        for layer in _layers_of(self.cache):
            held = layer.keys.shape[-2]
            # What a sliding layer has let go, no window sees any more, or it was padding.
            own = (order[:, -held:] - (whole.shape[1] - held)).clamp(min=0)
            layer.keys, layer.values = _gather(layer.keys, own), _gather(layer.values, own)

    def trim(self) -> None:
        """Let go what sliding layers have recorded and no window sees any more."""
        for layer in _layers_of(self.cache):
            if layer.is_sliding:
                kept = _kept(layer, self.mask.shape[1])
                layer.keys, layer.values = layer.keys[:, :, -kept:], layer.values[:, :, -kept:]
                layer.record_past = False

    def select(self, places: Sequence[int]) -> None:
        """Keep some of the rows, and no padding that all of them share."""
        rows = torch.tensor(places, device=self.mask.device)
        self.cache.batch_select_indices(rows)
        mask = self.mask[rows]
        length = int(mask.sum(dim=1).max())
        self.mask = mask[:, mask.shape[1] - length :]
        for layer in _layers_of(self.cache):
            kept = _kept(layer, length)
            layer.keys, layer.values = layer.keys[:, :, -kept:], layer.values[:, :, -kept:]
            if layer.is_sliding:
                layer.cumulative_length = length

    def take(self, row: int, length: int) -> Prefix:
        """Copy the first tokens of a row; every position must still be there, see `record`."""
        start = self.mask.shape[1] - int(self.mask[row].sum())
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
    longest = max(context.mask.shape[1] for context in contexts)
    mask = torch.cat([_pad_left(context.mask, longest) for context in contexts])
    layers = [
        [(layer.keys, layer.values) for layer in same]
        for same in zip(*(_layers_of(context.cache) for context in contexts), strict=True)
    ]
    return Context(_build_cache(config, layers, longest), mask)


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


def _pad_left(mask: torch.Tensor, length: int) -> torch.Tensor:
    return pad(mask, (length - mask.shape[1], 0))


def _gather(states: torch.Tensor, order: torch.Tensor) -> torch.Tensor:
    index = order[:, None, :, None].expand(-1, states.shape[1], -1, states.shape[3])
    return states.gather(2, index)
