"""Keep away the host's blocks that connect to elsewhere, unless the operator lets workflows call out."""

from collections.abc import Callable
from typing import Any, Final

from pydantic import create_model, model_validator

SWITCH: Final = "--allow-outgoing"

_CORE: Final = "workflows_core"
# Of the blocks that send something somewhere, those that stay on this machine; whether they may write
# files is the host's variable for that.
_LOCAL_SINKS: Final = frozenset({"LocalFileSinkBlockV1", "VisionEventBundleSinkBlockV1"})
# Databases, brokers and machines of plants; the host lists them where it is told to.
_ENTERPRISE: Final = ".enterprise_blocks."
# It runs a workflow inside of another one here, or sends it to a server that the request names.
_INNER_WORKFLOW: Final = "InnerWorkflowBlockV1"


def close_outgoing_blocks() -> None:
    """Let no workflow with a block that calls out compile; blocks are still described as they are.

    They are what the host itself marks as needing the internet, all its sinks but those known to stay here,
    its blocks for enterprises, and inner workflows that are sent elsewhere. Plugins of the operator's own are
    left alone. Call it once, before the first workflow.
    """
    from inference.core.workflows.execution_engine.introspection import blocks_loader

    for block in blocks_loader.load_workflow_blocks():
        if block.block_source != _CORE:
            continue
        if block.block_class.__name__ == _INNER_WORKFLOW:
            _close(block.block_class, block.manifest_class, _is_dispatched)
        elif _calls_out(block.block_class, block.manifest_class):
            _close(block.block_class, block.manifest_class, lambda _: True)
    # The host has remembered the manifests as they were.
    blocks_loader.clear_caches()


def _calls_out(block: type, manifest: Any) -> bool:  # noqa: ANN401 - the host has no types
    is_sink = ".sinks." in block.__module__
    return (
        not manifest.get_air_gapped_availability().available
        or (is_sink and block.__name__ not in _LOCAL_SINKS)
        or _ENTERPRISE in block.__module__
    )


def _is_dispatched(step: object) -> bool:
    return isinstance(step, dict) and step.get("execution_mode", "embedded") != "embedded"


def _close(block: Any, manifest: Any, is_refused: Callable[[object], bool]) -> None:  # noqa: ANN401 - the host has no types
    """Give a block a manifest with the same form that refuses some steps."""

    def refuse(step: Any) -> Any:  # noqa: ANN401 - what a request says
        if is_refused(step):
            raise ValueError(
                f"this server lets no workflow call out. Its operator allows it by starting it with {SWITCH}"
            )
        return step

    validators: dict[str, Any] = {"refuse_to_call_out": model_validator(mode="before")(refuse)}
    closed = create_model(
        manifest.__name__, __base__=manifest, __module__=manifest.__module__, __validators__=validators
    )
    block.get_manifest = classmethod(lambda _: closed)
