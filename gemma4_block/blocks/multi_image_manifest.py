"""The form of the multi-image step: its fields, what each may say, and what the host may know about it."""

from typing import Literal

from pydantic import AliasChoices, ConfigDict, Field, JsonValue, StrictInt, model_validator
from pydantic.config import JsonDict
from typing_extensions import Self

from gemma4_block.blocks._host import (
    ImageSelector,
    IntegerSelector,
    ListSelector,
    OutputDefinition,
    StringSelector,
    TextSelector,
    WorkflowBlockManifest,
)
from gemma4_block.blocks.fields import DEFAULT_MAX_IMAGES, WhenTooMany, resolve_max_images
from gemma4_block.blocks.model_step_manifest import ModelStepManifest, OutputStructureField, relevant_for
from gemma4_block.blocks.outputs import GROUP_OUTPUT_MEANINGS, describe_group_outputs
from gemma4_block.tasks import GROUP_TASKS, GroupTaskType

_SEARCH_KEYWORDS: list[JsonValue] = [
    "Gemma",
    "Gemma 4",
    "Google",
    "VLM",
    "LMM",
    "vision language model",
    "multi-image",
    "compare images",
    "change detection",
    "before and after",
    "crops",
    "video",
    "frames",
    "visual question answering",
    "JSON",
    "structured output",
    "local",
    "offline",
]

_WHEN_TOO_MANY: JsonDict = {
    "refuse": {
        "name": "Refuse",
        "description": "The group gets an error and no answer; others are answered.",
    },
    "sample": {
        "name": "Sample evenly",
        "description": "The first, the last, and others evenly spread between them, max_images together.",
    },
}

_TASK_TYPES: JsonDict = {
    task.name: {"name": task.title, "description": task.group_description} for task in GROUP_TASKS.values()
}

_TASK_LIST = "\n".join(
    f"* **{task.title}** (`{task.name}`): {task.group_description}" for task in GROUP_TASKS.values()
)
_OUTPUT_ROWS = "\n".join(f"| `{name}` | {meaning} |" for name, meaning in GROUP_OUTPUT_MEANINGS.items())

_LONG_DESCRIPTION = f"""
Ask Google's Gemma 4 one question about several images together, and get one answer for all of them. The model
runs on this machine: no cloud service, no API key, no cost per call.

#### What is a group of images

This step takes away one level: what was many images becomes one answer.

* **The crops of a frame.** Behind a detection model and a dynamic crop, the crops of each frame are a group:
  one answer for each frame. "Are all these people wearing helmets?" A frame without crops gives an empty
  answer, `image_count` 0, and no error.
* **Photos to compare.** Connect the workflow's image input and send a list of images: all of them are one
  group with one answer. "What is damaged in image 2 that was whole in image 1?"
* **The frames of a window.** Connect the output of the Buffer block, which keeps the last frames of a video.
  It has the newest frame first, so that is image 1.

To ask about each image by itself, take the block Gemma 4 instead.

#### How the images are named

The model sees the images in order and then reads, for three of them: "There are 3 images: image 1, image 2,
image 3, in this order." Your question follows, and can use these names.

#### What you can ask

{_TASK_LIST}

#### Many images

A question may have {DEFAULT_MAX_IMAGES} images unless `max_images` says otherwise; the machine's operator
sets the highest number. A group with more is refused with an error of its own, or sampled: `when_too_many`
set to `sample` takes the first image, the last, and others evenly spread between them (of one image, the
middle). No chance is involved. Counted from 0, image `i` of `k` is image `round(i * (n - 1) / (k - 1))` of
`n`. So of 10 images 4 are, counted from 1, images 1, 4, 7 and 10. The prompt names those four image 1 to
image 4, and `asked_images` says [1, 4, 7, 10].

An image that cannot be read costs its group the answer, and the error says which image it is. Images that
a condition has filtered out are left out, and not counted.

#### What you get, for each group

| output | meaning |
|---|---|
{_OUTPUT_ROWS}

#### Licence

Gemma 4 is published under Apache-2.0; the terms are on each model card, for example
[google/gemma-4-E2B-it](https://huggingface.co/google/gemma-4-E2B-it). A fine-tuned model may have its own.
""".strip()


