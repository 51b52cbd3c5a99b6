"""What the fields of a step may say, checked once their selectors are resolved."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Literal, TypeVar

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    JsonValue,
    StrictBool,
    StrictFloat,
    StrictInt,
    ValidationError,
)

from gemma4_block.contract import GenerationConfig, ImageSeqLength, Quantization
from gemma4_block.errors import ConfigurationError, PromptError
from gemma4_block.limits import Limits, check_limit
from gemma4_block.reading import BoxFormat
from gemma4_block.settings import get_generation_defaults, get_settings
from gemma4_block.tasks import TaskType, answer_schema
from gemma4_block.text_check import check_text

_T = TypeVar("_T")
_Form = TypeVar("_Form", bound=BaseModel)

ImageSeqLengthChoice = Literal["auto", ImageSeqLength]

# Source: our choice; a class is a name, and what needs a sentence belongs into a prompt.
_MAX_CLASS_CHARACTERS = 200


class GenerationFields(BaseModel):
    """The fields that say how to answer; `None` means the operator's default."""

    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=())

    max_new_tokens: StrictInt | None = None
    temperature: StrictFloat | None = None
    top_p: StrictFloat | None = None
    top_k: StrictInt | None = None
    seed: StrictInt | None = None
    enable_thinking: StrictBool | None = None
    max_thinking_tokens: StrictInt | None = None


class StepFields(GenerationFields):
    """The fields that are the same for all images of a step."""

    task_type: TaskType
    model_version: str
    quantization: Quantization
    image_seq_length: ImageSeqLengthChoice
    classes: Annotated[tuple[str, ...], BeforeValidator(lambda given: () if given is None else given)]
    output_structure: dict[str, JsonValue] | None
    box_format: BoxFormat


def read_fields(values: Mapping[str, object]) -> StepFields:
    """Check the values that a workflow gave at run time.

    Args:
        values: Field name to value, all of them.

    Returns:
        The same, with certain types.

    Raises:
        ConfigurationError: One of them has the wrong type, is none of the choices, or is above a limit of
            the operator.

    """
    fields = read_form(StepFields, values)
    check_classes(fields.classes)
    check_structure(fields.output_structure)
    return fields


def read_form(form: type[_Form], values: Mapping[str, object]) -> _Form:
    """Check the types of the values that a workflow gave at run time, and what is a choice among few.

    Args:
        form: What they may be.
        values: Field name to value, all of them.

    Returns:
        The same, with certain types.

    Raises:
        ConfigurationError: One of them has the wrong type, or is none of the choices.

    """
    try:
        return form.model_validate(values)
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
    defaults, settings = get_generation_defaults(), get_settings()
    temperature = fields.temperature
    if temperature is None and defaults.do_sample:
        temperature = defaults.temperature
    is_sampled = temperature is not None and temperature != 0
    check_limit("max_new_tokens", fields.max_new_tokens, settings.max_new_tokens)
    check_limit("max_thinking_tokens", fields.max_thinking_tokens, settings.max_thinking_tokens)
    enable_thinking = _first(fields.enable_thinking, defaults.enable_thinking)
    return GenerationConfig(
        max_new_tokens=_first(fields.max_new_tokens, min(defaults.max_new_tokens, settings.max_new_tokens)),
        do_sample=is_sampled,
        temperature=temperature if is_sampled else None,
        # Without chance a given value stays, and is refused because it would do nothing.
        top_p=_first(fields.top_p, defaults.top_p if is_sampled else None),
        top_k=_first(fields.top_k, defaults.top_k if is_sampled else None),
        seed=fields.seed,
        enable_thinking=enable_thinking,
        # Thoughts have an allowance of their own, so that they cannot eat the answer.
        max_thinking_tokens=_first(
            fields.max_thinking_tokens, settings.max_thinking_tokens if enable_thinking else None
        ),
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


def check_classes(classes: Sequence[str]) -> None:
    """Refuse classes that cannot be asked for.

    Args:
        classes: What the workflow gave; may be empty.

    Raises:
        ConfigurationError: There are too many, or one is blank, too long, or there twice.

    """
    limit = get_settings().max_classes
    if len(classes) > limit:
        raise ConfigurationError(
            f"There are {len(classes)} classes; this machine allows {limit}. Ask for fewer at once, or raise "
            "GEMMA4_BLOCK_MAX_CLASSES."
        )
    for place, name in enumerate(classes):
        if not name.strip():
            raise ConfigurationError(
                f"Class {place + 1} of {len(classes)} is blank. Name it, or leave it out."
            )
        if len(name) > _MAX_CLASS_CHARACTERS:
            raise ConfigurationError(
                f"The class {name[:40]!r}... has {len(name)} characters; {_MAX_CLASS_CHARACTERS} are "
                "allowed. Shorten it."
            )
        check_text(f"class {name!r}", name, max_characters=_MAX_CLASS_CHARACTERS)
        if name in classes[:place]:
            raise ConfigurationError(f"The class {name!r} is there twice. List each class once.")


def check_structure(structure: dict[str, JsonValue] | None) -> None:
    """Refuse an output structure that no answer can be held to.

    Args:
        structure: Field names with descriptions, or a JSON Schema; None and an empty one mean none.

    Raises:
        ConfigurationError: It is too long, or no usable schema.

    """
    if structure:
        Limits.of_requests(get_settings()).check_schema(answer_schema(structure))


def _first(given: _T | None, default: _T) -> _T:
    return default if given is None else given
