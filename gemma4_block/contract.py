"""The values that pass between rooms, and what an engine is."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, get_args

import numpy as np
import numpy.typing as npt

from gemma4_block.errors import ConfigurationError, PromptError

RgbImage = npt.NDArray[np.uint8]
"""`(H, W, 3)` uint8, RGB."""

ImageSeqLength = Literal[70, 140, 280, 560, 1120]
"""Most soft tokens that one image may become. Source: image_processing_gemma4.py of transformers 5.15."""

FinishReason = Literal["stop", "length", "deadline", "cancelled"]
"""`stop`: the model ended its turn or met a stop string; `length`: it ran into `max_new_tokens`; `deadline`:
its time was up; `cancelled`: the caller did not want it. After all but the first the answer is cut off."""

Quantization = Literal["auto", "none", "nf4"]
"""`auto`: NF4 on CUDA, none on the CPU, as inference_models does; `none`: the checkpoint's precision."""

DEFAULT_MAX_NEW_TOKENS = 512
"""Source: inference_models/configuration.py, version 0.39.5."""

_CUTS: dict[FinishReason, str] = {
    "length": "The answer was cut off at max_new_tokens. Raise max_new_tokens, or ask for less.",
    "deadline": "The answer was cut off because its time was up. Ask for less, or raise "
    "GEMMA4_BLOCK_MAX_SECONDS.",
    "cancelled": "The answer was cut off because it was cancelled.",
}

