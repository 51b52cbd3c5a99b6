"""A step says in the log which of its fields do nothing; the host drops them without a word."""

import logging
import re
from pathlib import Path

# The host's settings must be installed before roboflow_workflows freezes its own.
import inference.core  # noqa: F401  # isort: split
import numpy as np
import pytest
from roboflow_workflows.core_steps.loader import load_blocks as load_core_blocks
from roboflow_workflows.execution_engine.core import ExecutionEngine

from gemma4_block.blocks.gemma4_manifest import Gemma4Manifest
from gemma4_block.blocks.label_detections_manifest import LabelDetectionsManifest
from gemma4_block.blocks.multi_image_manifest import MultiImageManifest
from gemma4_block.blocks.step_manifest import STOCK_NAMES, StepManifest
from gemma4_block.testing import ScriptedEngine, ScriptedProvider

DOCS = Path(__file__).parents[2] / "docs" / "workflow.md"
GEMMA = {
    "type": "gemma4_block/gemma4@v1",
    "name": "gemma",
    "images": "$inputs.image",
    "task_type": "caption",
}
GROUP = {
    **GEMMA,
    "type": "gemma4_block/gemma4_multi_image@v1",
    "task_type": "unconstrained",
    "prompt": "What?",
}
LABELS = {
    "type": "gemma4_block/label_detections@v1",
    "name": "labels",
    "object_detection_predictions": "$steps.detector.predictions",
    "answers": "$steps.gemma.output",
}
FIELDS_OF_GEMMA = (
    "images, task_type, prompt, classes, output_structure, model_version, system_prompt, image_seq_length, "
    "max_new_tokens, temperature, top_p, top_k, seed, enable_thinking, max_thinking_tokens, quantization, "
    "keep_alive, box_format, unchanged_below"
)


def warnings_of(
    caplog: pytest.LogCaptureFixture, manifest: type[StepManifest], step: dict[str, object]
) -> list[str]:
    """Validate a step and return what the log says."""
    caplog.clear()
    with caplog.at_level(logging.WARNING, "gemma4_block"):
        manifest.model_validate(step)
    return list(caplog.messages)


