"""Check the fields of a step, once their selectors are resolved."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Literal, TypeVar

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    JsonValue,
    StrictBool,
    StrictFloat,
    StrictInt,
    ValidationError,
)

from gemma4_block.contract import GenerationConfig, ImageSeqLength, Quantization
from gemma4_block.errors import ConfigurationError, PromptError
from gemma4_block.limits import Limits, check_limit, check_text
from gemma4_block.reading import BoxFormat
from gemma4_block.settings import get_generation_defaults, get_settings
from gemma4_block.tasks import GroupTaskType, TaskType, answer_schema

_T = TypeVar("_T")
_Fields = TypeVar("_Fields", bound="StepFields")

ImageSeqLengthChoice = Literal["auto", ImageSeqLength]

KeepAliveChoice = Literal["forever"] | Annotated[StrictInt | StrictFloat, Field(ge=0)]
"""How many seconds a model stays loaded after a step."""

WhenTooMany = Literal["refuse", "sample"]
"""`refuse`: the group is not asked about; `sample`: an evenly spread selection of its images is."""

DEFAULT_MAX_IMAGES = 8
"""At 280 tokens each their prefill takes about as long as that of a page of text."""

# A class is a name; a whole sentence belongs in a prompt.
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
    """The fields that every step with a model has, and that are the same for all its questions."""

    task_type: TaskType
    model_version: str
    quantization: Quantization
    keep_alive: KeepAliveChoice | None
    image_seq_length: ImageSeqLengthChoice
    output_structure: dict[str, JsonValue] | None


class ImageFields(StepFields):
    """The fields that are the same for all images of a step."""

    classes: Annotated[tuple[str, ...], BeforeValidator(lambda given: () if given is None else given)]
    box_format: BoxFormat


class GroupFields(StepFields):
    """The fields that are the same for all groups of images of a step."""

    task_type: GroupTaskType
    max_images: StrictInt | None
    when_too_many: WhenTooMany


def read_fields(form: type[_Fields], values: Mapping[str, object]) -> _Fields:
    """Check the values that a workflow gave at run time.

    Args:
        form: The fields that there are, and their types.
        values: Field name to value, all of them.

    Returns:
        The same, with certain types.

    Raises:
        ConfigurationError: One of them is no field of the step, has the wrong type, is none of the choices,
            or is above a limit of the operator.

    """
    try:
        fields = form.model_validate(values)
    except ValidationError as error:
        # A choice among several types fails once for each of them; the last says what a number may be.
        problems = {str(detail["loc"][0]): detail for detail in error.errors()}
        raise ConfigurationError(
            "; ".join(f"{name} is {detail['input']!r}: {detail['msg']}" for name, detail in problems.items())
        ) from error
    check_structure(fields.output_structure)
    return fields


def resolve_generation(fields: GenerationFields) -> GenerationConfig:
    """Fill what a step leaves open with the operator's defaults.

    Args:
        fields: Of the step.

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


def resolve_max_images(given: int | None) -> int:
    """Return the most images of one question.

    Args:
        given: What the step says; None means the default, or the operator's limit where that is lower.

    Returns:
        1 or more.

    Raises:
        ConfigurationError: It is below 1, or above the operator's limit.

    """
    limit = get_settings().max_images_per_prompt
    if given is None:
        return min(DEFAULT_MAX_IMAGES, limit)
    if not 1 <= given <= limit:
        raise ConfigurationError(
            f"max_images is {given}; this machine allows 1 to {limit}. Ask about fewer at once, or raise "
            "GEMMA4_BLOCK_MAX_IMAGES_PER_PROMPT."
        )
    return given


def read_text(name: str, text: object) -> str | None:
    """Check a prompt or system prompt.

    Args:
        name: Its name in messages.
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
    Limits.of_requests(get_settings()).check_classes(classes)
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