TEMPERATURE_RANGE = (0.001, 100.0)
REPETITION_PENALTY_RANGE = (0.1, 10.0)
"""Beyond these, float32 logits overflow or all become the same."""

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

    """

    text: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Choices:
    """The answer is one alternative of each group; every alternative is scored as what the model says first.

    Groups do not know of each other: each is scored right after the prompt.

    Attributes:
        groups: At least one group of at least one text, none of which is empty.
        schema: What an engine that cannot score is held to instead; its answer is then JSON.

    """

    groups: tuple[tuple[str, ...], ...]
    schema: JsonSchema

    def __post_init__(self) -> None:
        """Refuse what leaves nothing to choose from.

        Raises:
            ConfigurationError: A group or a text is empty, or there is no group.

        """
        is_full = all(group and all(group) for group in self.groups)
        _check(bool(self.groups) and is_full, "groups", self.groups, "groups of texts, none of them empty")


Constraint = JsonSchema | Choices
"""What an answer may be. It binds the answer, not the thoughts before it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TokenScore:
    """How sure the model was of one token of its answer.

    Attributes:
        start: Where the token's text begins in the answer's text, in characters.
        end: Where it ends.
        log_probability: Natural logarithm of its probability among the tokens that the constraint allowed
            there, at temperature 1.

    """

    start: int
    end: int
    log_probability: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Prompt:
    """One question to the model.

    Attributes:
        text: What the user asks; plain text, control tokens in it are read as text.
        images: Zero, one or many; they come before the text.
        system: Text of the system turn; None means no system turn.
        image_seq_length: Visual token budget per image; None means the checkpoint's own.
        constraint: What the answer may be; None means anything.
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


@dataclass(frozen=True, kw_only=True, slots=True)
class GenerationConfig:
    """How to answer. `None` means what the checkpoint's generation_config.json says.

    Attributes:
        max_new_tokens: Most tokens of the answer, at least 1; of thought and answer together where
            `max_thinking_tokens` is None.
        max_thinking_tokens: With `enable_thinking` only: most tokens of thought, at least 1. Then the thought
            is closed and the answer begins. None means no allowance of its own.
        do_sample: Draw tokens by chance; False always takes the likeliest.
        temperature: 0.001 to 100, with `do_sample` only. Higher is more varied.
        top_p: In (0, 1], with `do_sample` only. Keep the likeliest tokens that add up to this.
        top_k: At least 1, with `do_sample` only. Keep this many of the likeliest tokens.
        repetition_penalty: 0.1 to 10; more than 1 makes repeats less likely. None means none.
        seed: 0 to 2**63 - 1, with `do_sample` only; the same seed draws the same tokens.
        stop: Texts that end the answer; what is returned ends before the first of them.
        enable_thinking: Let the model write thoughts before its answer.

    """

    max_new_tokens: int = DEFAULT_MAX_NEW_TOKENS
    do_sample: bool = False
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    repetition_penalty: float | None = None
    seed: int | None = None
    stop: tuple[str, ...] = ()
    enable_thinking: bool = False
    max_thinking_tokens: int | None = None

    def __post_init__(self) -> None:
        """Refuse combinations that cannot be meant.

        Raises:
            ConfigurationError: A value is out of range, or needs sampling while sampling is off.

        """
        _check(self.max_new_tokens >= 1, "max_new_tokens", self.max_new_tokens, "1 or more")
        sampling = {name: getattr(self, name) for name in ("temperature", "top_p", "top_k", "seed")}
        for name, value in sampling.items():
            if value is not None and not self.do_sample:
                raise ConfigurationError(
                    f"{name} is {value!r} while sampling is off, where it would do nothing. "
                    f"Leave {name} out, or turn sampling on with a temperature above 0."
                )
        if self.temperature is not None:
            low, high = TEMPERATURE_RANGE
            allowed = f"{low} to {high}; for the likeliest answer every time, turn sampling off instead"
            _check(low <= self.temperature <= high, "temperature", self.temperature, allowed)
        if self.top_p is not None:
            _check(0 < self.top_p <= 1, "top_p", self.top_p, "above 0 and at most 1")
        if self.top_k is not None:
            _check(self.top_k >= 1, "top_k", self.top_k, "1 or more")
        if self.repetition_penalty is not None:
            low, high = REPETITION_PENALTY_RANGE
            is_allowed = low <= self.repetition_penalty <= high
            _check(is_allowed, "repetition_penalty", self.repetition_penalty, f"{low} to {high}")
        if self.seed is not None:
            _check(0 <= self.seed < 2**63, "seed", self.seed, "0 to 2**63 - 1")
        if self.max_thinking_tokens is not None:
            allowance = self.max_thinking_tokens
            _check(allowance >= 1, "max_thinking_tokens", allowance, "1 or more")
            if not self.enable_thinking:
                raise ConfigurationError(
                    f"max_thinking_tokens is {allowance} while thinking is off, where it would do nothing. "
                    "Leave it out, or turn enable_thinking on."
                )
        is_texts = isinstance(self.stop, tuple) and all(isinstance(text, str) and text for text in self.stop)
        _check(is_texts, "stop", self.stop, "a tuple of texts of at least one character")


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """What the model said to one prompt.

    Attributes:
        text: The answer without thoughts, control tokens and outer white space.
        thinking: The thoughts; empty where there were none.
        finish_reason: Why it ended.
        input_tokens: Tokens of the rendered prompt, soft tokens of images included.
        output_tokens: Tokens generated, thoughts and the end of the turn included.
        image_tokens: Soft tokens of all images of the prompt.
        token_scores: One for each token of the text, in order, where the prompt needed them; None where it
            did not, or where the engine cannot tell.
        choice_probabilities: For each group of the prompt's `Choices` the probability of each alternative,
            in order, adding up to 1; None without choices, or where the engine cannot score. The text is
            then the chosen alternatives, one on a line.

    """

    text: str
    thinking: str
    finish_reason: FinishReason
    input_tokens: int
    output_tokens: int
    image_tokens: int
    token_scores: tuple[TokenScore, ...] | None = None
    choice_probabilities: tuple[tuple[float, ...], ...] | None = None

    @property
    def cut_off(self) -> str | None:
        """Why the answer is not whole, and what to do about it; None where it is."""
        return _CUTS.get(self.finish_reason)


class Engine(Protocol):
    """Whatever runs the model."""

    @property
    def image_seq_lengths(self) -> tuple[ImageSeqLength, ...]:
        """The visual token budgets that the checkpoint was trained for, smallest first."""

    def answer(self, prompts: Sequence[Prompt], generation: GenerationConfig) -> "list[Answer | PromptError]":
        """Answer many prompts at once.

        Args:
            prompts: Any number, with images of any sizes and counts.
            generation: How to answer all of them.

        Returns:
            One entry for each prompt, in the same order. A prompt that cannot be asked has its error in
            its own place; the others are answered.

        Raises:
            EngineError: The engine itself failed.

        """


class EngineProvider(Protocol):
    """Where a block gets its engine from."""

    def get(self, model_version: str, quantization: Quantization) -> Engine:
        """Return the process's one engine for a model, loading it where needed; blocks while it loads.

        Args:
            model_version: A variant id, `gemma-4-demo`, a fine-tuned `project/version`, or a directory
                under one of the operator's roots.
            quantization: Precision of the weights.

        Returns:
            The same object at every call with the same model and precision.

        Raises:
            ConfigurationError: The id is unknown or may not be used, or the precision cannot work.
            CheckpointError: The weights are missing, incomplete or damaged.

        """


def _check(is_allowed: bool, name: str, value: object, allowed: str) -> None:  # noqa: FBT001 - a condition
    if not is_allowed:
        raise ConfigurationError(f"{name} is {value!r}; it must be {allowed}.")
