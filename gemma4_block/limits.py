"""Check every call of an engine: what the operator allows, and what the engine can do."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from threading import Event

from gemma4_block.capability import check_can_answer, check_can_generate
from gemma4_block.contract import Answer, Engine, GenerationConfig, JsonSchema, Prompt
from gemma4_block.errors import ConfigurationError, PromptError
from gemma4_block.images import to_rgb
from gemma4_block.json_schema import compile_schema, relax_schema
from gemma4_block.settings import Settings
from gemma4_block.waiting import PROMPTS


@dataclass(frozen=True, kw_only=True, slots=True)
class Limits:
    """How much may be asked for; see the settings of the same names. None means no limit.

    Attributes:
        max_prompt_characters: Of a prompt and of a system prompt.
        max_schema_characters: Of a JSON Schema.
        max_image_pixels: Width times height of an image.
        max_classes: Of one step.
        max_images_per_prompt: Of one prompt.
        max_new_tokens: Of one answer.
        max_thinking_tokens: Of the thoughts before one answer.
        max_seconds: For all answers of a call.
        max_waiting: Prompts of all callers at the same time.
        max_waiting_bytes: Of their images' pixels.

    """

    max_prompt_characters: int
    max_schema_characters: int
    max_image_pixels: int
    max_classes: int | None = None
    max_images_per_prompt: int | None = None
    max_new_tokens: int | None = None
    max_thinking_tokens: int | None = None
    max_seconds: float | None = None
    max_waiting: int | None = None
    max_waiting_bytes: int | None = None

    @classmethod
    def of_requests(cls, settings: Settings) -> "Limits":
        """Return the limits of requests, which come from anybody."""
        return cls(
            max_prompt_characters=settings.max_prompt_characters,
            max_schema_characters=settings.max_schema_characters,
            max_image_pixels=settings.max_image_pixels,
            max_classes=settings.max_classes,
            max_images_per_prompt=settings.max_images_per_prompt,
            max_new_tokens=settings.max_new_tokens,
            max_thinking_tokens=settings.max_thinking_tokens,
            max_seconds=_none_where_zero(settings.max_seconds),
            max_waiting=settings.max_waiting,
            max_waiting_bytes=settings.max_waiting_bytes,
        )

    @classmethod
    def of_process(cls, settings: Settings) -> "Limits":
        """Return the limits of this process's own program, which may ask for as much as it waits for.

        Its time is limited only where the operator did that: a default would cut off long work.
        """
        is_time_limited = "max_seconds" in settings.model_fields_set
        return cls(
            max_prompt_characters=settings.max_prompt_characters,
            max_schema_characters=settings.max_schema_characters,
            max_image_pixels=settings.max_image_pixels,
            max_seconds=_none_where_zero(settings.max_seconds) if is_time_limited else None,
        )

    def check_generation(self, generation: GenerationConfig) -> None:
        """Refuse answers that are longer than allowed.

        Args:
            generation: How to answer.

        Raises:
            ConfigurationError: They are.

        """
        check_limit("max_new_tokens", generation.max_new_tokens, self.max_new_tokens)
        check_limit("max_thinking_tokens", generation.max_thinking_tokens, self.max_thinking_tokens)

    def check_prompt(self, prompt: Prompt) -> Prompt:
        """Refuse a prompt that is empty, larger than allowed, or held to a schema that cannot be used.

        Args:
            prompt: What is to be asked.

        Returns:
            The same, held to as much of its schema as can be ensured where the rest is checked later.

        Raises:
            PromptError: It is.

        """
        if not prompt.text.strip():
            raise PromptError("The prompt is empty; write a question or an instruction.")
        for name, text in (("prompt", prompt.text), ("system prompt", prompt.system)):
            if text is not None:
                check_text(name, text, max_characters=self.max_prompt_characters)
        count, most = len(prompt.images), self.max_images_per_prompt
        if most is not None and count > most:
            raise PromptError(
                f"The prompt has {count} images; this machine allows {most}. Ask about fewer at once, or "
                "raise GEMMA4_BLOCK_MAX_IMAGES_PER_PROMPT."
            )
        for image in prompt.images:
            # Whatever else was given is refused here, before any engine meets it.
            height, width = to_rgb(image, "rgb").shape[:2]
            self.check_image_size(width, height)
        # `Choices` are scored and need no grammar; their own schema is for engines that cannot score.
        if not isinstance(prompt.constraint, JsonSchema):
            return prompt
        try:
            return replace(prompt, constraint=self.check_schema(prompt.constraint))
        except ConfigurationError as error:
            raise PromptError(str(error)) from error

    def check_classes(self, classes: Sequence[str]) -> None:
        """Refuse more classes than allowed.

        Args:
            classes: Of a step.

        Raises:
            ConfigurationError: There are.

        """
        if self.max_classes is not None and len(classes) > self.max_classes:
            raise ConfigurationError(
                f"There are {len(classes)} classes; this machine allows {self.max_classes}. Ask for fewer at "
                "once, or raise GEMMA4_BLOCK_MAX_CLASSES."
            )

    def check_schema(self, schema: JsonSchema) -> JsonSchema:
        """Refuse a JSON Schema that no answer can be held to.

        Args:
            schema: What an answer must match.

        Returns:
            The same, or what of it can be ensured while an answer is written where the rest is checked later.

        Raises:
            ConfigurationError: It is too long, is no JSON Schema, or asks for what cannot be ensured.

        """
        if len(schema.text) > self.max_schema_characters:
            raise ConfigurationError(
                f"The JSON Schema has {len(schema.text)} characters; {self.max_schema_characters} are "
                "allowed. Shorten it, or raise GEMMA4_BLOCK_MAX_SCHEMA_CHARACTERS."
            )
        if schema.is_checked_later:
            return JsonSchema(text=relax_schema(schema.text))
        compile_schema(schema.text)
        return schema

    def find_deadline(self, max_seconds: float | None = None) -> float | None:
        """Return when a call that begins now must end.

        Args:
            max_seconds: What the caller wants; the limit cannot be exceeded.

        Returns:
            By `time.monotonic`; None for never.

        """
        allowed = [seconds for seconds in (max_seconds, self.max_seconds) if seconds is not None]
        return time.monotonic() + min(allowed) if allowed else None

    def check_image_size(self, width: int, height: int) -> None:
        """Refuse an image that is larger than allowed.

        Args:
            width: In pixels.
            height: In pixels.

        Raises:
            PromptError: It is.

        """
        if height * width > self.max_image_pixels:
            raise PromptError(
                f"The image is {width} x {height} pixels; {self.max_image_pixels} in all are "
                "allowed. Shrink it first, or raise GEMMA4_BLOCK_MAX_IMAGE_PIXELS."
            )


def check_text(name: str, text: str, *, max_characters: int) -> None:
    """Refuse a text that the model cannot be asked.

    Args:
        name: Its name in messages.
        text: What a user wrote.
        max_characters: The operator's limit.

    Raises:
        PromptError: It is too long, or holds half a surrogate pair, which is no character.

    """
    if len(text) > max_characters:
        raise PromptError(
            f"The {name} has {len(text)} characters; {max_characters} are allowed. Shorten it, or raise "
            "GEMMA4_BLOCK_MAX_PROMPT_CHARACTERS."
        )
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise PromptError(
            f"The {name} holds {text[error.start]!r} at character {error.start}, half a surrogate pair. Send "
            "whole characters."
        ) from error


def _none_where_zero(seconds: float) -> float | None:
    return None if seconds == 0 else seconds


def check_limit(name: str, value: int | None, limit: int | None) -> None:
    """Refuse a number above the operator's limit.

    Args:
        name: Of the field and of the setting.
        value: What was asked for; None means nothing.
        limit: The highest; None means none.

    Raises:
        ConfigurationError: It is above.

    """
    if value is not None and limit is not None and value > limit:
        raise ConfigurationError(
            f"{name} is {value}; this machine allows {limit}. Ask for fewer, or raise "
            f"GEMMA4_BLOCK_{name.upper()}."
        )


def ask(
    engine: Engine,
    asked: Sequence[Prompt | PromptError],
    generation: GenerationConfig,
    *,
    limits: Limits,
    max_seconds: float | None = None,
    cancelled: Event | None = None,
) -> list[Answer | PromptError]:
    """Ask an engine all prompts that are allowed, in one call; where there are none, do not call it.

    Args:
        engine: Runs the model.
        asked: Prompts, and in the places of others why they cannot be asked.
        generation: How to answer.
        limits: What is allowed.
        max_seconds: The longest to wait; answers that are not ready then end where they stand.
        cancelled: Set by another thread to end all answers where they stand.

    Returns:
        One entry for each, in order: the answer, or the error that was there, that a limit raised, or that
        the engine gave.

    Raises:
        ConfigurationError: The generation asks for more than is allowed, or for what the engine cannot do, or
            there are more prompts or pixels than may ever wait.
        EngineBusyError: Too much waits already.
        EngineError: The engine itself failed.

    """
    limits.check_generation(generation)
    check_can_generate(engine.capabilities, generation)
    checked = [_check(one, engine, limits) for one in asked]
    prompts = [one for one in checked if isinstance(one, Prompt)]
    deadline = limits.find_deadline(max_seconds)
    with PROMPTS.wait(
        len(prompts),
        sum(image.nbytes for prompt in prompts for image in prompt.images),
        max_count=limits.max_waiting,
        max_bytes=limits.max_waiting_bytes,
    ):
        answers = iter(
            engine.answer(prompts, generation, deadline=deadline, cancelled=cancelled) if prompts else []
        )
    return [next(answers) if isinstance(one, Prompt) else one for one in checked]


def _check(one: Prompt | PromptError, engine: Engine, limits: Limits) -> Prompt | PromptError:
    if isinstance(one, PromptError):
        return one
    try:
        checked = limits.check_prompt(one)
        check_can_answer(engine.capabilities, checked)
    except PromptError as error:
        return error
    return checked