class _QuestionFields(WorkflowBlockManifest):
    """The fields that the form shows first: what is asked, about which images."""

    images: ImageSelector | ListSelector = Field(
        title="Images",
        description="The images to ask about together: the crops of an image, the images of a request, or "
        "the frames of a buffer.",
        examples=["$steps.crop.crops", "$inputs.image", "$steps.buffer.output"],
        # Both names, as in every block of the host.
        validation_alias=AliasChoices("images", "image"),
    )
    task_type: GroupTaskType = Field(
        default="unconstrained",
        title="Task",
        description="How to answer. Open prompt and visual question answering need your question in prompt, "
        "structured answering the fields of the answer.",
        examples=["visual-question-answering"],
        json_schema_extra={"values_metadata": _TASK_TYPES, "always_visible": True},
    )
    prompt: str | TextSelector | None = Field(
        default=None,
        title="Prompt",
        description="Your question or instruction, the same for every group. The images are named before it "
        "in their order: image 1, image 2, and so on; use these names. It may come from an input, but not "
        "one for each image.",
        examples=["What has changed between image 1 and image 2?", "$inputs.prompt"],
        json_schema_extra={
            "relevant_for": relevant_for("prompt", GROUP_TASKS.values()),
            "always_visible": True,
            "multiline": True,
        },
    )
    output_structure: OutputStructureField = None
    max_images: StrictInt | IntegerSelector | None = Field(
        default=None,
        title="Most Images of One Question",
        description="The most images of one question. Each takes time and memory: up to image_seq_length "
        f"tokens to read. Leave empty for {DEFAULT_MAX_IMAGES}, or for less where the machine allows less.",
        examples=[2, 16, "$inputs.max_images"],
        json_schema_extra={"always_visible": True},
    )
    when_too_many: WhenTooMany | StringSelector = Field(
        default="refuse",
        title="When There Are Too Many",
        description="What becomes of a group with more than max_images. refuse gives an error for this group "
        "and leaves the others. sample asks about max_images of them: the first, the last, and others evenly "
        "spread between them; of 10 images 4 are images 1, 4, 7 and 10. The same images are taken every "
        "time, and asked_images tells which.",
        examples=["sample", "$inputs.when_too_many"],
        json_schema_extra={"values_metadata": _WHEN_TOO_MANY},
    )


class MultiImageManifest(ModelStepManifest, _QuestionFields):
    """A step that asks Gemma 4 one question about each group of images."""

    model_config = ConfigDict(
        json_schema_extra={
            "name": "Gemma 4 Multi-Image",
            "version": "v1",
            "short_description": "Ask Google's Gemma 4 one question about many images together, on your own "
            "machine.",
            "long_description": _LONG_DESCRIPTION,
            "license": "Apache-2.0",
            "block_type": "model",
            "search_keywords": _SEARCH_KEYWORDS,
            "is_vlm_block": True,
            "task_type_property": "task_type",
            "ui_manifest": {"section": "model", "icon": "far fa-gem", "blockPriority": 5.6},
        },
        protected_namespaces=(),
    )

    type: Literal["gemma4_block/gemma4_multi_image@v1", "Gemma4MultiImage"]

    @model_validator(mode="after")
    def _refuse_what_cannot_work(self) -> Self:
        self.check_question(
            self.task_type, prompt=self.prompt, classes=(), output_structure=self.output_structure
        )
        if not isinstance(self.max_images, str):
            resolve_max_images(self.max_images)
        return self

    @classmethod
    def describe_outputs(cls) -> list[OutputDefinition]:
        """Return the outputs, which are the same for every task."""
        return describe_group_outputs()

    @classmethod
    def get_parameters_accepting_batches(cls) -> list[str]:
        """Take all groups of a request in one call."""
        return ["images"]

    @classmethod
    def get_output_dimensionality_offset(cls) -> int:
        """Give one answer for each group of images."""
        return -1

    @classmethod
    def accepts_empty_values(cls) -> bool:
        """Run for empty groups too: they have a row that says so."""
        return True
