"""A prompt whose text and images have become tensors."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from hashlib import blake2b
from itertools import takewhile

import torch

from gemma4_block.contract import ImageSeqLength, RgbImage
from gemma4_block.engine.adapter_tag import AdapterTag
from gemma4_block.engine.byte_cache import ByteCache

ImageKey = tuple[bytes, tuple[int, ...], ImageSeqLength | None, tuple[int, int] | None, str | None]
"""Equal for images that look the same to a model: hash of the pixels, shape, budget, size to resize to, and
the name of the adapter that they look otherwise to than to the base.

Patches that the caller has made have no budget."""

FeatureCache = ByteCache[ImageKey, torch.Tensor]
"""The vision tower's features of the images that were asked about last, `(soft_tokens, hidden)` each."""

ChoiceIds = tuple[tuple[tuple[int, ...], ...], ...]
"""Groups of alternatives as token ids."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PreparedImage:
    """An image for the vision tower, or its features where the tower has encoded it before.

    Attributes:
        key: Its key in the feature cache.
        soft_tokens: How many tokens it takes in the prompt.
        pixel_values: `(P, C)` patches without padding, on the CPU; None where `features` is not.
        position_ids: `(P, 2)` int64, column and row of each patch; None where `features` is not.
        features: `(soft_tokens, hidden)` on the model's device; None where the tower must encode it.

    """

    key: ImageKey
    soft_tokens: int
    pixel_values: torch.Tensor | None = None
    position_ids: torch.Tensor | None = None
    features: torch.Tensor | None = None

    @property
    def adapter_name(self) -> str | None:
        """The adapter that the tower sees it with; None for the base."""
        return self.key[-1]


@dataclass(frozen=True, kw_only=True, slots=True)
class PreparedPrompt:
    """A prompt whose text and images have become tensors.

    Attributes:
        index: Its place in the call.
        input_ids: Token ids, image placeholders expanded.
        image_tokens: How many of them are placeholders.
        images: In the order of their placeholders.
        prefix_length: How many tokens there are up to the last placeholder; 0 without any,
            or where nothing follows.
        schema: JSON Schema that the answer is held to; None where it is free.
        choices: The alternatives that are scored, also as texts in `choice_texts`; empty where the answer is
            generated.
        choice_texts: The same as the prompt gave them.
        lead_lengths: For each group of choices with how many tokens of the lead all of them begin.
        choice_rest: The place in every group of the alternative that stands for all else; None without one.
        needs_token_scores: Whether the answer should say how sure the model was of each token.
        adapter: Answers it; None for the base.

    """

    index: int
    input_ids: tuple[int, ...]
    image_tokens: int
    images: tuple[PreparedImage, ...]
    prefix_length: int = 0
    schema: str | None = None
    choices: ChoiceIds = ()
    choice_texts: tuple[tuple[str, ...], ...] = ()
    lead_lengths: tuple[int, ...] = ()
    choice_rest: int | None = None
    needs_token_scores: bool = False
    adapter: AdapterTag | None = None

    @property
    def image_keys(self) -> tuple[ImageKey, ...]:
        """What its images are known by, in order."""
        return tuple(image.key for image in self.images)

    @property
    def adapter_name(self) -> str | None:
        """The name of its adapter; None for the base."""
        return None if self.adapter is None else self.adapter.name

    @property
    def batch_name(self) -> str | None:
        """Which prompts can be in one pass with it: those with the same; None but where adapters exclude."""
        return None if self.adapter is None or self.adapter.shares_passes else self.adapter.name

    def without_images(self) -> "PreparedPrompt":
        """Return the same prompt without the tensors of its images."""
        return replace(self, images=())


def image_key(
    image: RgbImage,
    image_seq_length: ImageSeqLength,
    image_size_wh: tuple[int, int] | None,
    adapter: AdapterTag | None,
) -> ImageKey:
    """Return the key of an image; one key means the same pixels, budget, size and viewer."""
    digest = blake2b(image.tobytes(), digest_size=32).digest()
    viewer = None if adapter is None or adapter.sees_as_base else adapter.name
    return digest, image.shape, image_seq_length, image_size_wh, viewer


def count_shared(texts: Sequence[Sequence[int]]) -> int:
    """Return with how many tokens that are the same all of some texts begin.

    Args:
        texts: At least one.

    Returns:
        Their number.

    Example:
        >>> count_shared([(5, 6, 7), (5, 6, 8), (5, 6)])
        2

    """
    return sum(1 for _ in takewhile(lambda column: len(set(column)) == 1, zip(*texts, strict=False)))


def find_prefix(input_ids: Sequence[int], image_token_id: int) -> int:
    """Return the length of the prefix that other prompts may share.

    Args:
        input_ids: Of the prompt.
        image_token_id: Marks the places of soft tokens.

    Returns:
        Tokens up to the last image; 0 without any, or where nothing follows it.

    Example:
        >>> find_prefix([5, 9, 9, 6, 7], image_token_id=9)
        3
        >>> find_prefix([5, 6, 7], image_token_id=9)
        0

    """
    places = [place for place, token_id in enumerate(input_ids) if token_id == image_token_id]
    length = places[-1] + 1 if places else 0
    return length if length < len(input_ids) else 0
