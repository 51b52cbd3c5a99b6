"""The block as the builder sees it, over HTTP."""

import json
from typing import Any

import pytest
from fastapi.testclient import TestClient

from gemma4_block.blocks.gemma4_manifest import Gemma4Manifest
from gemma4_block.blocks.label_detections_manifest import LabelDetectionsManifest
from gemma4_block.blocks.multi_image_manifest import MultiImageManifest

BLOCKS = {
    "gemma4_block/gemma4@v1": ("Gemma4Block", "Gemma 4", Gemma4Manifest),
    "gemma4_block/label_detections@v1": (
        "Gemma4LabelDetections",
        "Label Detections with Answers",
        LabelDetectionsManifest,
    ),
    "gemma4_block/gemma4_multi_image@v1": ("Gemma4MultiImage", "Gemma 4 Multi-Image", MultiImageManifest),
}


@pytest.mark.slow
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_the_server_describes_the_whole_blocks(client: TestClient, method: str) -> None:
    """Nothing of a form is lost between the manifest and the builder."""
    described: dict[str, Any] = client.request(method, "/workflows/blocks/describe").json()
    blocks = {
        block["manifest_type_identifier"]: block
        for block in described["blocks"]
        if block["block_source"] == "gemma4_block"
    }
    assert list(blocks) == list(BLOCKS)
    for identifier, (alias, name, manifest) in BLOCKS.items():
        block = blocks[identifier]
        assert block["manifest_type_identifier_aliases"] == [alias]
        assert block["human_friendly_block_name"] == name
        assert block["block_schema"] == json.loads(json.dumps(manifest.model_json_schema()))
        outputs = [output["name"] for output in block["outputs_manifest"]]
        assert outputs == [output.name for output in manifest.describe_outputs()]


@pytest.mark.slow
def test_the_builder_gets_what_it_draws_the_form_from(client: TestClient) -> None:
    """The extras that the builder reads are there under the host's names."""
    described: dict[str, Any] = client.get("/workflows/blocks/describe").json()
    (schema,) = [
        block["block_schema"]
        for block in described["blocks"]
        if block["manifest_type_identifier"] == "gemma4_block/gemma4@v1"
    ]
    extras = ("name", "version", "license", "block_type", "is_vlm_block", "task_type_property")
    assert {name: schema[name] for name in extras} == {
        "name": "Gemma 4",
        "version": "v1",
        "license": "Apache-2.0",
        "block_type": "model",
        "is_vlm_block": True,
        "task_type_property": "task_type",
    }
    assert schema["ui_manifest"] == {
        "section": "model",
        "icon": "far fa-gem",
        "blockPriority": 5.5,
    }
    assert "https://huggingface.co/google/gemma-4-E2B-it" in schema["long_description"]
    assert schema["properties"]["prompt"]["multiline"] is True


@pytest.mark.slow
def test_a_step_that_cannot_work_is_answered_with_the_reason(client: TestClient) -> None:
    """`validate` says 400 and what to do, before anything runs."""
    specification = {
        "version": "1.0",
        "inputs": [{"type": "WorkflowImage", "name": "image"}],
        "steps": [{"type": "gemma4_block/gemma4@v1", "name": "gemma", "images": "$inputs.image"}],
        "outputs": [],
    }
    response = client.post("/workflows/validate", json=specification)
    assert response.status_code == 400
    assert "task_type unconstrained needs a prompt" in response.text
