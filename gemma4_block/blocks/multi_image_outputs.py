"""What a step that asks about groups of images hands to the next ones, one row for each group."""

from collections.abc import Sequence

from gemma4_block.blocks._host import INTEGER_KIND, LIST_OF_VALUES_KIND, OutputDefinition
from gemma4_block.blocks.outputs import OUTPUT_MEANINGS, Row, answer_row, bare_row, describe_outputs
from gemma4_block.contract import Answer
from gemma4_block.errors import PromptError
from gemma4_block.tasks import Task, TaskRequest

# These are of one image each, or of classes.
_OF_SINGLE_IMAGES = {"predictions", "count", "classes"}

GROUP_OUTPUT_MEANINGS = {
    **{name: meaning for name, meaning in OUTPUT_MEANINGS.items() if name not in _OF_SINGLE_IMAGES},
    "output": "The answer as text. Empty (None) where the group has no images, or could not be asked about.",
    "input_tokens": "Tokens the model read: the prompt and all images.",
    "image_tokens": "Tokens that all images together became; each at most image_seq_length, for which with "
    "auto the largest image decides.",
    "error_status": "True where this group has no usable answer. Other groups have theirs.",
    "image_count": "How many images the group has; 0 is no error.",
    "asked_images": "The numbers of the images that the model saw, from 1, in the order in which the prompt "
    "names them: all of them, or the sample. Empty where there was nothing to ask.",
}
"""What each output is, for people."""


def describe_group_outputs() -> list[OutputDefinition]:
    """Return the outputs of the block."""
    shared = [output for output in describe_outputs() if output.name in GROUP_OUTPUT_MEANINGS]
    return [
        *shared,
        OutputDefinition(name="image_count", kind=[INTEGER_KIND]),
        OutputDefinition(name="asked_images", kind=[LIST_OF_VALUES_KIND]),
    ]


def answered_group(
    task: Task,
    request: TaskRequest,
    answer: Answer,
    model_id: str,
    *,
    image_count: int,
    places: Sequence[int],
) -> Row:
    """Return the row of a group that was answered; an unreadable answer is an error that keeps its text.

    Args:
        task: Reads the answer.
        request: What was asked.
        answer: What was answered.
        model_id: Which model answered.
        image_count: How many images the group has.
        places: Which of them were asked about, from 0.

    Returns:
        The row.

    """
    # Predictions would belong to one image; these tasks give none.
    row = answer_row(task, request, answer, None, model_id)
    return _group_row(row, image_count=image_count, places=places)


def unanswered_group(error: PromptError | None, model_id: str, *, image_count: int) -> Row:
    """Return the row of a group that could not be asked about, or that is empty and without an error."""
    row = bare_row(None if error is None else str(error), (), model_id)
    return _group_row(row, image_count=image_count, places=())


def _group_row(row: Row, *, image_count: int, places: Sequence[int]) -> Row:
    shared = {name: value for name, value in row.items() if name in GROUP_OUTPUT_MEANINGS}
    return shared | {"image_count": image_count, "asked_images": [place + 1 for place in places]}
