"""The Gemma 4 block: a step of a workflow that asks about all its images at once."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

from pydantic import JsonValue

from gemma4_block.blocks._host import (
    Batch,
    BlockResult,
    WorkflowBlock,
    errors_for_host,
    read_image,
)
from gemma4_block.blocks.asking import answer_all, choose_image_seq_length
from gemma4_block.blocks.fields import (
    ImageSeqLengthChoice,
    StepFields,
    plan_generation,
    read_fields,
    read_text,
)
from gemma4_block.blocks.manifest import Gemma4Manifest
from gemma4_block.blocks.outputs import Row, answer_row, refused_row
from gemma4_block.contract import Engine, EngineProvider, GenerationConfig, Prompt, Quantization
from gemma4_block.errors import PromptError
from gemma4_block.reading import BoxFormat
from gemma4_block.tasks import TASKS, TaskRequest, TaskType, check_inputs

PerImage: TypeAlias = Batch | str | None
"""One text for all images, or a batch with one for each."""


class Gemma4Block(WorkflowBlock):
    """`gemma4_block/gemma4@v1`."""

    # The host names the step after it has built the block.
    _workflow_step_name = "gemma4"

    def __init__(self, engine_provider: EngineProvider) -> None:
        self._engine_provider = engine_provider

    @classmethod
    def get_init_parameters(cls) -> list[str]:
        """Ask the host for the provider of engines that this package registers."""
        return ["engine_provider"]

    @classmethod
    def get_manifest(cls) -> type[Gemma4Manifest]:
        """Return the form of the step."""
        return Gemma4Manifest

    def run(
        self,
        *,
        images: Batch,
        task_type: TaskType,
        prompt: PerImage,
        model_version: str,
        system_prompt: PerImage,
        image_seq_length: ImageSeqLengthChoice,
        max_new_tokens: int | None,
        temperature: float | None,
        top_p: float | None,
        top_k: int | None,
        seed: int | None,
        enable_thinking: bool | None,
        max_thinking_tokens: int | None,
        quantization: Quantization,
        classes: list[str] | None,
        output_structure: dict[str, JsonValue] | None,
        box_format: BoxFormat,
    ) -> BlockResult:
        """Ask about all images in one call; blocks while the model loads and answers.

        The fields are those of the manifest with their selectors resolved, so their types are not
        certain yet.

        Args:
            images: All images and crops of the request.
            task_type: See the manifest, as for all others.
            prompt: One for all images, or one for each.
            model_version: Which model.
            system_prompt: One for all images, or one for each.
            image_seq_length: Visual token budget.
            max_new_tokens: Most tokens of an answer.
            temperature: How much chance.
            top_p: With chance only.
            top_k: With chance only.
            seed: With chance only.
            enable_thinking: Whether to think first.
            max_thinking_tokens: Most tokens of thoughts.
            quantization: Precision of the weights.
            classes: What may be answered.
            output_structure: What the answer looks like.
            box_format: How the model writes boxes.

        Returns:
            One row for each image, in order.

        Raises:
            ClientCausedStepExecutionError: A field, a prompt or the chosen model cannot work.
            RuntimeLimitsCausedStepExecutionError: The device has too little memory.

        """
        with errors_for_host(self._workflow_step_name):
            fields = read_fields(
                {
                    "task_type": task_type,
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
                    "classes": classes,
                    "output_structure": output_structure,
                    "box_format": box_format,
                }
            )
            generation = plan_generation(fields)
            _check_common_texts(fields, prompt, system_prompt)
            engine = self._engine_provider.get(fields.model_version, fields.quantization)
            asked = list(_ask_each(fields, engine, images, prompt, system_prompt))
            return _answer_rows(fields, engine, images, asked, generation)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Asked:
    """A row's request, and what the model is asked for it."""

    request: TaskRequest
    prompt: Prompt


def _check_common_texts(fields: StepFields, prompt: PerImage, system_prompt: PerImage) -> None:
    # What is wrong with a text for all images is wrong with the request; a text for one image only
    # costs that image its answer.
    task = TASKS[fields.task_type]
    has_own_prompts = isinstance(prompt, Batch)
    check_inputs(
        task.name,
        replace(task.takes, prompt="optional") if has_own_prompts else task.takes,
        prompt=None if has_own_prompts else read_text("prompt", prompt),
        classes=fields.classes,
        output_structure=fields.output_structure,
    )
    if not isinstance(system_prompt, Batch):
        read_text("system prompt", system_prompt)


def _ask_each(
    fields: StepFields,
    engine: Engine,
    images: Batch,
    prompt: PerImage,
    system_prompt: PerImage,
) -> Iterator[_Asked | PromptError]:
    task = TASKS[fields.task_type]
    texts = zip(_for_each(images, prompt), _for_each(images, system_prompt), strict=True)
    for image, (own_prompt, own_system_prompt) in zip(images, texts, strict=True):
        try:
            pixels = (read_image(image),)
            request = TaskRequest(
                images=pixels,
                image_seq_length=choose_image_seq_length(fields, engine, pixels),
                prompt=read_text("prompt", own_prompt),
                system_prompt=read_text("system prompt", own_system_prompt),
                classes=fields.classes,
                output_structure=fields.output_structure,
                box_format=fields.box_format,
            )
            yield _Asked(request=request, prompt=task.ask(request))
        except PromptError as error:  # noqa: PERF203 - one failure must not end the loop
            yield error


def _answer_rows(
    fields: StepFields,
    engine: Engine,
    images: Batch,
    asked: Sequence[_Asked | PromptError],
    generation: GenerationConfig,
) -> list[Row]:
    task, model_id = TASKS[fields.task_type], fields.model_version
    prompts = [one.prompt if isinstance(one, _Asked) else one for one in asked]
    rows = []
    answers = answer_all(engine, prompts, generation)
    for image, one, answer in zip(images, asked, answers, strict=True):
        if isinstance(one, PromptError) or isinstance(answer, PromptError):
            assert isinstance(answer, PromptError), "an error was taken as its own answer"
            rows.append(refused_row(answer, fields.classes, model_id))
        else:
            rows.append(answer_row(task, one.request, answer, image, model_id))
    return rows


def _for_each(images: Batch, text: PerImage) -> Iterable[object]:
    return text if isinstance(text, Batch) else [text] * len(images)
