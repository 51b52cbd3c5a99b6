"""What other steps, the server and its other form of data make of predictions."""

import base64
import json
import math
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2

# The host's settings must be installed before roboflow_workflows freezes its own.
import inference.core  # noqa: F401  # isort: split
import numpy as np
import numpy.typing as npt
import pytest
from roboflow_workflows.execution_engine.core import ExecutionEngine

from gemma4_block.contract import Answer, TokenScore
from gemma4_block.testing import Line, ScriptedEngine, ScriptedProvider

if TYPE_CHECKING:
    from fastapi.testclient import TestClient

Step = dict[str, Any]
CLASSES = ["cat", "dog"]
BOXES = [{"box_2d": [100, 250, 500, 750], "label": "dog"}, {"box_2d": [0, 0, 900, 990], "label": "cat"}]
ANSWERS = {
    "object-detection": json.dumps(BOXES),
    "classification": '{"class_name": "dog"}',
    "multi-label-classification": '{"cat": false, "dog": true}',
}
# New at every answer.
IDS = {"detection_id", "inference_id"}


def picture() -> npt.NDArray[np.uint8]:
    """Return an image that is no square, large enough for labels."""
    return np.full((300, 500, 3), 128, np.uint8)


def ask(task_type: str) -> Step:
    """Return a step that gives predictions."""
    return {
        "type": "gemma4_block/gemma4@v1",
        "name": "gemma",
        "images": "$inputs.image",
        "task_type": task_type,
        "classes": CLASSES,
    }


def draw(block: str, text: str | None = None) -> Step:
    """Return a step that draws predictions on their image."""
    step: Step = {
        "type": f"roboflow_core/{block}_visualization@v1",
        "name": block,
        "image": "$inputs.image",
        "predictions": "$steps.gemma.predictions",
    }
    return step if text is None else {**step, "text": text}


def specify(steps: list[Step], outputs: dict[str, str]) -> dict[str, object]:
    """Return a workflow."""
    return {
        "version": "1.0",
        "inputs": [{"type": "WorkflowImage", "name": "image"}],
        "steps": steps,
        "outputs": [
            {"type": "JsonField", "name": name, "selector": f"$steps.{selector}"}
            for name, selector in outputs.items()
        ],
    }


def run(
    steps: list[Step],
    outputs: dict[str, str],
    script: list[Line],
    *,
    images: list[npt.NDArray[np.uint8]] | None = None,
    is_sent: bool = False,
) -> list[dict[str, Any]]:
    """Run a workflow; return what its steps gave, or what the server would send of it."""
    engine = ExecutionEngine.init(
        workflow_definition=specify(steps, outputs),
        init_parameters={"gemma4_block.engine_provider": ScriptedProvider(ScriptedEngine(script))},
    )
    rows: list[dict[str, Any]] = engine.run(
        runtime_parameters={"image": [picture()] if images is None else images}, serialize_results=is_sent
    )
    return rows


def measure(task_type: str) -> Answer:
    """Return the same answer as an engine that can score gives it."""
    text = ANSWERS[task_type]
    choices = None
    if task_type == "classification":
        choices = ((0.25, 0.75),)
    elif task_type == "multi-label-classification":
        text, choices = '{"cat": false\n{"dog": true', ((0.25, 0.75), (0.75, 0.25))
    return Answer(
        text=text,
        thinking="",
        finish_reason="stop",
        input_tokens=1,
        output_tokens=1,
        image_tokens=0,
        token_scores=(
            TokenScore(start=0, end=len(text), log_probability=0.0, free_log_probability=math.log(0.5)),
        ),
        choice_probabilities=choices,
        group_probabilities=None if choices is None else (1.0,) * len(choices),
    )


