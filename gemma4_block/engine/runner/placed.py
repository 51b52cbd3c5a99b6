"""The KV cache of a batch at fixed addresses, so that every decode step over it is the same work."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import torch
from transformers import Cache, DynamicCache
from transformers.cache_utils import CacheLayerMixin

from gemma4_block.engine.family import AttentionMasks
from gemma4_block.engine.runner.kv_cache import BatchCache

# A prompt with an image of the usual budget and its answer; our choice.
_FEWEST_PLACES: Final = 512


@dataclass(frozen=True, kw_only=True, slots=True)
class Bucket:
    """A size that batches are rounded up to; both numbers are powers of two.

    Attributes:
        rows: Sequences.
        places: Tokens of each, padding included.

    """

    rows: int
    places: int

    def count_places(self, window: int | None) -> int:
        """Return how many places a layer has for each row: a ring of its window, or one for each token."""
        return self.places if window is None else min(self.places, window)


def find_bucket(rows: int, places: int) -> Bucket:
    """Return the smallest bucket that holds so many rows of so many places.

    >>> find_bucket(3, 700)
    Bucket(rows=4, places=1024)
    """
    return Bucket(rows=_round_up(rows), places=max(_FEWEST_PLACES, _round_up(places)))


@dataclass(frozen=True, kw_only=True, slots=True)
class LayerForm:
    """What a layer of the KV cache keeps.

    Attributes:
        heads: Of keys and values.
        head_dim: Values of each.
        window: How many tokens a sliding layer sees, the token itself included; None for all.
        dtype: Of keys and values.

    """

    heads: int
    head_dim: int
    window: int | None
    dtype: torch.dtype

    def count_values(self, bucket: Bucket) -> int:
        """Return how many values its keys have in a bucket; its values are as many."""
        return bucket.rows * self.heads * bucket.count_places(self.window) * self.head_dim


def read_forms(cache: DynamicCache) -> tuple[LayerForm, ...]:
    """Return the form of each layer of a cache that holds something."""
    layers: Sequence[Any] = cache.layers
    return tuple(
        LayerForm(
            heads=layer.keys.shape[1],
            head_dim=layer.keys.shape[3],
            window=layer.sliding_window if layer.is_sliding else None,
            dtype=layer.keys.dtype,
        )
        for layer in layers
    )


class PlacedLayer(CacheLayerMixin):
    """Keys and values of one layer. A new token is written where an index on the device says.

    Args:
        keys: `(rows, heads, places, head_dim)`.
        values: As many.
        place: `(1,)` int64, the place of the next token.

    """

    def __init__(self, keys: torch.Tensor, values: torch.Tensor, place: torch.Tensor) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.keys: torch.Tensor = keys
        self.values: torch.Tensor = values
        self.is_initialized = True
        self._place = place

    def lazy_initialization(self, key_states: torch.Tensor, value_states: torch.Tensor) -> None:
        """Do nothing, because all places are there."""

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *_: object, **__: object
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Write the states of one token of each row, and return all of them."""
        self.keys.index_copy_(2, self._place, key_states)
        self.values.index_copy_(2, self._place, value_states)
        return self.keys, self.values

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:  # noqa: ARG002 - of transformers
        """Return how many places there are, and that the first of them comes first."""
        return self.keys.shape[2], 0

    def get_seq_length(self) -> int:
        """Return how many places there are; how many are taken is known on the device only."""
        return self.keys.shape[2]

    def get_max_length(self) -> int:
        """Return how many places there are."""
        return self.keys.shape[2]

    # Its name in transformers 5.10.
    get_max_cache_shape = get_max_length


