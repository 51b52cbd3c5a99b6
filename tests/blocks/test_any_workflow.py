"""Whatever a workflow says, it runs or is refused in words: by the host's errors or by ours, and by no other.

A seed that failed stays as an `example`.
"""

import traceback
from pathlib import Path
from typing import Any

# The host's settings must be installed before roboflow_workflows freezes its own.
import inference.core  # noqa: F401  # isort: split
import numpy as np
import pytest
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from roboflow_workflows.errors import (
    ClientCausedStepExecutionError,
    RuntimeLimitsCausedStepExecutionError,
    StepExecutionError,
    WorkflowError,
)
from roboflow_workflows.execution_engine.core import ExecutionEngine

import gemma4_block
from gemma4_block.blocks.gemma4_manifest import Gemma4Manifest
from gemma4_block.blocks.label_detections_manifest import LabelDetectionsManifest
from gemma4_block.blocks.multi_image_manifest import MultiImageManifest
from gemma4_block.blocks.step_manifest import StepManifest
from gemma4_block.errors import Gemma4BlockError
from gemma4_block.testing import ScriptedEngine, ScriptedProvider

PACKAGE = str(Path(gemma4_block.__file__).parent)
Step = dict[str, Any]

SELECTORS = [
    "$inputs.image",
    "$inputs.any",
    "$inputs.missing",
    "$inputs.",
    "$inputs",
    "$",
    "$steps.detector.output",
    "$steps.detector.predictions",
    "$steps.detector.count",
    "$steps.detector.error_status",
    "$steps.detector.missing",
    "$steps.detector.*",
    "$steps.tested.output",
    "$steps.crop.crops",
    "$steps.missing.output",
]
TEXTS = st.text(max_size=20) | st.sampled_from(
    ["", " ", "\ud83d", "\x00", "{}", "auto", "$", "../../x", "x" * 30_000]
)
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | TEXTS
    | st.sampled_from(SELECTORS)
    | st.just(10**400)
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS | st.just("type"), inner, max_size=3),
    max_leaves=8,
)
# Values that pass, so that a draw gets behind the first check.
SENSIBLE: dict[str, list[object]] = {
    "images": ["$inputs.image", "$steps.crop.crops"],
    "prompt": ["What?", "$inputs.any", "$steps.detector.output"],
    "classes": [["cat", "dog"], ["a"], "$inputs.any"],
    "output_structure": [{"a": "b"}, {"type": "boolean"}, {"a": ["x", "y"]}, "$inputs.any"],
    "model_version": ["gemma-4-demo", "$inputs.any"],
    "system_prompt": ["Be brief.", "$inputs.any"],
    "image_seq_length": ["auto", 70, 1120, "$inputs.any"],
    "max_new_tokens": [1, 512, "$inputs.any"],
    "temperature": [0, 0.7, "$inputs.any"],
    "top_p": [0.5, 1],
    "top_k": [1, 64],
    "seed": [0, 2**63 - 1],
    "enable_thinking": [True, False, "$inputs.any"],
    "max_thinking_tokens": [1, 256],
    "quantization": ["auto", "none", "nf4"],
    "keep_alive": [0, 300, "forever", "$inputs.any"],
    "box_format": ["yxyx_0_1000", "$inputs.any"],
    "unchanged_below": [0.5, 3, "$inputs.any"],
    "max_images": [1, 8, "$inputs.any"],
    "when_too_many": ["refuse", "sample", "$inputs.any"],
    "object_detection_predictions": ["$steps.detector.predictions"],
    "answers": ["$steps.asked.output", "$steps.asked.count", "$steps.asked.predictions"],
    "crops": ["$steps.crop.crops"],
    "write_to": ["class_name", "data_field", "$inputs.any"],
    "data_field": ["data", "color", "class_name", "$inputs.any"],
    "fallback_text": ["none", "$inputs.any"],
}
SENSIBLE_INPUTS = st.sampled_from(
    [["cat", "dog"], {"a": "b"}, {"type": "boolean"}, "What?", "data", "sample", 1, 0.5, 70, True]
)
ANSWERS = [
    "",
    "a cat",
    "[]",
    "{}",
    "null",
    '{"a": 1}',
    '{"cat": 2, "dog": 0}',
    '{"class_name": "cat"}',
    '[{"box_2d": [0, 0, 500, 500], "label": "cat"}]',
    '[{"box_2d": [1, 1, 1, 1], "label": "cat"}, {"box_2d": null}]',
]
UNKNOWN = st.dictionaries(TEXTS | st.sampled_from(["max_tokens", "stop", "image"]), VALUES, max_size=2)
GEMMA = {"type": "gemma4_block/gemma4@v1", "name": "tested", "images": "$inputs.image"}
GROUP = {**GEMMA, "type": "gemma4_block/gemma4_multi_image@v1"}
STEPS: dict[type[StepManifest], list[Step]] = {
    Gemma4Manifest: [
        {**GEMMA, "prompt": "What?"},
        {**GEMMA, "task_type": "caption"},
        {**GEMMA, "task_type": "classification", "classes": ["cat", "dog"]},
        {**GEMMA, "task_type": "multi-label-classification", "classes": "$inputs.any"},
        {**GEMMA, "task_type": "object-detection", "classes": ["cat"]},
        {**GEMMA, "task_type": "counting", "classes": ["cat", "dog"], "images": "$steps.crop.crops"},
        {**GEMMA, "task_type": "structured-answering", "output_structure": {"a": "b"}},
        {**GEMMA, "task_type": "structured-answering", "output_structure": "$inputs.any"},
        {**GEMMA, "prompt": "$inputs.any", "temperature": "$inputs.any", "max_new_tokens": "$inputs.any"},
    ],
    MultiImageManifest: [
        {**GROUP, "prompt": "What?"},
        {**GROUP, "prompt": "$inputs.any", "images": "$steps.crop.crops"},
        {**GROUP, "prompt": "What?", "images": "$inputs.any"},
        {**GROUP, "prompt": "What?", "max_images": "$inputs.any", "when_too_many": "$inputs.any"},
        {**GROUP, "task_type": "structured-answering", "output_structure": "$inputs.any"},
    ],
    LabelDetectionsManifest: [
        {
            "type": "gemma4_block/label_detections@v1",
            "name": "tested",
            "object_detection_predictions": "$steps.detector.predictions",
            "answers": answers,
            **more,
        }
        for answers in ("$steps.asked.output", "$steps.asked.count", "$steps.asked.predictions")
        for more in (
            {},
            {"crops": "$steps.crop.crops", "fallback_text": "$inputs.any"},
            {"write_to": "$inputs.any", "data_field": "$inputs.any"},
        )
    ],
}