@pytest.mark.parametrize("text", ["Class", "Confidence", "Class and Confidence"])
@pytest.mark.parametrize("is_measured", [True, False], ids=["measured", "unmeasured"])
def test_boxes_and_their_labels_are_drawn(text: str, is_measured: bool) -> None:  # noqa: FBT001 - a case
    """A confidence that nobody measured is drawn as such and does not stop the drawing."""
    answer: Line = measure("object-detection") if is_measured else ANSWERS["object-detection"]
    steps = [ask("object-detection"), draw("bounding_box"), draw("label", text)]
    (row,) = run(steps, {"boxes": "bounding_box.image", "labels": "label.image"}, [answer])
    for name in ("boxes", "labels"):
        assert (row[name].numpy_image != picture()).any()


def draw_classification(task_type: str, text: str, answer: Line) -> npt.NDArray[np.uint8]:
    """Return the picture that shows a classification."""
    steps = [ask(task_type), draw("classification_label", text)]
    (row,) = run(steps, {"drawn": "classification_label.image"}, [answer])
    drawn: npt.NDArray[np.uint8] = row["drawn"].numpy_image
    return drawn


@pytest.mark.parametrize("text", ["Class", "Confidence", "Class and Confidence"])
@pytest.mark.parametrize("task_type", ["classification", "multi-label-classification"])
@pytest.mark.parametrize("is_measured", [True, False], ids=["measured", "unmeasured"])
def test_classes_are_drawn(
    task_type: str,
    text: str,
    is_measured: bool,  # noqa: FBT001 - a case
) -> None:
    """One class and many are drawn, measured or not."""
    drawn = draw_classification(task_type, text, measure(task_type) if is_measured else ANSWERS[task_type])
    assert (drawn != picture()).any()


def test_the_drawn_class_is_the_answered_one() -> None:
    """The host draws the likeliest class; where nothing was measured, that is the answer too."""
    measured = draw_classification("classification", "Class", measure("classification"))
    unmeasured = draw_classification("classification", "Class", ANSWERS["classification"])
    np.testing.assert_array_equal(measured, unmeasured)


def test_detections_are_filtered_and_counted() -> None:
    """The host's language of operations reads classes and confidences."""
    is_sure: Step = {
        "type": "BinaryStatement",
        "left_operand": {
            "type": "DynamicOperand",
            "operations": [{"type": "ExtractDetectionProperty", "property_name": "confidence"}],
        },
        "comparator": {"type": "(Number) >="},
        "right_operand": {"type": "StaticOperand", "value": 0.1},
    }
    is_cat: Step = {
        "type": "BinaryStatement",
        "left_operand": {
            "type": "DynamicOperand",
            "operations": [{"type": "ExtractDetectionProperty", "property_name": "class_name"}],
        },
        "comparator": {"type": "=="},
        "right_operand": {"type": "StaticOperand", "value": "cat"},
    }
    steps = [ask("object-detection")]
    outputs = {}
    for name, statement in (("sure", is_sure), ("cats", is_cat)):
        group = {"type": "StatementGroup", "statements": [statement]}
        steps += [
            {
                "type": "roboflow_core/detections_filter@v1",
                "name": name,
                "predictions": "$steps.gemma.predictions",
                "operations": [{"type": "DetectionsFilter", "filter_operation": group}],
                "operations_parameters": {},
            },
            {
                "type": "roboflow_core/property_definition@v1",
                "name": f"{name}_count",
                "data": f"$steps.{name}.predictions",
                "operations": [{"type": "SequenceLength"}],
            },
        ]
        outputs[name] = f"{name}_count.output"
    answers: list[Line] = [measure("object-detection"), ANSWERS["object-detection"]]
    rows = run(steps, outputs, answers, images=[picture(), picture()])
    # A confidence that nobody measured is above no threshold.
    assert rows == [{"sure": 2, "cats": 1}, {"sure": 0, "cats": 1}]


