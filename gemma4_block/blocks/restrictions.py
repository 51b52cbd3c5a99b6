"""Where a Gemma 4 step is slow or cannot run, in the host's words."""

from gemma4_block.blocks._host import (
    Discovery,
    Runtime,
    RuntimeRestriction,
    Severity,
    actual_restrictions_of,
    incomplete_discovery,
    is_workflow_selector,
    unresolved_selector_problem,
)
from gemma4_block.catalogue import find_embedded

_NEEDS_THE_PLUGIN = RuntimeRestriction(
    code="third_party_plugin_not_loaded",
    severity=Severity.HARD,
    note="Roboflow's hosted servers do not load third-party plugins; run the workflow on your own machine.",
    applies_to_runtimes=[Runtime.HOSTED_SERVERLESS],
)
_SLOW_WITHOUT_GPU = RuntimeRestriction(
    code="slow_without_gpu",
    severity=Severity.SOFT,
    note="Runs on a CPU, but an answer takes seconds to minutes; use a CUDA GPU for more than trials.",
    applies_to_runtimes=[Runtime.SELF_HOSTED_CPU],
)


def declared_restrictions() -> list[RuntimeRestriction]:
    """Return the restrictions of a step whose model is not known."""
    return [_NEEDS_THE_PLUGIN, _SLOW_WITHOUT_GPU]


def restrictions_of_step(
    name: str, model_version: str, *, ignore_environment: bool
) -> Discovery[RuntimeRestriction]:
    """Return the restrictions of one step; incomplete where its model is only known at run time.

    Args:
        name: The step.
        model_version: Its model, or the selector that will give it.
        ignore_environment: Leave conditions on the host's configuration as they are.

    Returns:
        What the host asks for.

    """
    step = f"$steps.{name}"
    declared: list[RuntimeRestriction] | Discovery[RuntimeRestriction]
    if find_embedded(model_version) is not None:
        # The embedded model is small enough for any CPU.
        declared = [_NEEDS_THE_PLUGIN]
    elif is_workflow_selector(model_version):
        problem = unresolved_selector_problem(
            node_id=step, declaration="restrictions", field="model_version", selector=model_version
        )
        declared = incomplete_discovery([_NEEDS_THE_PLUGIN], [problem])
    else:
        declared = declared_restrictions()
    return actual_restrictions_of(declared, node_id=step, ignore_environment_restrictions=ignore_environment)


def restrictions_without_model(name: str, *, ignore_environment: bool) -> Discovery[RuntimeRestriction]:
    """Return the restrictions of a step that asks no model.

    Args:
        name: The step.
        ignore_environment: Leave conditions on the host's configuration as they are.

    Returns:
        What the host asks for.

    """
    return actual_restrictions_of(
        [_NEEDS_THE_PLUGIN],
        node_id=f"$steps.{name}",
        ignore_environment_restrictions=ignore_environment,
    )
