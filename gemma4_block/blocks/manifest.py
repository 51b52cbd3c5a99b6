"""The form of the Gemma 4 step: its fields, what each may say, and what the host may know about it."""

from typing import Annotated, Literal

from pydantic import (
    ConfigDict,
    Field,
    JsonValue,
    StrictBool,
    StrictFloat,
    StrictInt,
    WithJsonSchema,
    model_validator,
)
from typing_extensions import Self

from gemma4_block.blocks import descriptions
from gemma4_block.blocks._host import (
    AirGappedAvailability,
    BooleanSelector,
    DependentResource,
    DictionarySelector,
    Discovery,
    FloatSelector,
    ImageInputField,
    ImageSelector,
    IntegerSelector,
    ListSelector,
    ModelExecutionLocation,
    ModelIdSelector,
    OutputDefinition,
    RuntimeRestriction,
    StringSelector,
    TextSelector,
    WorkflowBlockManifest,
    WorkOperation,
    is_workflow_selector,
    roboflow_platform_model,
)
from gemma4_block.blocks.fields import (
    GenerationFields,
    ImageSeqLengthChoice,
    check_classes,
    check_structure,
    plan_generation,
    read_text,
)
from gemma4_block.blocks.outputs import describe_outputs, describe_outputs_of
from gemma4_block.blocks.restrictions import declared_restrictions, restrictions_of_step
from gemma4_block.catalogue import MODEL_IDS, find_variant
from gemma4_block.contract import DEFAULT_MAX_NEW_TOKENS, Quantization
from gemma4_block.reading import DEFAULT_BOX_FORMAT, BoxFormat
from gemma4_block.tasks import TASKS, TaskType, check_inputs

# A plain text to the validator, a list of choices to the form.
VariantId = Annotated[str, WithJsonSchema({"type": "string", "enum": list(MODEL_IDS)})]


