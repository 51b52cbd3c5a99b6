"""The multi-image block: a step of a workflow that asks one question about each group of images."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from gemma4_block.asking import Question
from gemma4_block.blocks._host import Batch, BlockResult, errors_for_host, read_image
from gemma4_block.blocks.fields import GroupFields, read_fields, read_text, resolve_max_images
from gemma4_block.blocks.frame_selection import select_evenly
from gemma4_block.blocks.model_step import ModelStepBlock, answer_all, lend_engine, word_question
from gemma4_block.blocks.multi_image_manifest import MultiImageManifest
from gemma4_block.blocks.rows import Row, answered_group, unanswered_group
from gemma4_block.contract import Answer, Engine, RgbImage
from gemma4_block.errors import PromptError
from gemma4_block.fields import resolve_generation
from gemma4_block.tasks import TASKS, check_inputs, name_images


class MultiImageBlock(ModelStepBlock):
    """`gemma4_block/gemma4_multi_image@v1`."""

    # The host names the step after it has built the block.
    _workflow_step_name = "gemma4_multi_image"

    @classmethod
    def get_manifest(cls) -> type[MultiImageManifest]:
        """Return the form of the step."""
        return MultiImageManifest

    def run(
        self, *, images: Batch, prompt: str | None, system_prompt: str | None, **fields: object
    ) -> BlockResult:
        """Ask about all groups in one call; blocks while the model loads and answers.

        Args:
            images: All groups of the request, each a batch of images; None where a group is empty.
            prompt: One for all groups.
            system_prompt: One for all groups.
            **fields: The others of `GroupFields`, unchecked: a selector may have given anything.

        Returns:
            One row for each group, in order.

        Raises:
            ClientCausedStepExecutionError: A field, the prompt or the chosen model cannot work.
            RuntimeLimitsCausedStepExecutionError: The device has too little memory.

        """
        with errors_for_host(self._workflow_step_name):
            step = read_fields(GroupFields, fields)
            generation = resolve_generation(step)
            _check_texts(step, prompt, system_prompt)
            max_images = resolve_max_images(step.max_images)
            groups = [_list_images(group) for group in images]
            if not any(groups):
                # A model is not loaded for nothing.
                return [unanswered_group(None, step.model_version, image_count=0) for _ in groups]
            with lend_engine(self._engine_provider, step) as engine:
                questions = [
                    _ask(step, engine, group, max_images, prompt=prompt, system_prompt=system_prompt)
                    for group in groups
                    if group
                ]
                outcomes = iter(answer_all(engine, TASKS[step.task_type], questions, generation))
            return [_make_row(step, len(group), next(outcomes) if group else None) for group in groups]


@dataclass(frozen=True, kw_only=True, slots=True)
class _GroupQuestion(Question):
    """The question about one group.

    Attributes:
        places: Which of its images are asked about, from 0.

    """

    places: tuple[int, ...]


def _check_texts(step: GroupFields, prompt: str | None, system_prompt: str | None) -> None:
    read_text("system prompt", system_prompt)
    check_inputs(
        step.task_type,
        TASKS[step.task_type].takes,
        prompt=read_text("prompt", prompt),
        classes=(),
        output_structure=step.output_structure,
    )


def _list_images(group: object) -> list[object]:
    # A group may hold lists, such as the frames of a buffer. None is what a condition filtered out, and the
    # host's whole group where it is empty.
    if isinstance(group, Batch | list | tuple):
        return [image for member in group for image in _list_images(member)]
    return [] if group is None else [group]


def _ask(
    step: GroupFields,
    engine: Engine,
    images: Sequence[object],
    max_images: int,
    *,
    prompt: str | None,
    system_prompt: str | None,
) -> _GroupQuestion | PromptError:
    try:
        places = _select(step, len(images), max_images)
        pixels = tuple(_read_numbered(images, place) for place in places)
        question = word_question(step, engine, images=pixels, prompt=prompt, system_prompt=system_prompt)
    except PromptError as error:
        return error
    named = replace(question.prompt, text=name_images(question.prompt.text, len(places)))
    return _GroupQuestion(request=question.request, prompt=named, places=places)


def _select(step: GroupFields, count: int, max_images: int) -> tuple[int, ...]:
    if count > max_images and step.when_too_many == "refuse":
        raise PromptError(
            f"The group has {count} images; max_images allows {max_images}. Raise max_images, filter the "
            "images before this step, or set when_too_many to sample to ask about some of them, evenly "
            "spread."
        )
    return select_evenly(count, max_images)


def _read_numbered(images: Sequence[object], place: int) -> RgbImage:
    image, name = images[place], f"Image {place + 1} of {len(images)}"
    if not hasattr(image, "numpy_image"):
        raise PromptError(f"{name} is a {type(image).__name__}; connect images, or lists of images.")
    try:
        return read_image(image)
    except PromptError as error:
        raise PromptError(f"{name}: {error}") from error


def _make_row(
    step: GroupFields, image_count: int, outcome: tuple[_GroupQuestion, Answer] | PromptError | None
) -> Row:
    if outcome is None or isinstance(outcome, PromptError):
        return unanswered_group(outcome, step.model_version, image_count=image_count)
    question, answer = outcome
    return answered_group(
        TASKS[step.task_type],
        question.request,
        answer,
        step.model_version,
        image_count=image_count,
        places=question.places,
    )
