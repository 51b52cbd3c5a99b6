"""Check the fields of a step, once their selectors are resolved."""

from collections.abc import Mapping
from typing import Annotated, Literal, TypeVar

from pydantic import (
    BeforeValidator,
    Field,
    JsonValue,
    StrictFloat,
    StrictInt,
    ValidationError,
)

from gemma4_block.contract import ImageSeqLength, Quantization
from gemma4_block.errors import ConfigurationError, PromptError
from gemma4_block.fields import GenerationFields, check_structure
from gemma4_block.limits import check_text
from gemma4_block.reading import BoxFormat
from gemma4_block.settings import get_settings
from gemma4_block.tasks import GroupTaskType, TaskType

_Fields = TypeVar("_Fields", bound="StepFields")

ImageSeqLengthChoice = Literal["auto", ImageSeqLength]

KeepAliveChoice = Literal["forever"] | Annotated[StrictInt | StrictFloat, Field(ge=0)]
"""How many seconds a model stays loaded after a step."""

UnchangedBelow = Annotated[StrictInt | StrictFloat, Field(gt=0, le=100)]
"""Percent of all brightness; see `measure_change_percent`."""

WhenTooMany = Literal["refuse", "sample"]
"""`refuse`: the group is not asked about; `sample`: an evenly spread selection of its images is."""

DEFAULT_MAX_IMAGES = 8
"""At 280 tokens each their prefill takes about as long as that of a page of text."""


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
    unchanged_below: UnchangedBelow | None


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