@st.composite
def steps(draw: st.DrawFn, manifest: type[StepManifest], *, most_changes: int) -> Step:
    """Draw a step that works, and change some of its fields: to what may be there, or to anything."""
    step = dict(draw(st.sampled_from(STEPS[manifest])))
    fields = [name for name in manifest.model_fields if name in SENSIBLE]
    for name in draw(st.lists(st.sampled_from(fields), max_size=most_changes, unique=True)):
        step[name] = draw(st.sampled_from(SENSIBLE[name]) if draw(st.booleans()) else VALUES)
    return {**draw(UNKNOWN), **step}


def run(step: Step, value: object, answer: str) -> list[dict[str, object]]:
    """Run the step behind a detector, its crops, and a question about each."""
    workflow = {
        "version": "1.0",
        "inputs": [
            {"type": "WorkflowImage", "name": "image"},
            {"type": "WorkflowParameter", "name": "any", "default_value": None},
        ],
        "steps": [
            {
                "type": "gemma4_block/gemma4@v1",
                "name": "detector",
                "images": "$inputs.image",
                "task_type": "object-detection",
                "classes": ["cat"],
            },
            {
                "type": "roboflow_core/dynamic_crop@v1",
                "name": "crop",
                "images": "$inputs.image",
                "predictions": "$steps.detector.predictions",
            },
            {
                "type": "gemma4_block/gemma4@v1",
                "name": "asked",
                "images": "$steps.crop.crops",
                "task_type": "caption",
            },
            step,
        ],
        "outputs": [{"type": "JsonField", "name": "all", "selector": "$steps.tested.*"}],
    }
    found = '[{"box_2d": [100, 100, 600, 600], "label": "cat"}]'
    provider = ScriptedProvider(
        ScriptedEngine(lambda prompt: found if "these classes in the image: cat." in prompt.text else answer)
    )
    engine = ExecutionEngine.init(
        workflow_definition=workflow, init_parameters={"gemma4_block.engine_provider": provider}
    )
    rows: list[dict[str, object]] = engine.run(
        runtime_parameters={"image": np.zeros((40, 60, 3), np.uint8), "any": value}
    )
    return rows


def check(step: Step, value: object, answer: str) -> None:
    """Run a step, and let only clean refusals pass."""
    try:
        rows = run(step, value, answer)
    except (ClientCausedStepExecutionError, RuntimeLimitsCausedStepExecutionError):
        event("refused where it runs")
        return
    except StepExecutionError as error:
        # Over HTTP this would be a 500.
        raise AssertionError(f"a step failed by {error.inner_error!r}") from error
    except (WorkflowError, ValidationError) as error:
        causes = [error, getattr(error, "inner_error", None), error.__cause__]
        event(f"refused by {type(error).__name__}")
        assert [
            cause for cause in causes if isinstance(cause, Exception) and is_ours_and_unclean(cause)
        ] == []
        return
    except Exception as error:
        if is_ours_and_unclean(error):
            raise
        event(f"an error of the host's: {type(error).__name__}")
        return
    event("ran")
    assert isinstance(rows, list)


def is_ours_and_unclean(error: Exception) -> bool:
    """Say whether an error went through this package and is none that a user should see."""
    if isinstance(error, WorkflowError | ValidationError | Gemma4BlockError):
        return False
    return any(frame.filename.startswith(PACKAGE) for frame in traceback.extract_tb(error.__traceback__))


@pytest.mark.parametrize("manifest", STEPS)
@settings(deadline=None, max_examples=300, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_any_step_is_a_form_or_is_refused(manifest: type[StepManifest], data: st.DataObject) -> None:
    """Any field may hold anything; what is accepted can say what the host asks of it."""
    step = data.draw(steps(manifest, most_changes=8))
    try:
        form = manifest.model_validate(step)
    except ValidationError:
        event("refused")
        return
    event("accepted")
    assert form.get_actual_outputs()
    form.get_actual_restrictions()
    form.discover_dependent_resources()
    assert form.discover_work_operations()


@pytest.mark.slow
@pytest.mark.parametrize("manifest", STEPS)
@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data(), value=VALUES | SENSIBLE_INPUTS, answer=st.sampled_from(ANSWERS))
def test_any_workflow_runs_or_is_refused(
    manifest: type[StepManifest], data: st.DataObject, value: object, answer: str
) -> None:
    """Any field, any input and any answer may hold anything."""
    check(data.draw(steps(manifest, most_changes=2)), value, answer)
