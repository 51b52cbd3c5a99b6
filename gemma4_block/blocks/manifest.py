"""The form of the Gemma 4 step: its fields, what each may say, and what the host may know about it."""

from typing import Literal

from pydantic import ConfigDict, Field, model_validator
from typing_extensions import Self

from gemma4_block.blocks import descriptions
from gemma4_block.blocks._host import (
    ImageInputField,
    ImageSelector,
    ListSelector,
    OutputDefinition,
    StringSelector,
    TextSelector,
)
from gemma4_block.blocks.fields import check_classes, check_structure, read_text
from gemma4_block.blocks.form_fields import (
    EnableThinking,
    ImageBudget,
    MaxNewTokens,
    MaxThinkingTokens,
    ModelVersion,
    OutputStructureField,
    Precision,
    Seed,
    SystemPrompt,
    Temperature,
    TopK,
    TopP,
)
from gemma4_block.blocks.model_step import ModelStepManifest
from gemma4_block.blocks.outputs import describe_outputs, describe_outputs_of
from gemma4_block.catalogue import MODEL_IDS
from gemma4_block.reading import DEFAULT_BOX_FORMAT, BoxFormat
from gemma4_block.tasks import TASKS, TaskType, check_inputs


class Gemma4Manifest(ModelStepManifest):
    """A step that asks Gemma 4 about each image."""

    model_config = ConfigDict(
        json_schema_extra={
            "name": "Gemma 4",
            "version": "v1",
            "short_description": "Ask Google's Gemma 4 about images, on your own machine.",
            "long_description": descriptions.LONG_DESCRIPTION,
            "license": "Apache-2.0",
            "block_type": "model",
            "search_keywords": descriptions.SEARCH_KEYWORDS,
            "is_vlm_block": True,
            "task_type_property": "task_type",
            "ui_manifest": {"section": "model", "icon": "fa-brands fa-google", "blockPriority": 5.5},
        },
        protected_namespaces=(),
    )

    type: Literal["gemma4_block/gemma4@v1", "Gemma4Block"]
    images: ImageSelector = ImageInputField
    task_type: TaskType = Field(
        default="unconstrained",
        description="What to ask. Open prompt and visual question answering need your question in prompt, "
        "classification, detection and counting your classes, structured answering the fields of the answer; "
        "the other tasks need nothing.",
        examples=["caption"],
        json_schema_extra={"values_metadata": descriptions.TASK_TYPES, "always_visible": True},
    )
    prompt: str | TextSelector | None = Field(
        default=None,
        description="Your question or instruction. It may also come from an input or an earlier step, one "
        "text for all images or one for each.",
        examples=["Is the person wearing a helmet? Answer yes or no.", "$inputs.prompt"],
        json_schema_extra={
            "relevant_for": descriptions.tasks_that_take("prompt"),
            "always_visible": True,
            "multiline": True,
        },
    )
    classes: list[str] | ListSelector | None = Field(
        default=None,
        description="The names of what may be answered, each once, in the words a person would use. For a "
        "classification add one for what fits none of them, such as other.",
        examples=[["car", "truck", "other"], "$inputs.classes"],
        json_schema_extra={"relevant_for": descriptions.tasks_that_take("classes"), "always_visible": True},
    )
    output_structure: OutputStructureField = None
    model_version: ModelVersion = MODEL_IDS[0]
    system_prompt: SystemPrompt = None
    image_seq_length: ImageBudget = "auto"
    max_new_tokens: MaxNewTokens = None
    temperature: Temperature = None
    top_p: TopP = None
    top_k: TopK = None
    seed: Seed = None
    enable_thinking: EnableThinking = None
    max_thinking_tokens: MaxThinkingTokens = None
    quantization: Precision = "auto"
    box_format: BoxFormat | StringSelector = Field(
        default=DEFAULT_BOX_FORMAT,
        description="How the model writes boxes. Change it only for a fine-tuned model that was taught "
        "another form; boxes in the wrong place are its usual sign.",
        examples=[DEFAULT_BOX_FORMAT, "$inputs.box_format"],
        json_schema_extra={
            "relevant_for": {"task_type": {"values": ["object-detection"], "required": False}},
            "values_metadata": descriptions.BOX_FORMATS,
        },
    )

    @model_validator(mode="after")
    def _refuse_what_cannot_work(self) -> Self:
        task = TASKS[self.task_type]
        # What a selector will give is checked when it gives it; it is neither missing nor nothing.
        classes = [self.classes] if isinstance(self.classes, str) else self.classes
        structure = self.output_structure
        check_inputs(
            task.name,
            task.takes,
            prompt=self.prompt,
            classes=[] if classes is None else classes,
            output_structure={"selector": structure} if isinstance(structure, str) else structure,
        )
        check_classes([] if classes is None else classes)
        if not isinstance(structure, str):
            check_structure(structure)
        read_text("prompt", self.prompt)
        read_text("system prompt", self.system_prompt)
        self.check_generation()
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
