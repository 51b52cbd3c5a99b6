"""The form of a step with a model: the fields that all such steps have, and what they tell the host."""

from collections.abc import Iterable, Sequence
from typing import Annotated

from pydantic import Field, JsonValue, StrictBool, StrictFloat, StrictInt, WithJsonSchema
from pydantic.config import JsonDict

from gemma4_block.blocks._host import (
    AirGappedAvailability,
    BooleanSelector,
    DependentResource,
    DictionarySelector,
    Discovery,
    FloatSelector,
    IntegerSelector,
    ModelExecutionLocation,
    ModelIdSelector,
    RuntimeRestriction,
    StringSelector,
    TextSelector,
    WorkOperation,
    is_workflow_selector,
    roboflow_platform_model,
)
from gemma4_block.blocks.fields import ImageSeqLengthChoice, KeepAliveChoice, read_text
from gemma4_block.blocks.restrictions import declared_restrictions, restrictions_of_step
from gemma4_block.blocks.step_manifest import StepManifest, other_names
from gemma4_block.catalogue import MODEL_IDS, VARIANTS, find_embedded
from gemma4_block.contract import DEFAULT_MAX_NEW_TOKENS, Quantization
from gemma4_block.fields import GenerationFields, check_classes, check_structure, resolve_generation
from gemma4_block.tasks import TASKS, FieldName, Task, TaskType, check_inputs


def relevant_for(field: FieldName, tasks: Iterable[Task] = tuple(TASKS.values())) -> JsonDict:
    """Return for a form in which of its tasks a field is shown, and whether it must be filled there.

    The host can say of a field only that all tasks which show it need it, or none does. One that some tasks
    need is shown for those alone, so that no step can be saved without it.
    """
    uses = {str(task.name): getattr(task.takes, field) for task in tasks}
    is_required = "required" in uses.values()
    shown: list[JsonValue] = [
        name for name, use in uses.items() if use == ("required" if is_required else "optional")
    ]
    return {"task_type": {"values": shown, "required": is_required}}


# A plain text to the validator, a list of choices to the form.
_VariantId = Annotated[str, WithJsonSchema({"type": "string", "enum": list(MODEL_IDS)})]

OutputStructureField = Annotated[
    dict[str, JsonValue] | DictionarySelector | None,
    Field(
        title="Fields of the Answer",
        description="The fields of the answer and what each should say. Whoever needs numbers, lists or "
        "fixed choices gives a JSON Schema instead. The answer always has this form. What concerns all of "
        f"them goes into the system prompt. {other_names('output_structure')}",
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
            "relevant_for": relevant_for("output_structure"),
            "always_visible": True,
        },
    ),
]

_MODEL_VERSIONS: JsonDict = {
    variant.model_id: {"name": variant.title, "description": variant.description} for variant in VARIANTS
}

_QUANTIZATIONS: JsonDict = {
    "auto": {"name": "Automatic", "description": "4 bits on a CUDA GPU, full precision on a CPU."},
    "none": {"name": "Full precision", "description": "The precision that the weights are published in."},
    "nf4": {"name": "4 bits", "description": "About a third of the memory, and a little less exact."},
    "int8": {
        "name": "8 bits, on a CPU",
        "description": "Half the memory of the language model, faster answers, and a little less exact.",
    },
    "int8_tower": {
        "name": "8 bits with the vision tower, on a CPU",
        "description": "Less memory still, and images are seen a little less exactly.",
    },
}


