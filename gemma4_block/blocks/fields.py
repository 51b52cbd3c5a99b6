"""What the fields of a step may say, checked once their selectors are resolved."""

from collections.abc import Mapping
from typing import Literal, TypeVar

from pydantic import BaseModel, ConfigDict, StrictBool, StrictFloat, StrictInt, ValidationError

from gemma4_block.contract import GenerationConfig, ImageSeqLength, Quantization, check_text
from gemma4_block.errors import ConfigurationError, PromptError
from gemma4_block.settings import get_generation_defaults, get_settings
from gemma4_block.tasks import TaskType

_T = TypeVar("_T")

ImageSeqLengthChoice = Literal["auto", ImageSeqLength]


class GenerationFields(BaseModel):
    """The fields that say how to answer; `None` means the operator's default."""

    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=())

    max_new_tokens: StrictInt | None = None
    temperature: StrictFloat | None = None
    top_p: StrictFloat | None = None
    top_k: StrictInt | None = None
    seed: StrictInt | None = None
    enable_thinking: StrictBool | None = None


class StepFields(GenerationFields):
    """The fields that are the same for all images of a step."""

    task_type: TaskType
    model_version: str
    quantization: Quantization
    image_seq_length: ImageSeqLengthChoice


def read_fields(values: Mapping[str, object]) -> StepFields:
    """Check the values that a workflow gave at run time.

    Args:
        values: Field name to value, all of them.

    Returns:
        The same, with certain types.

    Raises:
        ConfigurationError: One of them has the wrong type, or is none of the choices.

    """
    try:
        return StepFields.model_validate(values)
    except ValidationError as error:
        # A choice among several types fails once for each of them; the last says what a number may be.
        problems = {str(detail["loc"][0]): detail for detail in error.errors()}
        raise ConfigurationError(
            "; ".join(f"{name} is {detail['input']!r}: {detail['msg']}" for name, detail in problems.items())
        ) from error


def plan_generation(fields: GenerationFields) -> GenerationConfig:
    """Fill what a step leaves open with the operator's defaults.

    Args:
        fields: What the step says.

    Returns:
        How to answer.

    Raises:
        ConfigurationError: A value is out of range or above the operator's limit, or does nothing
            beside the others.

    """
    defaults, limit = get_generation_defaults(), get_settings().max_new_tokens
    temperature = fields.temperature
    if temperature is None and defaults.do_sample:
        temperature = defaults.temperature
    is_sampled = temperature is not None and temperature != 0
    if fields.max_new_tokens is not None and fields.max_new_tokens > limit:
        raise ConfigurationError(
            f"max_new_tokens is {fields.max_new_tokens}; this machine allows {limit}. Ask for fewer, or "
            "raise GEMMA4_BLOCK_MAX_NEW_TOKENS."
        )
    return GenerationConfig(
        max_new_tokens=_first(fields.max_new_tokens, min(defaults.max_new_tokens, limit)),
        do_sample=is_sampled,
        temperature=temperature if is_sampled else None,
        # Without chance a given value stays, and is refused because it would do nothing.
        top_p=_first(fields.top_p, defaults.top_p if is_sampled else None),
        top_k=_first(fields.top_k, defaults.top_k if is_sampled else None),
        seed=fields.seed,
        enable_thinking=_first(fields.enable_thinking, defaults.enable_thinking),
    )


def read_text(name: str, text: object) -> str | None:
    """Check a prompt or system prompt.

    Args:
        name: What a message calls it.
        text: What the workflow gave.

    Returns:
        The same text.

    Raises:
        PromptError: It is no text, too long, or holds what is no character.

    """
    if text is None:
        return None
    if not isinstance(text, str):
        raise PromptError(f"The {name} is a {type(text).__name__}; it must be text.")
    check_text(name, text, max_characters=get_settings().max_prompt_characters)
    return text


def _first(given: _T | None, default: _T) -> _T:
    return default if given is None else given
