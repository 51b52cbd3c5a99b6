"""The types and protocols behind which the engine uses a family of models.

A family is a package of its own, such as `gemma4`, which loads into these types. Nothing else knows its
modules, its tokens or its template.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from transformers import Cache, DynamicCache

from gemma4_block.contract import FinishReason, ImageSeqLength, Prompt, RgbImage

AttentionMasks = Mapping[str, torch.Tensor | None]
"""For each kind of layer `(B, 1, Q, K)` bool, which keys each query sees; None where it sees all of them."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SpecialTokens:
    """The token ids that steer generation, read from checkpoint and tokenizer.

    Attributes:
        stop_ids: Any of them ends the reply.
        end_of_turn: The id that the model ends its turn with.
        pad_id: Pads the shorter sequences of a batch.
        image_id: Stands where a soft token of an image goes.
        opens_thought: Begins a thought; None for a tokenizer without thoughts.
        closes_thought: Ends it.
        control_ids: Every id that is a control token and no text.

    """

    stop_ids: frozenset[int]
    end_of_turn: int
    pad_id: int
    image_id: int
    opens_thought: int | None
    closes_thought: int | None
    control_ids: frozenset[int]


@dataclass(frozen=True, kw_only=True, slots=True)
class SamplingDefaults:
    """The sampling options of the checkpoint's generation config; None where it sets none."""

    temperature: float | None = None
    top_k: int | None = None
    top_p: float | None = None
    repetition_penalty: float | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Conversation:
    """A prompt as the checkpoint's template renders it.

    Attributes:
        input_ids: All token ids, image placeholders expanded.
        image_tokens: How many of them are image placeholders.

    """

    input_ids: tuple[int, ...]
    image_tokens: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Patches:
    """An image cut up for the vision tower.

    Attributes:
        pixel_values: `(P, C)` float32 without padding, on the CPU.
        position_ids: `(P, 2)` int64, column and row of each patch.
        soft_tokens: How many tokens the image takes in the prompt.

    """

    pixel_values: torch.Tensor
    position_ids: torch.Tensor
    soft_tokens: int


@dataclass(frozen=True, kw_only=True, slots=True)
class DecodedReply:
    """A generated sequence as text, cut where it ended.

    Attributes:
        thinking: The thoughts.
        text: The answer.
        finish_reason: Why it ended.
        output_tokens: How many ids belong to it, the one that ended it included.
        answer_places: Places in the sequence of the answer's tokens.

    """

    thinking: str
    text: str
    finish_reason: FinishReason
    output_tokens: int
    answer_places: tuple[int, ...]