def test_a_field_that_the_host_would_drop_is_named_with_what_it_is_called_here(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Names of the host's blocks, a misspelt name, and one that has no likeness here."""
    step = {**GEMMA, "max_tokens": 3, "temperatures": 0.5, "stop": ["."]}
    (warning,) = warnings_of(caplog, Gemma4Manifest, step)
    assert warning == (
        "The step 'gemma' has fields that 'gemma4_block/gemma4@v1' does not have, and that do nothing: "
        "'max_tokens' (here max_new_tokens), 'temperatures' (here temperature), 'stop'. Its fields are "
        f"{FIELDS_OF_GEMMA}."
    )


@pytest.mark.parametrize(
    ("manifest", "step", "field", "shown"),
    [
        (MultiImageManifest, GROUP, "thinking_level", "'thinking_level' (here enable_thinking)"),
        (MultiImageManifest, GROUP, "box_format", "'box_format'"),
        (MultiImageManifest, GROUP, "output_classes", "'output_classes'"),
        (LabelDetectionsManifest, LABELS, "predictions", "'predictions'"),
        (LabelDetectionsManifest, LABELS, "crop", "'crop' (here crops)"),
        (LabelDetectionsManifest, LABELS, "max_tokens", "'max_tokens'"),
    ],
)
def test_every_block_warns_of_what_it_does_not_have(
    caplog: pytest.LogCaptureFixture,
    manifest: type[StepManifest],
    step: dict[str, object],
    field: str,
    shown: str,
) -> None:
    """A field of another block is none of this one, and is not offered in its place."""
    (warning,) = warnings_of(caplog, manifest, {**step, field: "x"})
    assert f"that do nothing: {shown}. Its fields are " in warning


@pytest.mark.parametrize(
    ("manifest", "step"),
    [(Gemma4Manifest, GEMMA), (MultiImageManifest, GROUP), (LabelDetectionsManifest, LABELS)],
)
def test_a_step_without_such_fields_is_silent(
    caplog: pytest.LogCaptureFixture, manifest: type[StepManifest], step: dict[str, object]
) -> None:
    """Also where the host's other name of a field is used, and where a field of the step is set later."""
    assert warnings_of(caplog, manifest, step) == []
    if "images" in step:
        other = {("image" if name == "images" else name): value for name, value in step.items()}
        assert warnings_of(caplog, manifest, other) == []
        with caplog.at_level(logging.WARNING, "gemma4_block"):
            manifest.model_validate({**step, "max_tokens": 3}).name = "renamed"
        assert len(caplog.messages) == 1


@pytest.mark.parametrize(
    "fields",
    [
        pytest.param({"x" * 1_000_000: 1}, id="long name"),
        pytest.param({f"field_{number}": 1 for number in range(10_000)}, id="many names"),
        pytest.param({"x\nERROR The model has left": 1}, id="line break"),
        pytest.param({"name": "g\n" * 100_000, "x": 1}, id="long step name"),
    ],
)
def test_a_hostile_step_writes_one_short_line(
    caplog: pytest.LogCaptureFixture, fields: dict[str, object]
) -> None:
    """A request is no way to fill the log, or to write a line of its own into it."""
    (warning,) = warnings_of(caplog, Gemma4Manifest, {**GEMMA, **fields})
    assert "\n" not in warning
    assert len(warning) < 1200


def test_a_compiled_workflow_warns_once(caplog: pytest.LogCaptureFixture) -> None:
    """The engine reads a step several times; the log has one line for it."""
    provider = ScriptedProvider(ScriptedEngine(["a cat"]))
    workflow = {
        "version": "1.0",
        "inputs": [
            {"type": "WorkflowImage", "name": "image"},
            {"type": "WorkflowParameter", "name": "question"},
        ],
        "steps": [{**GEMMA, "task_type": "unconstrained", "prompt": "$inputs.question", "max_tokens": 3}],
        "outputs": [{"type": "JsonField", "name": "answer", "selector": "$steps.gemma.output"}],
    }
    with caplog.at_level(logging.WARNING, "gemma4_block"):
        engine = ExecutionEngine.init(
            workflow_definition=workflow, init_parameters={"gemma4_block.engine_provider": provider}
        )
        picture = np.zeros((8, 8, 3), np.uint8)
        rows = engine.run(runtime_parameters={"image": picture, "question": "What?"})

    assert rows == [{"answer": "a cat"}]
    assert len([line for line in caplog.messages if "that do nothing: 'max_tokens'" in line]) == 1


def test_every_other_name_leads_to_a_field() -> None:
    """What a name of the host's is called here is a field of the step, and is not that name itself."""
    assert set(STOCK_NAMES.values()) <= set(Gemma4Manifest.model_fields)
    assert set(STOCK_NAMES).isdisjoint(Gemma4Manifest.model_fields)


def test_the_other_names_are_those_of_the_hosts_blocks() -> None:
    """A name that no block of the host has would only be clutter."""
    fields = {name for block in load_core_blocks() for name in block.get_manifest().model_fields}
    assert set(STOCK_NAMES) - fields == set()


def test_the_page_and_the_fields_tell_the_other_names() -> None:
    """Whoever comes from the host's blocks finds every name on the page, and in the field's text."""
    rows = re.findall(r"^\| (`.+`) \| `(\w+)` \|$", DOCS.read_text(encoding="utf-8"), re.MULTILINE)
    listed = {(other, ours) for others, ours in rows for other in re.findall(r"`(\w+)`", others)}
    assert listed == set(STOCK_NAMES.items())
    for other, ours in STOCK_NAMES.items():
        assert other in str(Gemma4Manifest.model_fields[ours].description)