@pytest.mark.parametrize("task_type", ANSWERS)
def test_one_bad_image_leaves_the_batch_whole(task_type: str) -> None:
    """Its row has no predictions but says which classes were asked for; its neighbours have theirs."""
    names = ("predictions", "parsed", "count", "classes", "error_status", "error_message")
    images = [picture(), np.zeros((0, 7, 3), np.uint8), picture()]
    outputs = {name: f"gemma.{name}" for name in names}
    good: list[Line] = [measure(task_type), measure(task_type)]
    first, bad, last = run([ask(task_type)], outputs, good, images=images, is_sent=True)
    message = bad.pop("error_message")
    assert message.startswith("The image has shape (0, 7, 3)")
    assert bad == {
        "predictions": None,
        "parsed": None,
        "count": None,
        "classes": CLASSES,
        "error_status": True,
    }
    for row in (first, last):
        assert (row["error_status"], row["error_message"], row["classes"]) == (False, None, CLASSES)
        assert row["predictions"]["image"] == {"width": 500, "height": 300}
        assert len(row["predictions"]["predictions"]) == 2


@pytest.mark.slow
@pytest.mark.parametrize("task_type", ANSWERS)
def test_the_server_sends_null_for_a_confidence_that_nobody_measured(
    client: "TestClient", monkeypatch: pytest.MonkeyPatch, task_type: str
) -> None:
    """NaN is no JSON, and a made-up number would be a lie."""
    provider = ScriptedProvider(ScriptedEngine([ANSWERS[task_type]]))
    monkeypatch.setattr("gemma4_block.engine.pool.get_engine_pool", lambda: provider)
    data = base64.b64encode(cv2.imencode(".png", picture())[1].tobytes()).decode()
    response = client.post(
        "/workflows/run",
        json={
            "specification": specify([ask(task_type)], {"predictions": "gemma.predictions"}),
            "inputs": {"image": {"type": "base64", "value": data}},
        },
    )
    assert response.status_code == 200
    assert "NaN" not in response.text
    entries = response.json()["outputs"][0]["predictions"]["predictions"]
    found = entries.values() if isinstance(entries, dict) else entries
    assert [entry["confidence"] for entry in found] == [None, None]


def send_everything() -> dict[str, Any]:
    """Return what the server would send of measured, unmeasured and empty predictions."""
    sent = {}
    for task_type, unmeasured in ANSWERS.items():
        script: list[Line] = [measure(task_type), unmeasured]
        if task_type == "object-detection":
            script.append("[]")
        outputs = {"predictions": "gemma.predictions"}
        rows = run([ask(task_type)], outputs, script, images=[picture()] * len(script), is_sent=True)
        sent[task_type] = [row["predictions"] for row in rows]
    return sent


def without_ids(value: object) -> object:
    """Leave out what no two answers share; NaN, which is not even like itself, becomes a word."""
    if isinstance(value, dict):
        return {key: without_ids(part) for key, part in value.items() if key not in IDS}
    if isinstance(value, list):
        return [without_ids(part) for part in value]
    if isinstance(value, float):
        # Tensors are of single precision.
        return "NaN" if math.isnan(value) else round(value, 6)
    return value


@pytest.mark.slow
def test_a_server_of_tensors_sends_the_same() -> None:
    """The host's other form of data changes nothing for clients."""
    code = "import json, tests.blocks.test_predictions as t; print(json.dumps(t.send_everything()))"
    finished = subprocess.run(  # noqa: S603 - our own code
        [sys.executable, "-c", code],
        env={**os.environ, "ENABLE_TENSOR_DATA_REPRESENTATION": "True"},
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=False,
    )
    assert finished.returncode == 0, finished.stderr
    tensors, expected = json.loads(finished.stdout.splitlines()[-1]), send_everything()
    for classification in expected["classification"]:
        # A tensor has one place for each class, so the answered one cannot come first.
        classification["predictions"].sort(key=lambda entry: entry["class_id"])
    assert without_ids(expected) == without_ids(tensors)
