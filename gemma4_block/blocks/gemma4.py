"""The Gemma 4 block: a step of a workflow that asks about all its images at once."""

from collections.abc import Iterable
from dataclasses import replace
from typing import TypeAlias

from gemma4_block.asking import Question
from gemma4_block.blocks._host import (
    Batch,
    BlockResult,
    errors_for_host,
    find_frame_place,
    read_image,
)
from gemma4_block.blocks.fields import ImageFields, read_fields, read_text
from gemma4_block.blocks.gemma4_manifest import Gemma4Manifest
from gemma4_block.blocks.model_step import (
    ModelStepBlock,
    answer_all,
    choose_image_seq_length,
    lend_engine,
    word_question,
)
from gemma4_block.blocks.rows import Row, answer_row, refused_row
from gemma4_block.blocks.unchanged_frames import UnchangedFrames
from gemma4_block.contract import Answer, Engine, EngineProvider, RgbImage
from gemma4_block.errors import PromptError
from gemma4_block.fields import check_classes, resolve_generation
from gemma4_block.tasks import TASKS, check_inputs

PerImage: TypeAlias = Batch | str | None
"""One text for all images, or a batch with one for each."""


class Gemma4Block(ModelStepBlock):
    """`gemma4_block/gemma4@v1`."""

    # The host names the step after it has built the block.
    _workflow_step_name = "gemma4"

    def __init__(self, engine_provider: EngineProvider) -> None:
        super().__init__(engine_provider)
        # The host makes a step anew for every request, and keeps it for all frames of a video.
        self._seen = UnchangedFrames()

    @classmethod
    def get_manifest(cls) -> type[Gemma4Manifest]:
        """Return the form of the step."""
        return Gemma4Manifest

    def run(
        self, *, images: Batch, prompt: PerImage, system_prompt: PerImage, **fields: object
    ) -> BlockResult:
        """Ask about all images in one call; blocks while the model loads and answers.

        Args:
            images: All images and crops of the request.
            prompt: One for all images, or one for each.
            system_prompt: One for all images, or one for each.
            **fields: The others of `ImageFields`, unchecked: a selector may have given anything.

        Returns:
            One row for each image, in order.

        Raises:
            ClientCausedStepExecutionError: A field, a prompt or the chosen model cannot work.
            RuntimeLimitsCausedStepExecutionError: The device has too little memory.

        """
        with errors_for_host(self._workflow_step_name):
            step = read_fields(ImageFields, fields)
            check_classes(step.classes)
            generation = resolve_generation(step)
            _check_common_texts(step, prompt, system_prompt)
            texts = zip(_for_each(images, prompt), _for_each(images, system_prompt), strict=True)
            with lend_engine(self._engine_provider, step) as engine:
                questions = [
                    self._ask(step, engine, image, *own) for image, own in zip(images, texts, strict=True)
                ]
                outcomes = answer_all(engine, TASKS[step.task_type], questions, generation)
            return [_make_row(step, image, outcome) for image, outcome in zip(images, outcomes, strict=True)]

    def _ask(
        self, step: ImageFields, engine: Engine, image: object, prompt: object, system_prompt: object
    ) -> Question | PromptError:
        try:
            return word_question(
                step,
                engine,
                images=(self._look_at(step, engine, image),),
                prompt=prompt,
                system_prompt=system_prompt,
                classes=step.classes,
                box_format=step.box_format,
            )
        except PromptError as error:
            return error

    def _look_at(self, step: ImageFields, engine: Engine, image: object) -> RgbImage:
        """Return what the model is to see: the image, or an earlier one that hardly differs."""
        picture = read_image(image)
        if step.unchanged_below is None or (place := find_frame_place(image)) is None:
            return picture
        budget = choose_image_seq_length(step, engine, (picture,))
        return self._seen.replace(picture, place, budget, below_percent=step.unchanged_below)


def _check_common_texts(step: ImageFields, prompt: PerImage, system_prompt: PerImage) -> None:
    # A bad text for all images fails the step; one for a single image costs only that image its answer.
    task = TASKS[step.task_type]
    has_own_prompts = isinstance(prompt, Batch)
    check_inputs(
        task.name,
        replace(task.takes, prompt="optional") if has_own_prompts else task.takes,
        prompt=None if has_own_prompts else read_text("prompt", prompt),
        classes=step.classes,
        output_structure=step.output_structure,
    )
    if not isinstance(system_prompt, Batch):
        read_text("system prompt", system_prompt)


def _for_each(images: Batch, text: PerImage) -> Iterable[object]:
    return text if isinstance(text, Batch) else [text] * len(images)


def _make_row(step: ImageFields, image: object, outcome: tuple[Question, Answer] | PromptError) -> Row:
    if isinstance(outcome, PromptError):
        return refused_row(outcome, step.classes, step.model_version)
    question, answer = outcome
    return answer_row(TASKS[step.task_type], question.request, answer, image, step.model_version)
