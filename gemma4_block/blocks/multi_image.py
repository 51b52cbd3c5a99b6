"""The multi-image block: a step of a workflow that asks one question about each group of images."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from pydantic import JsonValue

from gemma4_block.blocks._host import Batch, BlockResult, WorkflowBlock, errors_for_host, read_image
from gemma4_block.blocks.asking import answer_all, choose_image_seq_length
from gemma4_block.blocks.fields import ImageSeqLengthChoice, plan_generation, read_text
from gemma4_block.blocks.group_fields import (
    GroupFields,
    GroupTaskType,
    WhenTooMany,
    plan_max_images,
    read_group_fields,
)
from gemma4_block.blocks.multi_image_manifest import MultiImageManifest
from gemma4_block.blocks.multi_image_outputs import answered_group, unanswered_group
from gemma4_block.blocks.outputs import Row
from gemma4_block.blocks.sampling import sample_evenly
from gemma4_block.contract import (
    Answer,
    Engine,
    EngineProvider,
    GenerationConfig,
    Prompt,
    Quantization,
    RgbImage,
)
from gemma4_block.errors import PromptError
from gemma4_block.tasks import TASKS, TaskRequest, check_inputs
from gemma4_block.tasks.image_names import name_images


class MultiImageBlock(WorkflowBlock):
    """`gemma4_block/gemma4_multi_image@v1`."""

    # The host names the step after it has built the block.
    _workflow_step_name = "gemma4_multi_image"

    def __init__(self, engine_provider: EngineProvider) -> None:
        self._engine_provider = engine_provider

    @classmethod
    def get_init_parameters(cls) -> list[str]:
        """Ask the host for the provider of engines that this package registers."""
        return ["engine_provider"]

    @classmethod
    def get_manifest(cls) -> type[MultiImageManifest]:
        """Return the form of the step."""
        return MultiImageManifest

    def run(
        self,
        *,
        images: Batch,
        task_type: GroupTaskType,
        prompt: str | None,
        output_structure: dict[str, JsonValue] | None,
        max_images: int | None,
        when_too_many: WhenTooMany,
        model_version: str,
        system_prompt: str | None,
        image_seq_length: ImageSeqLengthChoice,
        max_new_tokens: int | None,
        temperature: float | None,
        top_p: float | None,
        top_k: int | None,
        seed: int | None,
        enable_thinking: bool | None,
        max_thinking_tokens: int | None,
        quantization: Quantization,
    ) -> BlockResult:
        """Ask about all groups in one call; blocks while the model loads and answers.

        The fields are those of the manifest with their selectors resolved, so their types are not
        certain yet.

        Args:
            images: All groups of the request, each a batch of images; None where a group is empty.
            task_type: See the manifest, as for all others.
            prompt: One for all groups.
            output_structure: What the answer looks like.
            max_images: Most images of one group.
            when_too_many: What becomes of a group with more.
            model_version: Which model.
            system_prompt: One for all groups.
            image_seq_length: Visual token budget of each image.
            max_new_tokens: Most tokens of an answer.
            temperature: How much chance.
            top_p: With chance only.
            top_k: With chance only.
            seed: With chance only.
            enable_thinking: Whether to think first.
            max_thinking_tokens: Most tokens of thoughts.
            quantization: Precision of the weights.

        Returns:
            One row for each group, in order.

        Raises:
            ClientCausedStepExecutionError: A field, the prompt or the chosen model cannot work.
            RuntimeLimitsCausedStepExecutionError: The device has too little memory.

        """
        with errors_for_host(self._workflow_step_name):
            fields = read_group_fields(
                {
                    "task_type": task_type,
                    "output_structure": output_structure,
                    "max_images": max_images,
                    "when_too_many": when_too_many,
                    "model_version": model_version,
                    "image_seq_length": image_seq_length,
                    "max_new_tokens": max_new_tokens,
                    "temperature": temperature,
                    "top_p": top_p,
                    "top_k": top_k,
                    "seed": seed,
                    "enable_thinking": enable_thinking,
                    "max_thinking_tokens": max_thinking_tokens,
                    "quantization": quantization,
                }
            )
            generation = plan_generation(fields)
            question = _Question(
                fields=fields,
                prompt=read_text("prompt", prompt),
                system_prompt=read_text("system prompt", system_prompt),
                max_images=plan_max_images(fields.max_images),
            )
            check_inputs(
                fields.task_type,
                TASKS[fields.task_type].takes,
                prompt=question.prompt,
                classes=(),
                output_structure=fields.output_structure,
            )
            groups = [_images_of(group) for group in images]
            if not any(groups):
                # A model is not loaded for nothing.
                return [unanswered_group(None, fields.model_version, image_count=0) for _ in groups]
            engine = self._engine_provider.get(fields.model_version, fields.quantization)
            asked = [_ask(question, engine, group) for group in groups]
            return _answer_rows(question, engine, groups, asked, generation)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Question:
    """What is asked about every group."""

    fields: GroupFields
    prompt: str | None
    system_prompt: str | None
    max_images: int


@dataclass(frozen=True, kw_only=True, slots=True)
class _Asked:
    """A group's request, what the model is asked for it, and which of its images that is about."""

    request: TaskRequest
    prompt: Prompt
    places: tuple[int, ...]


