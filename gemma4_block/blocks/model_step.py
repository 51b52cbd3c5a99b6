"""The base of the two steps that ask a model: their engine, and how questions are put to it."""

import time
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import TypeVar

from gemma4_block.blocks._host import WorkflowBlock
from gemma4_block.blocks.fields import StepFields, read_text
from gemma4_block.cancellation import find_cancellation
from gemma4_block.contract import (
    Answer,
    Engine,
    EngineProvider,
    GenerationConfig,
    ImageSeqLength,
    Prompt,
    RgbImage,
)
from gemma4_block.errors import PromptError
from gemma4_block.limits import Limits, ask
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


@dataclass(frozen=True, kw_only=True, slots=True)
class Question:
    """The question of one row.

    Attributes:
        request: The same for the task, which reads the answer with it.
        prompt: The same for the engine.

    """

    request: TaskRequest
    prompt: Prompt


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
    """Answer all questions in one call of the engine, and once more those whose answers do not match.

    All of it stays within what the operator allows to requests.

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
    limits = Limits.of_requests(get_settings())
    deadline = limits.find_deadline()

    def put(prompts: Sequence[Prompt | PromptError]) -> list[Answer | PromptError]:
        left = None if deadline is None else max(0.0, deadline - time.monotonic())
        cancelled = find_cancellation()
        return ask(engine, prompts, generation, limits=limits, max_seconds=left, cancelled=cancelled)

    answers = put([one if isinstance(one, PromptError) else one.prompt for one in questions])
    outcomes: list[tuple[_Question, Answer] | PromptError] = []
    for question, answer in zip(questions, answers, strict=True):
        if isinstance(answer, PromptError):
            outcomes.append(answer)
        else:
            assert not isinstance(question, PromptError), "only what was asked is answered"
            outcomes.append((question, answer))
    again = {
        place: prompt
        for place, outcome in enumerate(outcomes)
        if not isinstance(outcome, PromptError) and (prompt := _ask_again(task, *outcome)) is not None
    }
    if again:
        for place, second in zip(again, put(list(again.values())), strict=True):
            outcome = outcomes[place]
            assert not isinstance(outcome, PromptError), "only answers are asked again"
            outcomes[place] = (outcome[0], _choose(outcome[1], second))
    return outcomes


def _ask_again(task: Task, question: Question, answer: Answer) -> Prompt | None:
    return task.ask_again(question.prompt, answer, question.request)


def _choose(first: Answer, second: Answer | PromptError) -> Answer:
    """Return the second try where it came to its end, with the tokens of both."""
    if isinstance(second, PromptError):
        return first
    return replace(
        first if second.cut_off is not None else second,
        input_tokens=first.input_tokens + second.input_tokens,
        output_tokens=first.output_tokens + second.output_tokens,
    )
