"""What the fields of a step may say, checked once their selectors are resolved."""

from collections.abc import Mapping
from typing import Literal

from pydantic import BaseModel, ConfigDict, StrictBool, StrictFloat, StrictInt, ValidationError

from gemma4_block.contract import GenerationConfig, ImageSeqLength, Quantization
from gemma4_block.errors import ConfigurationError, PromptError
from gemma4_block.settings import get_generation_defaults, get_settings
from gemma4_block.tasks import TaskType

ImageSeqLengthChoice = Literal["auto"] | ImageSeqLength


class StepFields(BaseModel):
    """The fields that are the same for all images of a step; `None` means the operator's default."""

    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=())

    task_type: TaskType
    model_version: str
    quantization: Quantization
    image_seq_length: ImageSeqLengthChoice
    max_new_tokens: StrictInt | None
    temperature: StrictFloat | None
    top_p: StrictFloat | None
    top_k: StrictInt | None
    seed: StrictInt | None
    enable_thinking: StrictBool | None


def read_fields(values: Mapping[str, object]) -> StepFields:
    """Check the values that a workflow gave at run time.

    Raises:
        ConfigurationError: One of them has the wrong type, or is none of the choices.

    """
    try:
        return StepFields.model_validate(values)
    except ValidationError as error:
        # A choice among several types fails once for each of them; the first says enough.
        problems = {str(detail["loc"][0]): detail for detail in reversed(error.errors())}
        raise ConfigurationError(
            "; ".join(
                f"{name} is {detail['input']!r}: {detail['msg']}"
                for name, detail in reversed(problems.items())
            )
        ) from error


def plan_generation(
    *,
    max_new_tokens: int | None,
    temperature: float | None,
    top_p: float | None,
    top_k: int | None,
    seed: int | None,
    enable_thinking: bool | None,
) -> GenerationConfig:
    """Fill what a step leaves open with the operator's defaults.

    Args:
        max_new_tokens: Most tokens of an answer.
        temperature: 0 takes the likeliest token every time; above 0 draws by chance.
        top_p: With chance only.
        top_k: With chance only.
        seed: With chance only.
        enable_thinking: Let the model think first.

    Returns:
        How to answer.

    Raises:
        ConfigurationError: A value is out of range or above the operator's limit, or does nothing
            beside the others.

    """
    defaults, limit = get_generation_defaults(), get_settings().max_new_tokens
    if max_new_tokens is None:
        max_new_tokens = min(defaults.max_new_tokens, limit)
    if max_new_tokens > limit:
        raise ConfigurationError(
            f"max_new_tokens is {max_new_tokens}; this machine allows {limit}. Ask for fewer, or raise "
            "GEMMA4_BLOCK_MAX_NEW_TOKENS."
        )
    if temperature is None and defaults.do_sample:
        temperature = defaults.temperature
    is_sampled = temperature is not None and temperature != 0
    if is_sampled:
        top_p = defaults.top_p if top_p is None else top_p
        top_k = defaults.top_k if top_k is None else top_k
    return GenerationConfig(
        max_new_tokens=max_new_tokens,
        do_sample=is_sampled,
        temperature=temperature if is_sampled else None,
        top_p=top_p,
        top_k=top_k,
        seed=seed,
        enable_thinking=defaults.enable_thinking if enable_thinking is None else enable_thinking,
    )


def check_text(name: str, text: object) -> str | None:
    """Return a prompt or system prompt.

    Raises:
        PromptError: It is no text, or longer than the operator allows.

    """
    if text is None:
        return None
    if not isinstance(text, str):
        raise PromptError(f"The {name} is a {type(text).__name__}; it must be text.")
    limit = get_settings().max_prompt_characters
    if len(text) > limit:
        raise PromptError(
            f"The {name} has {len(text)} characters; {limit} are allowed. Shorten it, or raise "
            "GEMMA4_BLOCK_MAX_PROMPT_CHARACTERS."
        )
    return text
