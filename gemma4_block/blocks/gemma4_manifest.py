"""The form of the Gemma 4 step: its fields, what each may say, and what the host may know about it."""

from typing import Literal

from pydantic import ConfigDict, Field, JsonValue, model_validator
from pydantic.config import JsonDict
from typing_extensions import Self

from gemma4_block.blocks._host import (
    FloatSelector,
    ImageInputField,
    ImageSelector,
    ListSelector,
    OutputDefinition,
    StringSelector,
    TextSelector,
    WorkflowBlockManifest,
)
from gemma4_block.blocks.fields import UnchangedBelow
from gemma4_block.blocks.model_step_manifest import ModelStepManifest, OutputStructureField, relevant_for
from gemma4_block.blocks.outputs import OUTPUT_MEANINGS, describe_outputs, describe_outputs_of
from gemma4_block.blocks.step_manifest import other_names
from gemma4_block.catalogue import VARIANTS
from gemma4_block.reading import BOX_CONTRACTS, DEFAULT_BOX_FORMAT, BoxFormat
from gemma4_block.tasks import TASKS, TaskType

_SEARCH_KEYWORDS: list[JsonValue] = [
    "Gemma",
    "Gemma 4",
    "Google",
    "VLM",
    "LMM",
    "vision language model",
    "caption",
    "OCR",
    "visual question answering",
    "classification",
    "object detection",
    "counting",
    "JSON",
    "structured output",
    "local",
    "offline",
]

_TASK_TYPES: JsonDict = {
    task.name: {"name": task.title, "description": task.description} for task in TASKS.values()
}

_BOX_FORMATS: JsonDict = {
    contract.name: {"name": contract.title, "description": contract.description}
    for contract in BOX_CONTRACTS.values()
}


def _size(weights_gb: float | None) -> str:
    if weights_gb is None:
        return "-"
    return f"{weights_gb:.1f} GB" if weights_gb >= 1 else f"{weights_gb * 1000:.0f} MB"


_TASK_LIST = "\n".join(f"* **{task.title}** (`{task.name}`): {task.description}" for task in TASKS.values())

_MODEL_ROWS = "\n".join(
    f"| {variant.title} | `{variant.model_id}` | {_size(variant.weights_gb)} | {_size(variant.nf4_gb)} "
    f"| {variant.description} |"
    for variant in VARIANTS
)

_OUTPUT_ROWS = "\n".join(f"| `{name}` | {meaning} |" for name, meaning in OUTPUT_MEANINGS.items())

_LONG_DESCRIPTION = f"""
Ask Google's Gemma 4, a model that reads images and text, about every image or crop that reaches this step.
The model runs on this machine: no cloud service, no API key, no cost per call.

#### What you can ask

{_TASK_LIST}

#### What you get, for each image

| output | meaning |
|---|---|
{_OUTPUT_ROWS}

Connect `output` to a parser, a text display, a condition or a sink, and `predictions` to whatever takes
detections or classifications: visualizations, filters, counters, crops, trackers.

#### Answers that the next step can trust

* Tasks that answer in JSON are held to their form while the model writes: the answer has the fields that you
  asked for, the classes that you listed, and boxes inside the image.
* A confidence is measured, not written by the model: how likely it would have been to say this if it could
  have said anything. Classification: of each class; what they leave of 1 is none of them, and goes to a class
  called `other` where there is one. Multi-label: that a class is there, each by itself. Object detection: of
  the label, less where the coordinates are unsure. Boxes of low confidence are kept, also of classes that are
  not there: put a filter by confidence behind the step.
* An answer that was cut off says so in `error_status`; detections keep the boxes that were complete.

#### Models

| model | `model_version` | weights | in 4 bits | |
|---|---|---|---|---|
{_MODEL_ROWS}

Working memory comes on top of the weights. A model other than the demo must be on the machine before it is
used; where it is missing, the error says which command fetches it. The first answer after a start waits
until the model is loaded. Steps that use the same model share one copy.

#### Crops

Behind a detection model and a dynamic crop, all crops of a request are asked about together, and the
answers come back in the order of the crops. A frame without crops gives no answers and no error.

#### Licence

Gemma 4 is published under Apache-2.0; the terms are on each model card, for example
[google/gemma-4-E2B-it](https://huggingface.co/google/gemma-4-E2B-it). A fine-tuned model may have its own.
""".strip()


