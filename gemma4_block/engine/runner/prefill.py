"""Read prompts together: see each image once, and read once what several prompts begin with."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from gemma4_block.engine.byte_cache import ByteCache
from gemma4_block.engine.preprocess.prepared import PreparedPrompt
from gemma4_block.engine.profiling import StageClock
from gemma4_block.engine.runner.forward import ModelPasses
from gemma4_block.engine.runner.kv_cache import Context, Prefix, join_contexts
from gemma4_block.engine.runner.vision import FeatureCache, ImageKey, encode_images

PrefixKey = tuple[tuple[int, ...], tuple[ImageKey, ...]]
"""What makes the beginnings of two prompts the same: their tokens, and the images in them."""

PrefixCache = ByteCache[PrefixKey, Prefix]
"""The beginnings of prompts that were read last."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Unread:
    """A prompt that is to be read.

    Attributes:
        prompt: Its tokens and images.
        written: Tokens of the answer that are known already.

    """

    prompt: PreparedPrompt
    written: tuple[int, ...] = ()

    @property
    def input_ids(self) -> tuple[int, ...]:
        """All tokens."""
        return self.prompt.input_ids + self.written

    @property
    def prefix_length(self) -> int:
        """How many tokens there are up to the last image; what follows is this prompt's own."""
        return self.prompt.prefix_length

    @property
    def prefix_key(self) -> PrefixKey | None:
        """What it begins with; None without images, because texts are read fast."""
        if not self.prefix_length:
            return None
        keys = tuple(image.key for image in self.prompt.images)
        return self.prompt.input_ids[: self.prefix_length], keys


@dataclass(frozen=True, kw_only=True, slots=True)
class Reading:
    """Prompts that the model has read.

    Attributes:
        context: What it keeps of them.
        logits: `(B, V)` float32, what comes after each of them.

    """

    context: Context
    logits: torch.Tensor


class PromptReader:
    """Reads prompts with one model. Its calls must not overlap.

    Args:
        passes: Of the model.
        features: Of images that were seen before.
        prefixes: Beginnings that were read before.
        clock: Measures vision and prefill.

    """

    def __init__(
        self, passes: ModelPasses, *, features: FeatureCache, prefixes: PrefixCache, clock: StageClock
    ) -> None:
        self._passes = passes
        self._features = features
        self._prefixes = prefixes
        self._clock = clock

    def read(self, prompts: Sequence[Unread]) -> Reading:
        """Read prompts.

        Args:
            prompts: At least one.

        Returns:
            Their rows, in order.

        """
        keys = [prompt.prefix_key for prompt in prompts]
        found = {key: prefix for key in keys if key and (prefix := self._prefixes.find(key)) is not None}
        # Of those that begin alike, the first is read whole; the others go on from it.
        firsts = {key or place: place for place, key in reversed(list(enumerate(keys))) if key not in found}
        new = sorted(firsts.values())
        others = [place for place in range(len(prompts)) if place not in new]
        parts: list[Reading] = []
        if new:
            is_shared = [keys.count(keys[place]) > 1 for place in new]
            reading, prefixes = self._read_new([prompts[place] for place in new], is_shared)
            found |= {
                key: prefix
                for place, prefix in zip(new, prefixes, strict=True)
                if prefix and (key := keys[place])
            }
            parts.append(reading)
        if others:
            begun = [found[key] for place in others if (key := keys[place])]
            parts.append(self._go_on([prompts[place] for place in others], begun))
        return self._join(parts, new + others)

    def _read_new(
        self, prompts: Sequence[Unread], is_shared: Sequence[bool]
    ) -> tuple[Reading, list[Prefix | None]]:
        images = [image for one in prompts for image in one.prompt.images]
        features = encode_images(self._passes.model, images, self._features, self._clock)
        with self._clock.measure("prefill", len(prompts)):
            lengths = [
                one.prefix_length
                if shared or self._prefixes.holds(self._passes.size_of(one.prefix_length))
                else 0
                for one, shared in zip(prompts, is_shared, strict=True)
            ]
            context, logits, prefixes = self._passes.begin(
                [one.input_ids for one in prompts], features, prefix_lengths=lengths
            )
        for one, prefix in zip(prompts, prefixes, strict=True):
            if prefix is not None and (key := one.prefix_key) is not None:
                self._prefixes.keep(key, prefix)
        return Reading(context=context, logits=logits), prefixes

    def _go_on(self, prompts: Sequence[Unread], prefixes: Sequence[Prefix]) -> Reading:
        with self._clock.measure("prefill", len(prompts)):
            context = Context.from_prefixes(self._passes.config, prefixes)
            own = [one.input_ids[one.prefix_length :] for one in prompts]
            return Reading(context=context, logits=self._passes.extend(context, own))

    def _join(self, parts: Sequence[Reading], order: Sequence[int]) -> Reading:
        if len(parts) == 1:
            return parts[0]
        context = join_contexts(self._passes.config, [part.context for part in parts])
        logits = torch.cat([part.logits for part in parts])
        back = [order.index(place) for place in range(len(order))]
        context.select(back)
        return Reading(context=context, logits=logits[back])