class ModelStepManifest(StepManifest):
    """A step that asks Gemma 4.

    pydantic orders the fields of the last base first, so a step that puts a base with other fields behind
    this one shows those before these.
    """

    model_version: _VariantId | ModelIdSelector | str = Field(
        default=MODEL_IDS[0],
        title="Model",
        description="Which Gemma 4 answers: larger ones see and know more, and need a larger GPU. "
        "gemma-4-demo knows drawn things only: for photographs take gemma-4-e2b-it or a larger one. A "
        f"fine-tuned model is named by its id, such as my-project/3. {other_names('model_version')}",
        examples=["gemma-4-e4b-it", "my-project/3", "$inputs.model_version"],
        json_schema_extra={"values_metadata": _MODEL_VERSIONS, "always_visible": True},
    )
    system_prompt: str | TextSelector | None = Field(
        default=None,
        title="System Prompt",
        description="How the model should behave in every answer: its role, tone, language or format. Leave "
        "empty for none.",
        examples=["You inspect parts on a production line. Be brief.", "$inputs.system_prompt"],
        json_schema_extra={"multiline": True},
    )
    image_seq_length: ImageSeqLengthChoice | IntegerSelector | StringSelector = Field(
        default="auto",
        title="Visual Tokens per Image",
        description="How closely the model looks: the most tokens that an image may become. 70 and 140 are "
        "fast and do for captions and classes, 560 and 1120 are slower and show small print and small "
        "objects. auto suits the task, and takes less for an image so small that less shows all of it. A "
        "model that was not trained for a number takes the nearest that it was trained for. "
        f"{other_names('image_seq_length')}",
        examples=["auto", 280, "$inputs.image_seq_length"],
    )
    max_new_tokens: StrictInt | IntegerSelector | None = Field(
        default=None,
        title="Longest Answer in Tokens",
        description="Most tokens of one answer, without thoughts; a token is about three quarters of a "
        "word, and a box takes about 30. An answer that reaches it is cut off, and finish_reason is length. "
        "Leave empty for the "
        f"machine's default, {DEFAULT_MAX_NEW_TOKENS} unless its operator says otherwise. "
        f"{other_names('max_new_tokens')}",
        examples=[256, "$inputs.max_new_tokens"],
    )
    temperature: StrictFloat | FloatSelector | None = Field(
        default=None,
        title="Temperature",
        description="How much chance plays a part. 0 gives the same, likeliest answer every time; 0.7 "
        "varies a little, 1.0 more. Leave empty for the machine's default, 0 unless its operator says "
        "otherwise.",
        examples=[0, 0.7, "$inputs.temperature"],
    )
    top_p: StrictFloat | FloatSelector | None = Field(
        default=None,
        title="Top-p",
        description="With a temperature above 0 only: choose among the likeliest words that together reach "
        "this share, above 0 and at most 1.",
        examples=[0.95, "$inputs.top_p"],
    )
    top_k: StrictInt | IntegerSelector | None = Field(
        default=None,
        title="Top-k",
        description="With a temperature above 0 only: choose among this many of the likeliest words.",
        examples=[64, "$inputs.top_k"],
    )
    seed: StrictInt | IntegerSelector | None = Field(
        default=None,
        title="Seed",
        description="With a temperature above 0 only: a whole number that makes the chance repeatable. The "
        "same seed gives the same answer.",
        examples=[42, "$inputs.seed"],
    )
    enable_thinking: StrictBool | BooleanSelector | None = Field(
        default=None,
        title="Think before Answering",
        description="Let the model think before it answers. Helps with counting and reasoning and takes "
        "longer; the thoughts are in the output thinking. Leave empty for the machine's default, off unless "
        f"its operator says otherwise. {other_names('enable_thinking')}",
        examples=[True, "$inputs.enable_thinking"],
    )
    max_thinking_tokens: StrictInt | IntegerSelector | None = Field(
        default=None,
        title="Longest Thoughts in Tokens",
        description="With enable_thinking only: most tokens of thoughts, counted apart from the answer. Then "
        "the model stops thinking and answers. Leave empty for the most that the machine allows. "
        f"{other_names('max_thinking_tokens')}",
        examples=[256, "$inputs.max_thinking_tokens"],
        json_schema_extra={"relevant_for": {"enable_thinking": {"values": [True], "required": False}}},
    )
    quantization: Quantization | StringSelector = Field(
        default="auto",
        title="Precision of the Weights",
        description="Precision of the model's weights. Less precision needs less memory and may cost some "
        "quality.",
        examples=["auto", "$inputs.quantization"],
        json_schema_extra={"values_metadata": _QUANTIZATIONS},
    )
    keep_alive: KeepAliveChoice | FloatSelector | StringSelector | None = Field(
        default=None,
        title="Seconds the Model Stays Loaded",
        description="How many seconds the model stays loaded after this step where nobody else asks it: 0 "
        "frees its memory at once, forever keeps it. The next question then waits until it is loaded again. "
        "Leave empty for as long as the machine keeps models, which is also the most.",
        examples=[300, 0, "forever", "$inputs.keep_alive"],
    )

    def check_question(
        self,
        task_type: TaskType,
        *,
        prompt: str | None,
        classes: Sequence[str],
        output_structure: dict[str, JsonValue] | str | None,
    ) -> None:
        """Refuse fields that cannot work, as far as no selector hides them.

        Args:
            task_type: What is asked.
            prompt: The user's, or a selector.
            classes: The user's; a selector is the only one of them.
            output_structure: The user's, or a selector.

        Raises:
            PromptError: A field is missing, would do nothing, or cannot be used.
            ConfigurationError: A value is out of range or above a limit of the operator, or does nothing
                beside the others.

        """
        # The value of a selector is checked at run time; here it is neither missing nor empty.
        check_inputs(
            task_type,
            TASKS[task_type].takes,
            prompt=prompt,
            classes=classes,
            output_structure={"selector": output_structure}
            if isinstance(output_structure, str)
            else output_structure,
        )
        check_classes(classes)
        if not isinstance(output_structure, str):
            check_structure(output_structure)
        read_text("prompt", prompt)
        read_text("system prompt", self.system_prompt)
        self._check_generation()

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
        if find_embedded(self.model_version) is not None:
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

    def _check_generation(self) -> None:
        # Whether top_p, top_k and seed do anything depends on the temperature, and an allowance for thoughts
        # on whether there are any.
        names = ["max_new_tokens"]
        if not is_workflow_selector(self.enable_thinking):
            names += ["enable_thinking", "max_thinking_tokens"]
        if not is_workflow_selector(self.temperature):
            names += ["temperature", "top_p", "top_k", "seed"]
        literals = {name: value for name in names if not is_workflow_selector(value := getattr(self, name))}
        resolve_generation(GenerationFields.model_validate(literals))