def _images_of(group: object) -> list[object]:
    # A group may hold lists, such as the frames of a buffer. None is what a condition filtered out, and the
    # host's whole group where it is empty.
    if isinstance(group, Batch | list | tuple):
        return [image for member in group for image in _images_of(member)]
    return [] if group is None else [group]


def _ask(question: _Question, engine: Engine, images: Sequence[object]) -> _Asked | PromptError | None:
    if not images:
        return None
    fields = question.fields
    try:
        places = _choose(len(images), question)
        pixels = tuple(_read_numbered(images, place) for place in places)
        request = TaskRequest(
            images=pixels,
            image_seq_length=choose_image_seq_length(fields, engine, pixels),
            prompt=question.prompt,
            system_prompt=question.system_prompt,
            output_structure=fields.output_structure,
        )
        prompt = TASKS[fields.task_type].ask(request)
    except PromptError as error:
        return error
    named = replace(prompt, text=name_images(prompt.text, len(places)))
    return _Asked(request=request, prompt=named, places=places)


def _choose(count: int, question: _Question) -> tuple[int, ...]:
    limit = question.max_images
    if count > limit and question.fields.when_too_many == "refuse":
        raise PromptError(
            f"The group has {count} images; max_images allows {limit}. Raise max_images, filter the images "
            "before this step, or set when_too_many to sample to ask about some of them, evenly spread."
        )
    return sample_evenly(count, limit)


def _read_numbered(images: Sequence[object], place: int) -> RgbImage:
    image, name = images[place], f"Image {place + 1} of {len(images)}"
    if not hasattr(image, "numpy_image"):
        raise PromptError(f"{name} is a {type(image).__name__}; connect images, or lists of images.")
    try:
        return read_image(image)
    except PromptError as error:
        raise PromptError(f"{name}: {error}") from error


def _answer_rows(
    question: _Question,
    engine: Engine,
    groups: Sequence[Sequence[object]],
    asked: Sequence[_Asked | PromptError | None],
    generation: GenerationConfig,
) -> list[Row]:
    task, model_id = TASKS[question.fields.task_type], question.fields.model_version
    prompts = [one.prompt if isinstance(one, _Asked) else one for one in asked if one is not None]
    answers = iter(answer_all(engine, prompts, generation))
    rows = []
    for group, one in zip(groups, asked, strict=True):
        answer = None if one is None else next(answers)
        if isinstance(one, _Asked) and isinstance(answer, Answer):
            row = answered_group(
                task, one.request, answer, model_id, image_count=len(group), places=one.places
            )
        else:
            assert not isinstance(answer, Answer), "only what was asked is answered"
            row = unanswered_group(answer, model_id, image_count=len(group))
        rows.append(row)
    return rows
