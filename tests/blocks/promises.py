"""What workflows that people have saved rely on: the fields of a form and its outputs, without the texts."""

import json
from typing import Any

from roboflow_workflows.prototypes.block import WorkflowBlockManifest

# Wording may improve at any time.
_PROSE = {
    "docs",
    "description",
    "examples",
    "long_description",
    "search_keywords",
    "short_description",
    "title",
    "values_metadata",
}


def promise_of(manifest: type[WorkflowBlockManifest]) -> dict[str, Any]:
    """Return fields with their types and defaults, and outputs with their kinds."""
    outputs = {
        output.name: sorted(kind.name for kind in output.kind) for output in manifest.describe_outputs()
    }
    promise: dict[str, Any] = json.loads(
        json.dumps({"manifest": _without_prose(manifest.model_json_schema()), "outputs": outputs})
    )
    return promise


def _without_prose(node: object, *, is_property_map: bool = False) -> object:
    if isinstance(node, list):
        return [_without_prose(item) for item in node]
    if not isinstance(node, dict):
        return node
    return {
        key: _without_prose(value, is_property_map=key == "properties")
        for key, value in node.items()
        if is_property_map or key not in _PROSE
    }
