"""Ask a task about images, each by itself, and all of them in one call of the engine."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from gemma4_block.asking import Question, ask_all
from gemma4_block.contract import Answer, ImageSeqLength, RgbImage
from gemma4_block.engine.compat import Gemma4HF, Image, read_image
from gemma4_block.errors import AnswerError, ConfigurationError, PromptError
from gemma4_block.fields import GenerationFields, check_classes, check_structure, resolve_generation
from gemma4_block.images import ColorOrder
from gemma4_block.limits import Limits
from gemma4_block.python.options import TaskOptions
from gemma4_block.tasks import (
    TASKS,
    OutputStructure,
    Result,
    TaskRequest,
    TaskType,
    check_inputs,
    fit_image_seq_length,
)

_Value = TypeVar("_Value")
_OneOfMany = TypeVar("_OneOfMany", bound=Image)

Failure = PromptError | AnswerError
"""Why an image has no result: it cannot be asked about, or its answer is cut off or says nothing usable."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Inquiry:
    """The question to ask about every image.

    Attributes:
        task_type: What is asked.
        prompt: The caller's own words; None where there are none.
        classes: The possible answers; empty where the task has none.
        output_structure: The form of the answer; None where the task has none.

    """

    task_type: TaskType
    prompt: str | None = None
    classes: tuple[str, ...] = ()
    output_structure: OutputStructure | None = None


def ask_about(
    model: Gemma4HF,
    inquiry: Inquiry,
    images: Image | list[_OneOfMany],
    read: Callable[[Result], _Value],
    *,
    color_format: ColorOrder | None,
    options: TaskOptions,
) -> _Value | list[_Value | Failure]:
    """Ask a question about one image, or about each of a list.

    Args:
        model: Answers.
        inquiry: What is asked.
        images: One, or a list of any number.
        read: Returns the value of a whole answer.
        color_format: Of arrays and tensors; None means BGR for arrays and RGB for tensors.
        options: How to ask.

    Returns:
        The value; of a list one for each image in order, or why there is none.

    Raises:
        ConfigurationError: The question or the options cannot work.
        PromptError: The question lacks what its task needs, or the one image cannot be asked about.
        AnswerError: The one answer is cut off, or does not say what the task needs.

    """
    if not isinstance(options, TaskOptions):
        raise ConfigurationError(
            f"options is a {type(options).__name__}; it must be TaskOptions, as in "
            "TaskOptions(image_seq_length=1120)."
        )
    many: Sequence[Image] = images if isinstance(images, list) else [images]
    results = _ask_each(model, inquiry, many, color_format=color_format, options=options)
    if isinstance(images, list):
        return [read(result) if isinstance(result, Result) else result for result in results]
    (result,) = results
    if isinstance(result, Result):
        return read(result)
    raise result


def _ask_each(
    model: Gemma4HF,
    inquiry: Inquiry,
    images: Sequence[Image],
    *,
    color_format: ColorOrder | None,
    options: TaskOptions,
) -> list[Result | Failure]:
    _check(inquiry, model.limits)
    task = TASKS[inquiry.task_type]
    generation = options.generation
    if generation is None:
        generation = resolve_generation(GenerationFields())
    requests = [
        _request(model, inquiry, image, color_format=color_format, options=options) for image in images
    ]
    questions = [
        one if isinstance(one, PromptError) else Question(request=one, prompt=task.ask(one))
        for one in requests
    ]
    answers = ask_all(model.engine, task, questions, generation, limits=model.limits)
    return [_read(inquiry, question, answer) for question, answer in zip(questions, answers, strict=True)]


def _check(inquiry: Inquiry, limits: Limits) -> None:
    check_inputs(
        inquiry.task_type,
        TASKS[inquiry.task_type].takes,
        prompt=inquiry.prompt,
        classes=inquiry.classes,
        output_structure=inquiry.output_structure,
    )
    check_classes(inquiry.classes, limits)
    if inquiry.output_structure is not None:
        check_structure(dict(inquiry.output_structure))


def _request(
    model: Gemma4HF,
    inquiry: Inquiry,
    image: Image,
    *,
    color_format: ColorOrder | None,
    options: TaskOptions,
) -> TaskRequest | PromptError:
    try:
        pixels = read_image(image, color_format, max_pixels=model.limits.max_image_pixels)
    except PromptError as error:
        return error
    return TaskRequest(
        images=(pixels,),
        image_seq_length=_choose_length(model, inquiry, pixels, options),
        prompt=inquiry.prompt,
        system_prompt=options.system_prompt,
        classes=inquiry.classes,
        output_structure=inquiry.output_structure,
    )


def _choose_length(
    model: Gemma4HF, inquiry: Inquiry, image: RgbImage, options: TaskOptions
) -> ImageSeqLength:
    if options.image_seq_length is not None:
        return options.image_seq_length
    if model.image_seq_length is not None:
        return model.image_seq_length
    wish = TASKS[inquiry.task_type].image_seq_length
    return fit_image_seq_length(wish, model.engine.capabilities.image_seq_lengths, [image])


def _read(
    inquiry: Inquiry, question: Question | PromptError, answer: Answer | PromptError
) -> Result | Failure:
    if isinstance(answer, PromptError):
        return answer
    assert isinstance(question, Question), "only what was asked is answered"
    try:
        result = TASKS[inquiry.task_type].read(answer, question.request)
    except AnswerError as error:
        return error
    # A value has no place to say that it is only a part.
    problem = answer.cut_off if result.error_message is None else result.error_message
    if problem is None:
        return result
    return AnswerError(problem, answer=answer.text, task=inquiry.task_type)
