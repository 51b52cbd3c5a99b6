"""Put many questions to the engine at once, whatever became of some of them before."""

from collections.abc import Sequence

from gemma4_block.blocks.fields import StepFields
from gemma4_block.cancellation import find_cancellation
from gemma4_block.contract import Answer, Engine, GenerationConfig, ImageSeqLength, Prompt, RgbImage
from gemma4_block.errors import PromptError
from gemma4_block.limits import Limits, ask
from gemma4_block.settings import get_settings
from gemma4_block.tasks import TASKS, fit_image_seq_length


def choose_image_seq_length(fields: StepFields, engine: Engine, images: Sequence[RgbImage]) -> ImageSeqLength:
    """Return the visual token budget that a step says, or what suits its task, checkpoint and images.

    Args:
        fields: What the step says.
        engine: Knows what its checkpoint was trained for.
        images: Those of one prompt.

    Returns:
        The budget of every image of the prompt.

    """
    if fields.image_seq_length == "auto":
        return fit_image_seq_length(
            TASKS[fields.task_type].image_seq_length, engine.capabilities.image_seq_lengths, images
        )
    return fields.image_seq_length


def answer_all(
    engine: Engine, asked: Sequence[Prompt | PromptError], generation: GenerationConfig
) -> list[Answer | PromptError]:
    """Answer what can be asked in one call of the engine, within what the operator allows to requests.

    Args:
        engine: Runs the model.
        asked: Questions, and in the places of others why they cannot be asked.
        generation: How to answer.

    Returns:
        One entry for each, in order: the answer, or the error that was there or that the engine gave.

    Raises:
        EngineError: The engine itself failed.

    """
    return ask(
        engine,
        asked,
        generation,
        limits=Limits.of_requests(get_settings()),
        cancelled=find_cancellation(),
    )
