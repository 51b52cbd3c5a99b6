"""The base of the two steps that ask a model: their engine, and how questions are put to it."""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import TypeVar

from gemma4_block.asking import Question, ask_all
from gemma4_block.blocks._host import WorkflowBlock
from gemma4_block.blocks.fields import StepFields, read_text
from gemma4_block.cancellation import find_cancellation
from gemma4_block.contract import (
    Answer,
    Engine,
    EngineProvider,
    GenerationConfig,
    ImageSeqLength,
    RgbImage,
)
from gemma4_block.errors import PromptError
from gemma4_block.limits import Limits
from gemma4_block.reading import DEFAULT_BOX_FORMAT, BoxFormat
from gemma4_block.settings import get_settings
from gemma4_block.tasks import TASKS, Task, TaskRequest, fit_image_seq_length


class ModelStepBlock(WorkflowBlock):
    """A step that asks Gemma 4."""

    def __init__(self, engine_provider: EngineProvider) -> None:
        self._engine_provider = engine_provider

    @classmethod
    def get_init_parameters(cls) -> list[str]:
        """Ask the host for the provider of engines that this package registers."""
        return ["engine_provider"]


def lend_engine(provider: EngineProvider, fields: StepFields) -> AbstractContextManager[Engine]:
    """Lend the engine of a step's model, loading it where needed; see `EngineProvider.lease`."""
    return provider.lease(fields.model_version, fields.quantization, keep_alive=fields.keep_alive)


_Question = TypeVar("_Question", bound=Question)


def word_question(
    fields: StepFields,
    engine: Engine,
    *,
    images: tuple[RgbImage, ...],
    prompt: object,
    system_prompt: object,
    classes: tuple[str, ...] = (),
    box_format: BoxFormat = DEFAULT_BOX_FORMAT,
) -> Question:
    """Word the question of one row.

    Args:
        fields: Of the step, the same for all rows.
        engine: Knows what its checkpoint was trained for.
        images: What the question is about.
        prompt: The user's, as the workflow gave it.
        system_prompt: The user's, as the workflow gave it.
        classes: The possible answers.
        box_format: How the checkpoint writes boxes.

    Returns:
        What to ask.

    Raises:
        PromptError: A text cannot be used, is missing, or would do nothing.

    """
    request = TaskRequest(
        images=images,
        image_seq_length=choose_image_seq_length(fields, engine, images),
        prompt=read_text("prompt", prompt),
        system_prompt=read_text("system prompt", system_prompt),
        classes=classes,
        output_structure=fields.output_structure,
        box_format=box_format,
    )
    return Question(request=request, prompt=TASKS[fields.task_type].ask(request))


def choose_image_seq_length(fields: StepFields, engine: Engine, images: Sequence[RgbImage]) -> ImageSeqLength:
    """Return the visual token budget that a step says, or what suits its task, checkpoint and images.

    Args:
        fields: Of the step.
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
    engine: Engine, task: Task, questions: Sequence[_Question | PromptError], generation: GenerationConfig
) -> list[tuple[_Question, Answer] | PromptError]:
    """Answer all questions within what the operator allows to requests; see `ask_all`.

    Args:
        engine: Runs the model.
        task: Of the questions.
        questions: Questions, and in the places of others why they cannot be asked.
        generation: How to answer.

    Returns:
        One entry for each, in order: the question with its answer, or the error that was there, that a
        limit raised, or that the engine gave.

    Raises:
        EngineError: The engine itself failed.

    """
    answers = ask_all(
        engine,
        task,
        questions,
        generation,
        limits=Limits.of_requests(get_settings()),
        cancelled=find_cancellation(),
    )
    outcomes: list[tuple[_Question, Answer] | PromptError] = []
    for question, answer in zip(questions, answers, strict=True):
        if isinstance(answer, PromptError):
            outcomes.append(answer)
        else:
            assert not isinstance(question, PromptError), "only what was asked is answered"
            outcomes.append((question, answer))
    return outcomes
