"""The prompt to a model: text, images, visual token budget, and the constraint on the answer."""

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt

from gemma4_block.errors import ConfigurationError

RgbImage = npt.NDArray[np.uint8]
"""`(H, W, 3)` uint8, RGB."""

ImageSeqLength = Literal[70, 140, 280, 560, 1120]
"""Most soft tokens that one image may become.

Source: transformers/models/gemma4/image_processing_gemma4.py of transformers 5.15."""

IMAGE_SEQ_LENGTHS: tuple[ImageSeqLength, ...] = get_args(ImageSeqLength)


def check_image_seq_length(value: int) -> ImageSeqLength:
    """Return `value` as a visual token budget.

    Args:
        value: What a caller or a field said.

    Returns:
        The same number.

    Raises:
        ConfigurationError: It is none of the five that Gemma 4 knows.

    """
    for allowed in IMAGE_SEQ_LENGTHS:
        if value == allowed and not isinstance(value, bool):
            return allowed
    raise ConfigurationError(
        f"image_seq_length is {value!r}; Gemma 4 knows {', '.join(map(str, IMAGE_SEQ_LENGTHS))}. "
        "Take a small one for captions and classes, a large one for text and small objects."
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class JsonSchema:
    """The answer is JSON that matches a schema, in the form that `json.dumps` writes.

    Attributes:
        text: The schema as JSON text.
        is_checked_later: Whether who asks checks the answer too. What cannot be ensured while an answer is
            written is then left out before an engine sees the schema, and is refused otherwise.

    """

    text: str
    is_checked_later: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Choices:
    """The answer is one alternative of each group; every alternative is scored as what the model says first.

    Groups do not know of each other: each is scored right after the prompt.

    Attributes:
        groups: At least one group of at least one text, none of which is empty.
        schema: The constraint for an engine that cannot score; its answer is then JSON.
        lead: What every text begins with and the model is taken to have said: how likely it would be to say
            this does not count.
        rest: The place in every group of the alternative that stands for all that the model might say after
            the lead beside the others; None where all of them mean themselves alone.

    """

    groups: tuple[tuple[str, ...], ...]
    schema: JsonSchema
    lead: str = ""
    rest: int | None = None

    def __post_init__(self) -> None:
        """Refuse groups that leave nothing to choose from.

        Raises:
            ConfigurationError: A group is empty, or there is none; a text does not begin with the lead, or is
                no more than that; there is no alternative at the place of the rest.

        """
        if not self.groups or not all(self.groups):
            raise ConfigurationError(f"groups is {self.groups!r}; it must be groups of texts.")
        for text in (text for group in self.groups for text in group):
            if not text.startswith(self.lead) or text == self.lead:
                raise ConfigurationError(
                    f"groups has {text!r}; each text must begin with the lead, {self.lead!r}, and go on."
                )
        if self.rest is not None and not all(0 <= self.rest < len(group) for group in self.groups):
            raise ConfigurationError(f"rest is {self.rest}; every group must have an alternative there.")


Constraint = JsonSchema | Choices
"""The constraint on an answer. It does not bind the thoughts before it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Prompt:
    """One question to the model.

    Attributes:
        text: What the user asks; plain text, control tokens in it are read as text.
        images: Zero, one or many; they come before the text.
        system: Text of the system turn; None means no system turn.
        image_seq_length: Visual token budget per image; None means the checkpoint's own.
        constraint: On the answer; None allows anything.
        needs_token_scores: Whether the answer should say how sure the model was of each of its tokens.

    """

    text: str
    images: tuple[RgbImage, ...] = ()
    system: str | None = None
    image_seq_length: ImageSeqLength | None = None
    constraint: Constraint | None = None
    needs_token_scores: bool = False

    def __post_init__(self) -> None:
        """Refuse a budget that Gemma 4 does not know.

        Raises:
            ConfigurationError: It is none of the five.

        """
        if self.image_seq_length is not None:
            check_image_seq_length(self.image_seq_length)
