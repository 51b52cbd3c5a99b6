"""What the fields of a step that asks about groups of images may say."""

from collections.abc import Mapping
from typing import Literal

from pydantic import StrictInt

from gemma4_block.blocks.fields import StepFields, check_structure, read_form
from gemma4_block.errors import ConfigurationError
from gemma4_block.reading import DEFAULT_BOX_FORMAT, BoxFormat
from gemma4_block.settings import get_settings

GroupTaskType = Literal["unconstrained", "visual-question-answering", "structured-answering"]
"""The tasks that make sense for several images at once: the others name what is in one of them."""

WhenTooMany = Literal["refuse", "sample"]
"""`refuse`: the group is not asked about; `sample`: an evenly spread choice of its images is."""

DEFAULT_MAX_IMAGES = 8
"""Source: our choice; at 280 tokens each they take about as long to read as a page of text."""


class GroupFields(StepFields):
    """The fields that are the same for all groups of a step."""

    task_type: GroupTaskType
    classes: tuple[str, ...] = ()
    box_format: BoxFormat = DEFAULT_BOX_FORMAT
    max_images: StrictInt | None
    when_too_many: WhenTooMany


def read_group_fields(values: Mapping[str, object]) -> GroupFields:
    """Check the values that a workflow gave at run time.

    Args:
        values: Field name to value, all of them.

    Returns:
        The same, with certain types.

    Raises:
        ConfigurationError: One of them has the wrong type, is none of the choices, or is above a limit of
            the operator.

    """
    fields = read_form(GroupFields, values)
    check_structure(fields.output_structure)
    return fields


def plan_max_images(given: int | None) -> int:
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
