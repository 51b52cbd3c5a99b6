"""Prefill prompts as a batch: encode each image once, and prefill a prefix that prompts share once."""

from dataclasses import dataclass

import torch

from gemma4_block.engine.byte_cache import ByteCache
from gemma4_block.engine.preprocess import FeatureCache, ImageKey
from gemma4_block.engine.profiling import StageClock
from gemma4_block.engine.runner.forward import ForwardPasses
from gemma4_block.engine.runner.kv_cache import BatchCache, Prefix, begin_from_prefixes, join_batches
from gemma4_block.engine.runner.vision import encode_images
from gemma4_block.engine.scheduler import Sequence
from gemma4_block.meter import get_meter

PrefixKey = tuple[tuple[int, ...], tuple[ImageKey, ...], str | None]
"""Equal for equal prefixes of prompts: their tokens, the images in them, and the adapter that read them."""

PrefixCache = ByteCache[PrefixKey, Prefix]
"""The KV caches of the prefixes that were used last."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Prefilled:
    """The KV cache of sequences, with all their tokens in it.

    Attributes:
        batch: One row for each, in order.
        logits: `(B, V)` float32, after the last token of each.

    """

    batch: BatchCache
    logits: torch.Tensor


class Prefiller:
    """Prefills prompts with one model. Its calls must not overlap.

    Args:
        passes: Of the model.
        features: Of images that were encoded before.
        prefixes: That were prefilled before.
        clock: Measures vision and prefill.

    """

    def __init__(
        self, passes: ForwardPasses, *, features: FeatureCache, prefixes: PrefixCache, clock: StageClock
    ) -> None:
        self._passes = passes
        self._features = features
        self._prefixes = prefixes
        self._clock = clock

    def read(self, sequences: list[Sequence]) -> Prefilled:
        """Prefill prompts, and the tokens generated after them where they were put back.

        Args:
            sequences: At least one.

        Returns:
            Their KV cache and logits, in order.

        """
        keys = [_prefix_key(sequence) for sequence in sequences]
        found = {key: prefix for key in keys if key and (prefix := self._prefixes.find(key)) is not None}
        for key in keys:
            if key:
                get_meter().note_lookup("prefix", is_hit=key in found)
        # Of prompts that share a prefix, the first is prefilled whole; the others go on from its prefix.
        firsts = {key or place: place for place, key in reversed(list(enumerate(keys))) if key not in found}
        new = sorted(firsts.values())
        others = [place for place in range(len(sequences)) if place not in new]
        parts: list[Prefilled] = []
        if new:
            is_shared = [keys.count(keys[place]) > 1 for place in new]
            prefilled, prefixes = self._prefill_whole([sequences[place] for place in new], is_shared)
            found |= {
                key: prefix
                for place, prefix in zip(new, prefixes, strict=True)
                if prefix and (key := keys[place])
            }
            parts.append(prefilled)
        if others:
            begun = [found[key] for place in others if (key := keys[place])]
            parts.append(self._prefill_after([sequences[place] for place in others], begun))
        return self._join(parts, new + others)

    def _prefill_whole(
        self, sequences: list[Sequence], is_shared: list[bool]
    ) -> tuple[Prefilled, list[Prefix | None]]:
        images = [image for one in sequences for image in one.prompt.images]
        features = encode_images(self._passes, images, self._features, self._clock)
        rows = self._passes.for_rows(one.prompt for one in sequences)
        with self._clock.measure("prefill", len(sequences)), rows:
            measure = self._passes.model.measure_cache
            lengths = [
                one.prompt.prefix_length
                if shared or self._prefixes.holds(measure(one.prompt.prefix_length))
                else 0
                for one, shared in zip(sequences, is_shared, strict=True)
            ]
            batch, logits, prefixes = self._passes.prefill(
                [one.prefill_ids for one in sequences], features, prefix_lengths=lengths
            )
        for one, prefix in zip(sequences, prefixes, strict=True):
            if prefix is not None and (key := _prefix_key(one)) is not None:
                self._prefixes.keep(key, prefix)
        return Prefilled(batch=batch, logits=logits), prefixes

    def _prefill_after(self, sequences: list[Sequence], prefixes: list[Prefix]) -> Prefilled:
        rows = self._passes.for_rows(one.prompt for one in sequences)
        with self._clock.measure("prefill", len(sequences)), rows:
            batch = begin_from_prefixes(self._passes.model.make_cache, prefixes)
            own = [one.prefill_ids[one.prompt.prefix_length :] for one in sequences]
            return Prefilled(batch=batch, logits=self._passes.extend(batch, own))

    def _join(self, parts: list[Prefilled], order: list[int]) -> Prefilled:
        if len(parts) == 1:
            return parts[0]
        batch = join_batches(self._passes.model.make_cache, [part.batch for part in parts])
        logits = torch.cat([part.logits for part in parts])
        back = [order.index(place) for place in range(len(order))]
        batch.select(back)
        return Prefilled(batch=batch, logits=logits[back])


def _prefix_key(sequence: Sequence) -> PrefixKey | None:
    """Return the key of a prompt's prefix; None without images, because text alone is prefilled fast."""
    prompt = sequence.prompt
    if not prompt.prefix_length:
        return None
    return prompt.input_ids[: prompt.prefix_length], prompt.image_keys, prompt.adapter_name