class Gemma4Manifest(WorkflowBlockManifest):
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
    output_structure: dict[str, JsonValue] | DictionarySelector | None = Field(
        default=None,
        description="The fields of the answer and what each should say. Whoever needs numbers, lists or "
        "fixed choices gives a JSON Schema instead. The answer always has this form.",
        examples=[
            {"color": "color of the car", "plate": "text of the license plate, or null"},
            {
                "type": "object",
                "properties": {"damage": {"enum": ["none", "light", "heavy"]}, "wheels": {"type": "integer"}},
                "required": ["damage", "wheels"],
            },
            "$inputs.output_structure",
        ],
        json_schema_extra={
            "relevant_for": descriptions.tasks_that_take("output_structure"),
            "always_visible": True,
        },
    )
    model_version: VariantId | ModelIdSelector | str = Field(
        default=MODEL_IDS[0],
        description="Which Gemma 4 answers: larger ones see and know more, and need a larger GPU. A "
        "fine-tuned model is named by its id, such as my-project/3.",
        examples=["gemma-4-e4b-it", "my-project/3", "$inputs.model_version"],
        json_schema_extra={"values_metadata": descriptions.MODEL_VERSIONS, "always_visible": True},
    )
    system_prompt: str | TextSelector | None = Field(
        default=None,
        description="How the model should behave in every answer: its role, tone, language or format. Leave "
        "empty for none.",
        examples=["You inspect parts on a production line. Be brief.", "$inputs.system_prompt"],
        json_schema_extra={"multiline": True},
    )
    image_seq_length: ImageSeqLengthChoice | IntegerSelector | StringSelector = Field(
        default="auto",
        description="How closely the model looks: the most tokens that an image may become. 70 and 140 are "
        "fast and do for captions and classes, 560 and 1120 are slower and show small print and small "
        "objects. auto takes what suits the task.",
        examples=["auto", 280, "$inputs.image_seq_length"],
    )
    max_new_tokens: StrictInt | IntegerSelector | None = Field(
        default=None,
        description="Most tokens of one answer, without thoughts; a token is about three quarters of a "
        "word, and a box takes about 30. An answer that reaches it is cut off, and finish_reason is length. "
        "Leave empty for the "
        f"machine's default, {DEFAULT_MAX_NEW_TOKENS} unless its operator says otherwise.",
        examples=[256, "$inputs.max_new_tokens"],
    )
    temperature: StrictFloat | FloatSelector | None = Field(
        default=None,
        description="How much chance plays a part. 0 gives the same, likeliest answer every time; 0.7 "
        "varies a little, 1.0 more. Leave empty for the machine's default, 0 unless its operator says "
        "otherwise.",
        examples=[0, 0.7, "$inputs.temperature"],
    )
    top_p: StrictFloat | FloatSelector | None = Field(
        default=None,
        description="With a temperature above 0 only: choose among the likeliest words that together reach "
        "this share, above 0 and at most 1.",
        examples=[0.95, "$inputs.top_p"],
    )
    top_k: StrictInt | IntegerSelector | None = Field(
        default=None,
        description="With a temperature above 0 only: choose among this many of the likeliest words.",
        examples=[64, "$inputs.top_k"],
    )
    seed: StrictInt | IntegerSelector | None = Field(
        default=None,
        description="With a temperature above 0 only: a whole number that makes the chance repeatable. The "
        "same seed gives the same answer.",
        examples=[42, "$inputs.seed"],
    )
    enable_thinking: StrictBool | BooleanSelector | None = Field(
        default=None,
        description="Let the model think before it answers. Helps with counting and reasoning and takes "
        "longer; the thoughts are in the output thinking. Leave empty for the machine's default, off unless "
        "its operator says otherwise.",
        examples=[True, "$inputs.enable_thinking"],
    )
    max_thinking_tokens: StrictInt | IntegerSelector | None = Field(
        default=None,
        description="With enable_thinking only: most tokens of thoughts, counted apart from the answer. Then "
        "the model stops thinking and answers. Leave empty for the most that the machine allows.",
        examples=[256, "$inputs.max_thinking_tokens"],
    )
    quantization: Quantization | StringSelector = Field(
        default="auto",
        description="Precision of the model's weights. Less precision needs less GPU memory and may cost "
        "some quality.",
        examples=["auto", "$inputs.quantization"],
        json_schema_extra={"values_metadata": descriptions.QUANTIZATIONS},
    )
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
        # Whether top_p, top_k and seed do anything depends on the temperature, and an allowance for thoughts
        # on whether there are any.
        names = ["max_new_tokens"]
        if not is_workflow_selector(self.enable_thinking):
            names += ["enable_thinking", "max_thinking_tokens"]
        if not is_workflow_selector(self.temperature):
            names += ["temperature", "top_p", "top_k", "seed"]
        literals = {name: value for name in names if not is_workflow_selector(value := getattr(self, name))}
        plan_generation(GenerationFields.model_validate(literals))
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

    @classmethod
    def get_execution_engine_compatibility(cls) -> str:
        """Return the versions of the Workflows engine that can run the step."""
        return ">=1.3.0,<2.0.0"

    @classmethod
    def get_air_gapped_availability(cls) -> AirGappedAvailability:
        """Run without internet access, always."""
        return AirGappedAvailability(available=True)

    @classmethod
    def get_supported_model_variants(cls) -> None:
        """Name no variants: the embedded model needs no weights, so the step is available on every machine.

        The host looks for a named variant in its own cache only, and would call the step unavailable
        beside weights in the Hugging Face cache, in a model root or in this package.
        """
        return

    @classmethod
    def get_restrictions(cls) -> list[RuntimeRestriction]:
        """Return where a step of any model is slow or cannot run."""
        return declared_restrictions()

    def get_actual_restrictions(
        self, *, ignore_environment_restrictions: bool = False
    ) -> Discovery[RuntimeRestriction]:
        """Return where this step, with its model, is slow or cannot run."""
        return restrictions_of_step(
            self.name, self.model_version, ignore_environment=ignore_environment_restrictions
        )

    def discover_dependent_resources(self) -> list[DependentResource]:
        """Return the weights that the step needs; the embedded model needs none."""
        variant = find_variant(self.model_version)
        if variant is not None and variant.directory is not None:
            return []
        # Our own pool loads it, so the host's model manager must not.
        return [
            roboflow_platform_model(
                model_id=self.model_version,
                execution_location=ModelExecutionLocation.LOCAL,
                preloadable=False,
            )
        ]

    def discover_work_operations(self) -> list[WorkOperation]:
        """Return the kinds of work that the step does."""
        return [WorkOperation.MODEL_INFERENCE]
