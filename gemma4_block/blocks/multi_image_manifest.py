"""The form of the multi-image step: its fields, what each may say, and what the host may know about it."""

from typing import Literal

from pydantic import ConfigDict, Field, StrictInt, model_validator
from typing_extensions import Self

from gemma4_block.blocks import descriptions
from gemma4_block.blocks._host import (
    ImageInputField,
    ImageSelector,
    IntegerSelector,
    ListSelector,
    OutputDefinition,
    StringSelector,
    TextSelector,
)
from gemma4_block.blocks.fields import check_structure, read_text
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
from gemma4_block.blocks.group_fields import (
    DEFAULT_MAX_IMAGES,
    GroupTaskType,
    WhenTooMany,
    plan_max_images,
)
from gemma4_block.blocks.model_step import ModelStepManifest
from gemma4_block.blocks.multi_image_descriptions import (
    LONG_DESCRIPTION,
    SEARCH_KEYWORDS,
    TASK_TYPES,
    WHEN_TOO_MANY,
)
from gemma4_block.blocks.multi_image_outputs import describe_group_outputs
from gemma4_block.catalogue import MODEL_IDS
from gemma4_block.tasks import TASKS, check_inputs


class MultiImageManifest(ModelStepManifest):
    """A step that asks Gemma 4 one question about each group of images."""

    model_config = ConfigDict(
        json_schema_extra={
            "name": "Gemma 4 Multi-Image",
            "version": "v1",
            "short_description": "Ask Google's Gemma 4 one question about many images together, on your own "
            "machine.",
            "long_description": LONG_DESCRIPTION,
            "license": "Apache-2.0",
            "block_type": "model",
            "search_keywords": SEARCH_KEYWORDS,
            "is_vlm_block": True,
            "task_type_property": "task_type",
            "ui_manifest": {"section": "model", "icon": "fa-brands fa-google", "blockPriority": 5.6},
        },
        protected_namespaces=(),
    )

    type: Literal["gemma4_block/gemma4_multi_image@v1", "Gemma4MultiImage"]
    images: ImageSelector | ListSelector = ImageInputField
    task_type: GroupTaskType = Field(
        default="unconstrained",
        description="How to answer. Open prompt and visual question answering need your question in prompt, "
        "structured answering the fields of the answer.",
        examples=["visual-question-answering"],
        json_schema_extra={"values_metadata": TASK_TYPES, "always_visible": True},
    )
    prompt: str | TextSelector | None = Field(
        default=None,
        description="Your question or instruction, the same for every group. The images are named before it "
        "in their order: image 1, image 2, and so on; use these names. It may come from an input, but not "
        "one for each image.",
        examples=["What has changed between image 1 and image 2?", "$inputs.prompt"],
        json_schema_extra={
            "relevant_for": descriptions.tasks_that_take("prompt"),
            "always_visible": True,
            "multiline": True,
        },
    )
    output_structure: OutputStructureField = None
    max_images: StrictInt | IntegerSelector | None = Field(
        default=None,
        description="The most images of one question. Each takes time and memory: up to image_seq_length "
        f"tokens to read. Leave empty for {DEFAULT_MAX_IMAGES}, or for less where the machine allows less.",
        examples=[2, 16, "$inputs.max_images"],
        json_schema_extra={"always_visible": True},
    )
    when_too_many: WhenTooMany | StringSelector = Field(
        default="refuse",
        description="What becomes of a group with more than max_images. refuse gives an error for this group "
        "and leaves the others. sample asks about max_images of them: the first, the last, and others evenly "
        "spread between them; of 10 images 4 are images 1, 4, 7 and 10. The same images are taken every "
        "time, and asked_images tells which.",
        examples=["sample", "$inputs.when_too_many"],
        json_schema_extra={"values_metadata": WHEN_TOO_MANY},
    )
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

    @model_validator(mode="after")
    def _refuse_what_cannot_work(self) -> Self:
        # What a selector will give is checked when it gives it; it is neither missing nor nothing.
        structure = self.output_structure
        check_inputs(
            self.task_type,
            TASKS[self.task_type].takes,
            prompt=self.prompt,
            classes=(),
            output_structure={"selector": structure} if isinstance(structure, str) else structure,
        )
        if not isinstance(structure, str):
            check_structure(structure)
        read_text("prompt", self.prompt)
        read_text("system prompt", self.system_prompt)
        if not isinstance(self.max_images, str):
            plan_max_images(self.max_images)
        self.check_generation()
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