class LanguageModel(Protocol):
    """The loaded model. Its calls must not overlap."""

    @property
    def device(self) -> torch.device:
        """Where it computes."""

    @property
    def nbytes(self) -> int:
        """Size of its weights in memory, without those of adapters that are added later."""

    @property
    def vocabulary_size(self) -> int:
        """Entries of its vocabulary, which may be more than the tokenizer's."""

    @property
    def sliding_window(self) -> int:
        """How many tokens a sliding layer sees, the token itself included."""

    @property
    def has_layers_without_cache(self) -> bool:
        """Whether upper layers keep no keys and values, so that only the last token needs them."""

    @property
    def most_rows_without_waiting(self) -> int | None:
        """Of how many rows a step of one token never waits for the device; None for any number."""

    def make_cache(self) -> DynamicCache:
        """Return an empty KV cache with the layers that this model needs."""

    def measure_cache(self, length: int) -> int:
        """Return how many bytes the KV cache of so many tokens takes."""

    def replace_placeholders(self, ids: Sequence[int]) -> list[int]:
        """Return generated ids with padding in the place of placeholders, which stand for nothing."""

    def encode_images(self, pixel_values: torch.Tensor, position_ids: torch.Tensor) -> Sequence[torch.Tensor]:
        """Return the features of images with equally many patches.

        Args:
            pixel_values: `(N, P, C)`.
            position_ids: `(N, P, 2)`.

        Returns:
            `(soft_tokens, hidden)` for each image.

        """

    def fill_cache_with_prompts(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor,
        features: Sequence[torch.Tensor],
        cache: DynamicCache,
    ) -> None:
        """Put all tokens but the last into the cache, through the layers that keep any.

        Args:
            input_ids: `(B, L)` int64, at least two, image placeholders included, padded on the left.
            attention_mask: `(B, L)` int64, 0 at padding.
            features: Of all images, in order.
            cache: Empty.

        """

    def read_prompts(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor,
        features: Sequence[torch.Tensor],
        cache: DynamicCache,
    ) -> torch.Tensor:
        """Put all tokens into the cache, and return the logits `(B, V)` float32 after the last."""

    def predict(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor,
        features: Sequence[torch.Tensor],
        *,
        last: int,
    ) -> torch.Tensor:
        """Return the logits float32 after the last tokens of whole texts, with gradients where they are on.

        Args:
            input_ids: `(B, L)` int64, image placeholders included, padded on the left.
            attention_mask: `(B, L)` int64, 0 at padding.
            features: Of all images, in order.
            last: After how many tokens logits are wanted, 1 to L.

        Returns:
            `(B, last, V)`.

        """

    def fill_cache(
        self,
        input_ids: torch.Tensor,
        masks: AttentionMasks,
        positions: torch.Tensor,
        cache: DynamicCache,
    ) -> None:
        """Put more tokens of text into the cache, through the layers that keep any.

        Args:
            input_ids: `(B, Q)` int64.
            masks: Which keys each of them sees.
            positions: `(B, Q)` int64, places in the text.
            cache: Grows.

        """

    def read_tokens(
        self,
        input_ids: torch.Tensor,
        masks: AttentionMasks,
        positions: torch.Tensor,
        cache: Cache,
        *,
        last: int,
    ) -> torch.Tensor:
        """Put more tokens of text into the cache, and return the logits float32 after the last of them.

        Args:
            input_ids: `(B, Q)` int64.
            masks: Which keys each of them sees.
            positions: `(B, Q)` int64, places in the text.
            cache: Takes their keys and values.
            last: After how many of them logits are wanted, 1 to Q.

        Returns:
            `(B, last, V)`.

        """


class ChatTemplate(Protocol):
    """Renders prompts in the form that the checkpoint was trained on. May be used from many threads."""

    def encode_text(self, text: str) -> tuple[int, ...]:
        """Return the ids of a text in which nothing is a control token."""

    def render(
        self, prompt: Prompt, soft_token_counts: Sequence[int], *, enable_thinking: bool
    ) -> Conversation:
        """Return the token ids of a prompt, ready for the model's turn.

        Args:
            prompt: The question.
            soft_token_counts: Soft tokens of each of its images.
            enable_thinking: Ask the template for the thinking form.

        Returns:
            The ids.

        Raises:
            CheckpointError: The template is missing or damaged.

        """


class ImageProcessor(Protocol):
    """Cuts images into patches. May be used from many threads."""

    @property
    def image_seq_length(self) -> ImageSeqLength:
        """The visual token budget where a prompt names none."""

    def cut(self, image: RgbImage, image_seq_length: ImageSeqLength) -> Patches:
        """Scale an image to its budget and cut it."""

    def count_soft_tokens(self, patches: int) -> int:
        """Return how many soft tokens so many patches become."""


class Detokenizer(Protocol):
    """Turns generated ids into thoughts and answers. May be used from many threads."""

    def read(self, ids: Sequence[int], stop: Sequence[str] = ()) -> DecodedReply:
        """Cut a generated sequence where it ended, and split it into thoughts and answer."""

    def read_raw(self, ids: Sequence[int]) -> str:
        """Return a generated sequence as text with all its control tokens."""

    def has_stop_text(self, ids: Sequence[int], stop: Sequence[str]) -> bool:
        """Say whether the last tokens of an answer hold one of the texts that end it.

        Args:
            ids: Of the answer, without thoughts; enough of them to hold the longest of the texts.
            stop: The texts.

        Returns:
            Whether one is there.

        """
