"""What the forms of all steps with a model tell the host."""

from typing import TYPE_CHECKING

from gemma4_block.blocks._host import (
    AirGappedAvailability,
    DependentResource,
    Discovery,
    ModelExecutionLocation,
    RuntimeRestriction,
    WorkflowBlockManifest,
    WorkOperation,
    is_workflow_selector,
    roboflow_platform_model,
)
from gemma4_block.blocks.fields import GenerationFields, plan_generation
from gemma4_block.blocks.restrictions import declared_restrictions, restrictions_of_step
from gemma4_block.catalogue import find_variant


class ModelStepManifest(WorkflowBlockManifest):
    """A step that asks Gemma 4. The fields are those of each step, in the order its form shows them."""

    if TYPE_CHECKING:
        model_version: str
        enable_thinking: object
        temperature: object

    def check_generation(self) -> None:
        """Refuse a field that says how to answer and cannot work, as far as no selector hides it.

        Raises:
            ConfigurationError: A value is out of range or above the operator's limit, or does nothing
                beside the others.

        """
        # Whether top_p, top_k and seed do anything depends on the temperature, and an allowance for thoughts
        # on whether there are any.
        names = ["max_new_tokens"]
        if not is_workflow_selector(self.enable_thinking):
            names += ["enable_thinking", "max_thinking_tokens"]
        if not is_workflow_selector(self.temperature):
            names += ["temperature", "top_p", "top_k", "seed"]
        literals = {name: value for name in names if not is_workflow_selector(value := getattr(self, name))}
        plan_generation(GenerationFields.model_validate(literals))

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