class PlacedBatch:
    """The KV cache of a batch at fixed addresses, and all that a decode step reads from the device.

    The token at place p of a row is at p of a full layer, and at p modulo its places of a sliding one, which
    is a ring. A row that is shorter than another begins later, and all of them write at the same place.

    Args:
        bucket: Its size.
        forms: Of the layers.
        storages: For each layer flat keys and flat values, at least as many as the bucket takes; they are
            shared with other buckets, one of which is used at a time.

    Attributes:
        bucket: As given.
        ids: `(rows, 1)` int64, the next token of each row.
        positions: `(rows, 1)` int64, its place in the text.
        cache: For the model.

    """

    def __init__(
        self,
        bucket: Bucket,
        forms: Sequence[LayerForm],
        storages: Sequence[tuple[torch.Tensor, torch.Tensor]],
    ) -> None:
        device = storages[0][0].device
        self.bucket = bucket
        self.ids = torch.zeros(bucket.rows, 1, dtype=torch.long, device=device)
        self.positions = torch.zeros_like(self.ids)
        self._starts = torch.zeros_like(self.ids)
        self._forms = tuple(forms)
        windows = dict.fromkeys(form.window for form in forms)
        self._order = {window: torch.arange(bucket.count_places(window), device=device) for window in windows}
        self._place = torch.zeros(1, dtype=torch.long, device=device)
        self._slots = {window: torch.zeros_like(self._place) for window in windows}
        self._layers = [
            PlacedLayer(_view(keys, form, bucket), _view(values, form, bucket), self._slots[form.window])
            for form, (keys, values) in zip(forms, storages, strict=True)
        ]
        self.cache = Cache(layers=list(self._layers))

    def begin(self, lengths: Sequence[int]) -> None:
        """Take up rows of so many tokens; the longest decides where all of them go on."""
        idle = [0] * (self.bucket.rows - len(lengths))
        places = max(lengths)
        # One transfer for all of it.
        rows = torch.tensor(
            [[*lengths, *idle], [*(places - length for length in lengths), *idle]],
            device=self.ids.device,
        )
        self.positions.copy_(rows[0, :, None])
        self._starts.copy_(rows[1, :, None])
        self._place.fill_(places)

    def load(self, batch: BatchCache) -> None:
        """Copy a batch into the places; it stays as it is."""
        rows, layers = len(batch.lengths), _layers_of(batch)
        for own, form, layer in zip(self._layers, self._forms, layers, strict=True):
            for to, states in ((own.keys, layer.keys), (own.values, layer.values)):
                # What an earlier batch left is masked, but a number that is not finite would get through.
                to.zero_()
                for place, part in _cut(states, batch.places, self.bucket.count_places(form.window)):
                    to[:rows, :, place : place + part.shape[2]] = part
        self.begin(batch.lengths)

    def unload(self, make_cache: Callable[[], DynamicCache], lengths: Sequence[int]) -> BatchCache:
        """Return copies of what the places hold.

        Args:
            make_cache: Makes an empty cache of the model.
            lengths: How many tokens each row has by now.

        Returns:
            A batch that grows on its own.

        """
        batch = BatchCache(make_cache(), lengths)
        for layer, own, form in zip(_layers_of(batch), self._layers, self._forms, strict=True):
            kept = batch.places if form.window is None else min(batch.places, form.window - 1)
            first = (batch.places - kept) % self.bucket.count_places(form.window)
            keys, values = (
                # The first places come again where the ring was passed.
                torch.cat([one[: len(lengths), :, first:], one[: len(lengths), :, :first]], dim=2)[
                    :, :, :kept
                ].contiguous()
                for one in (own.keys, own.values)
            )
            layer.lazy_initialization(keys, values)
            layer.keys, layer.values = keys, values
            if layer.is_sliding:
                layer.cumulative_length = batch.places
        return batch

    def find_masks(self) -> AttentionMasks:
        """Return which places each row sees in each kind of layer, and point to the place of this token."""
        masks: dict[str, torch.Tensor] = {}
        for window, order in self._order.items():
            slot = self._slots[window]
            torch.remainder(self._place, len(order), out=slot)
            # What a place holds was written last at most one round ago; before the first round, nothing was.
            held = self._place - torch.remainder(slot - order, len(order))
            sees = held >= self._starts
            masks["full_attention" if window is None else "sliding_attention"] = sees[:, None, None]
        return masks

    def advance(self) -> None:
        """Go on to the next place."""
        self._place.add_(1)
        self.positions.add_(1)


def _round_up(number: int) -> int:
    return 1 << (number - 1).bit_length()


def _view(flat: torch.Tensor, form: LayerForm, bucket: Bucket) -> torch.Tensor:
    shape = (bucket.rows, form.heads, bucket.count_places(form.window), form.head_dim)
    return flat[: form.count_values(bucket)].view(shape)


def _cut(states: torch.Tensor, places: int, size: int) -> list[tuple[int, torch.Tensor]]:
    """Return where the last of so many places go in a ring of a size: one part, or two."""
    kept = states.shape[2]
    first = (places - kept) % size
    head = min(kept, size - first)
    parts = [(first, states[:, :, :head]), (0, states[:, :, head:])]
    return [(place, part) for place, part in parts if part.shape[2]]


def _layers_of(batch: BatchCache) -> Sequence[Any]:
    """Return the layers, whose union of types knows nothing of what these two kinds have."""
    return batch.cache.layers