class _QuestionFields(WorkflowBlockManifest):
    """The fields that the form shows first: what is asked, about what."""

    images: ImageSelector = ImageInputField
    task_type: TaskType = Field(
        default="unconstrained",
        title="Task",
        description="What to ask. Open prompt and visual question answering need your question in prompt, "
        "classification, detection and counting your classes, structured answering the fields of the answer; "
        "the other tasks need nothing.",
        examples=["caption"],
        json_schema_extra={"values_metadata": _TASK_TYPES, "always_visible": True},
    )
    prompt: str | TextSelector | None = Field(
        default=None,
        title="Prompt",
        description="Your question or instruction. It may also come from an input or an earlier step, one "
        "text for all images or one for each.",
        examples=["Is the person wearing a helmet? Answer yes or no.", "$inputs.prompt"],
        json_schema_extra={
            "relevant_for": relevant_for("prompt"),
            "always_visible": True,
            "multiline": True,
        },
    )
    classes: list[str] | ListSelector | None = Field(
        default=None,
        title="Classes",
        description="The names of what may be answered, each once, in the words a person would use. For a "
        "classification add one for what fits none of them, such as other. "
        f"{other_names('classes')}",
        examples=[["car", "truck", "other"], "$inputs.classes"],
        json_schema_extra={"relevant_for": relevant_for("classes"), "always_visible": True},
    )
    output_structure: OutputStructureField = None


class Gemma4Manifest(ModelStepManifest, _QuestionFields):
    """A step that asks Gemma 4 about each image."""

    model_config = ConfigDict(
        json_schema_extra={
            "name": "Gemma 4",
            "version": "v1",
            "short_description": "Ask Google's Gemma 4 about images, on your own machine.",
            "long_description": _LONG_DESCRIPTION,
            "license": "Apache-2.0",
            "block_type": "model",
            "search_keywords": _SEARCH_KEYWORDS,
            "is_vlm_block": True,
            "task_type_property": "task_type",
            "ui_manifest": {"section": "model", "icon": "far fa-gem", "blockPriority": 5.5},
        },
        protected_namespaces=(),
    )

    type: Literal["gemma4_block/gemma4@v1", "Gemma4Block"]
    box_format: BoxFormat | StringSelector = Field(
        default=DEFAULT_BOX_FORMAT,
        title="Form of Boxes",
        description="How the model writes boxes. Change it only for a fine-tuned model that was taught "
        f"another form; boxes in the wrong place are its usual sign. {other_names('box_format')}",
        examples=[DEFAULT_BOX_FORMAT, "$inputs.box_format"],
        json_schema_extra={
            "relevant_for": relevant_for("box_format"),
            "values_metadata": _BOX_FORMATS,
        },
    )

    unchanged_below: UnchangedBelow | FloatSelector | None = Field(
        default=None,
        title="Look Again from a Change of (Percent)",
        description="For a video of a camera that stands still: a frame in which no part has changed by this "
        "much since the model last looked is answered from that last look, which is much faster. A part is "
        "as large as one visual token, and 100 is from black to white. 2 to 5 leave out the noise of a "
        "camera. Leave empty to look at every frame anew.",
        examples=[3, "$inputs.unchanged_below"],
    )

    @model_validator(mode="after")
    def _refuse_what_cannot_work(self) -> Self:
        classes = [self.classes] if isinstance(self.classes, str) else self.classes
        self.check_question(
            self.task_type,
            prompt=self.prompt,
            classes=[] if classes is None else classes,
            output_structure=self.output_structure,
        )
        return self

    @classmethod
    def describe_outputs(cls) -> list[OutputDefinition]:
        """Return the outputs with every kind that a task may give."""
        return describe_outputs()

    def get_actual_outputs(self) -> list[OutputDefinition]:
        """Return the outputs with the kinds that the step's task gives."""
        return describe_outputs_of(self.task_type)

    @classmethod
    def get_parameters_accepting_batches(cls) -> list[str]:
        """Take all images and crops of a request in one call."""
        return ["images"]

    @classmethod
    def get_parameters_accepting_batches_and_scalars(cls) -> list[str]:
        """Take one text for all images, or one for each."""
        return ["prompt", "system_prompt"]
