"""Answers about crops, written back onto the boxes they were cut from, and read there by stock steps.

`python -m tests.blocks.test_label_detections` writes the promise of the released form again.
"""

import base64
import csv
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2

# The host's settings must be installed before roboflow_workflows freezes its own.
import inference.core  # noqa: F401  # isort: split
import numpy as np
import numpy.typing as npt
import pytest
import supervision as sv
import torch
from fastapi.testclient import TestClient
from inference_models.models.base.classification import (
    ClassificationPrediction,
    MultiLabelClassificationPrediction,
)
from inference_models.models.base.keypoints_detection import KeyPoints
from inference_models.models.base.object_detection import Detections
from pydantic import ValidationError
from roboflow_workflows.core_steps.common.serializers import serialise_sv_detections
from roboflow_workflows.core_steps.common.serializers_tensor import (
    serialise_sv_detections as serialise_tensors,
)
from roboflow_workflows.errors import ClientCausedStepExecutionError
from roboflow_workflows.execution_engine.core import ExecutionEngine
from roboflow_workflows.execution_engine.entities.base import Batch

from gemma4_block.blocks._host_detections import (
    Label,
    class_id_of,
    read_detection_ids,
    with_class_names,
    with_data_field,
)
from gemma4_block.blocks.label_detections import LabelDetectionsBlock, read_label
from gemma4_block.blocks.label_detections_manifest import LabelDetectionsManifest
from gemma4_block.cli.workflows import DETECTOR_DIRECTORY, stock_model_parameters
from gemma4_block.contract import Answer, Prompt
from gemma4_block.demo.scenes import Scene, draw_scene
from gemma4_block.errors import ConfigurationError, PromptError
from gemma4_block.testing import Line, ScriptedEngine, ScriptedProvider
from tests.blocks.promises import promise_of

Image = npt.NDArray[np.uint8]
Row = dict[str, Any]
Step = dict[str, object]

SNAPSHOT = Path(__file__).with_name("label_detections_v1.schema.json")

DETECT: Step = {
    "type": "roboflow_core/roboflow_object_detection_model@v2",
    "name": "detector",
    "images": "$inputs.image",
    "model_id": str(DETECTOR_DIRECTORY),
}
CROP: Step = {
    "type": "roboflow_core/dynamic_crop@v1",
    "name": "crop",
    "images": "$inputs.image",
    "predictions": "$steps.detector.predictions",
}
ASK: Step = {
    "type": "gemma4_block/gemma4@v1",
    "name": "gemma",
    "images": "$steps.crop.crops",
    "task_type": "visual-question-answering",
    "prompt": "What colour is it?",
}
LABEL: Step = {
    "type": "gemma4_block/label_detections@v1",
    "name": "named",
    "object_detection_predictions": "$steps.detector.predictions",
    "answers": "$steps.gemma.output",
}
TRACK: Step = {
    "type": "roboflow_core/byte_tracker@v3",
    "name": "tracker",
    "image": "$inputs.image",
    "detections": "$steps.detector.predictions",
}
LABEL_TEXTS: Step = {
    "type": "roboflow_core/label_visualization@v2",
    "name": "drawn",
    "image": "$inputs.image",
    "predictions": "$steps.named.predictions",
    "text": "$steps.named.label_text",
}


def drawn(seed: int, shape_count: int) -> Scene:
    """Draw the scene of a seed."""
    return draw_scene(np.random.default_rng(seed), shape_count=shape_count)


FIVE, EMPTY, TWO = drawn(1, 5), drawn(2, 0), drawn(3, 2)


def color_of(prompt: Prompt) -> str:
    """Answer with the colour in the middle of the crop, which tells the shapes of a scene apart."""
    (image,) = prompt.images
    red, green, blue = image[image.shape[0] // 2, image.shape[1] // 2].tolist()
    return f"#{red:02x}{green:02x}{blue:02x}"


def compile_workflow(
    steps: list[Step],
    outputs: dict[str, str],
    script: Callable[[Prompt], Line] | list[Line] = color_of,
    *parameters: str,
) -> ExecutionEngine:
    """Compile a workflow whose model follows a script."""
    specification = {
        "version": "1.0",
        "inputs": [
            {"type": "WorkflowImage", "name": "image"},
            *({"type": "WorkflowParameter", "name": name} for name in parameters),
        ],
        "steps": steps,
        "outputs": [
            {"type": "JsonField", "name": name, "selector": selector} for name, selector in outputs.items()
        ],
    }
    provider = ScriptedProvider(ScriptedEngine(script))
    return ExecutionEngine.init(
        workflow_definition=specification,
        init_parameters={**stock_model_parameters(), "gemma4_block.engine_provider": provider},
    )


def run(
    steps: list[Step],
    outputs: dict[str, str],
    *scenes: Scene,
    script: Callable[[Prompt], Line] | list[Line] = color_of,
) -> list[Row]:
    """Run a workflow on scenes."""
    images = [np.ascontiguousarray(scene.image[..., ::-1]) for scene in scenes]
    rows: list[Row] = compile_workflow(steps, outputs, script).run(runtime_parameters={"image": images})
    return rows


BOTH = {"before": "$steps.detector.predictions", "after": "$steps.named.predictions"}


def names_of(detections: sv.Detections) -> list[str]:
    """Return the class name of each box."""
    return [str(name) for name in detections.data.get("class_name", [])]


def colors_under(detections: sv.Detections, scene: Scene) -> list[str]:
    """Return the colour in the middle of each box, as the model is scripted to answer."""
    crops = [sv.crop_image(scene.image, xyxy.round().astype(int)) for xyxy in detections.xyxy]
    return [color_of(Prompt(text="", images=(np.asarray(crop),))) for crop in crops]


def test_each_box_is_named_after_the_answer_about_its_own_crop() -> None:
    """Names come from the crops; boxes, their order, ids and confidences stay."""
    rows = run([DETECT, CROP, ASK, LABEL], BOTH, FIVE, EMPTY, TWO)
    for row, scene in zip(rows, (FIVE, EMPTY, TWO), strict=True):
        before, after = row["before"], row["after"]
        assert len(after) == len(scene.shapes)
        assert names_of(after) == colors_under(before, scene)
        assert (after.xyxy == before.xyxy).all()
        assert (after.confidence == before.confidence).all()
        assert read_detection_ids(after) == read_detection_ids(before)
    assert len(set(names_of(rows[0]["after"]))) > 1


def test_one_text_has_one_class_id_in_every_frame() -> None:
    """Palettes and counters that go by class id take equal answers as one class, others as others."""
    rows = run([DETECT, CROP, ASK, LABEL], BOTH, FIVE, TWO)
    ids = {}
    for row in rows:
        for name, class_id in zip(names_of(row["after"]), row["after"].class_id.tolist(), strict=True):
            assert ids.setdefault(name, class_id) == class_id
    assert len(set(ids.values())) == len(ids) > 1


def test_the_detections_that_came_in_are_left_as_they_are() -> None:
    """Other steps that read the detector's boxes see its own classes."""
    before = run([DETECT, CROP, ASK, LABEL], BOTH, TWO)[0]["before"]
    assert not any(name.startswith("#") for name in names_of(before))


def test_an_answer_beside_the_class_reaches_pictures_lists_and_the_wire() -> None:
    """In a data field the class stays; stock labels draw the field, and the server sends it with each box."""
    label = {**LABEL, "write_to": "data_field"}
    outputs = {**BOTH, "answers": "$steps.named.answers", "picture": "$steps.drawn.image"}
    row = run([DETECT, CROP, ASK, label, LABEL_TEXTS], outputs, FIVE)[0]
    before, after = row["before"], row["after"]
    colors = colors_under(before, FIVE)
    assert names_of(after) == names_of(before)
    assert (after.class_id == before.class_id).all()
    assert row["answers"] == colors
    sent = json.loads(json.dumps(serialise_sv_detections(after)))["predictions"]
    assert [box["data"] for box in sent] == colors
    by_class = {**LABEL_TEXTS, "text": "Class"}
    other = run([DETECT, CROP, ASK, label, by_class], outputs, FIVE)[0]["picture"]
    assert (row["picture"].numpy_image != other.numpy_image).any()


def test_two_questions_about_the_same_boxes_have_a_field_each() -> None:
    """A second step writes beside the first."""
    first = {**LABEL, "write_to": "data_field", "data_field": "color"}
    second = {**first, "name": "both", "data_field": "size"}
    second |= {"object_detection_predictions": "$steps.named.predictions"}
    after = run([DETECT, CROP, ASK, first, second], {"after": "$steps.both.predictions"}, TWO)[0]["after"]
    assert list(after.data["color"]) == list(after.data["size"]) == colors_under(after, TWO)


def refuse_the_second(answers: list[str]) -> list[Line]:
    """Script three answers, the second of which fails."""
    return [answers[0], PromptError("too large"), answers[2], *answers[3:]]


@pytest.mark.parametrize(
    ("fields", "name", "text"),
    [
        ({}, None, None),
        ({"fallback_text": "  "}, None, None),
        ({"fallback_text": "no answer"}, "no answer", "no answer"),
        ({"write_to": "data_field"}, None, None),
        ({"write_to": "data_field", "fallback_text": "no answer"}, None, "no answer"),
    ],
)
def test_a_box_whose_answer_failed_stays(fields: Step, name: str | None, text: str | None) -> None:
    """It keeps its class, or gets the fallback; its neighbours get their answers."""
    script = refuse_the_second(["a", "b", "c", "d", "e"])
    outputs = {**BOTH, "answers": "$steps.named.answers"}
    row = run([DETECT, CROP, ASK, {**LABEL, **fields}], outputs, FIVE, script=script)[0]
    old, names = names_of(row["before"]), names_of(row["after"])
    assert row["answers"] == ["a", text, "c", "d", "e"]
    assert names[1] == (old[1] if name is None else name)
    if "write_to" in fields:
        assert list(row["after"].data["data"]) == row["answers"]
    else:
        assert [names[0], *names[2:]] == ["a", "c", "d", "e"]


def test_the_stock_step_cannot_do_without_this_one() -> None:
    """It drops the box without an answer, and makes up ids, class ids and confidences of those with one."""
    stock = {
        "type": "roboflow_core/detections_classes_replacement@v1",
        "name": "named",
        "object_detection_predictions": "$steps.detector.predictions",
        "classification_predictions": "$steps.gemma.output",
    }
    script = refuse_the_second(["a", "b", "c", "d", "e"])
    row = run([DETECT, CROP, ASK, stock], BOTH, FIVE, script=script)[0]
    after = row["after"]
    assert names_of(after) == ["a", "c", "d", "e"]
    assert (after.class_id.tolist(), after.confidence.tolist()) == ([0] * 4, [1.0] * 4)
    assert not set(read_detection_ids(after)) & set(read_detection_ids(row["before"]))


def test_a_blank_answer_is_no_answer() -> None:
    """A box is not named after nothing."""
    row = run([DETECT, CROP, ASK, LABEL], BOTH, TWO, script=["", "b"])[0]
    assert names_of(row["after"]) == [names_of(row["before"])[0], "b"]


@pytest.mark.parametrize("crops", [None, "$steps.crop.crops"])
def test_crops_that_a_condition_stopped_leave_their_boxes_as_they_are(crops: str | None) -> None:
    """The other answers do not move up."""
    check = {**ASK, "name": "check"}
    only_second: Step = {
        "type": "roboflow_core/continue_if@v1",
        "name": "only_second",
        "condition_statement": {
            "type": "StatementGroup",
            "statements": [
                {
                    "type": "BinaryStatement",
                    "left_operand": {"type": "DynamicOperand", "operand_name": "answer"},
                    "comparator": {"type": "=="},
                    "right_operand": {"type": "StaticOperand", "value": "yes"},
                }
            ],
        },
        "evaluation_parameters": {"answer": "$steps.check.output"},
        "next_steps": ["$steps.gemma"],
    }
    steps = [DETECT, CROP, check, only_second, ASK, {**LABEL, "crops": crops}]
    row = run(steps, BOTH, TWO, script=["no", "yes", "red"])[0]
    assert names_of(row["after"]) == [names_of(row["before"])[0], "red"]


DROP_THE_FIRST: Step = {
    "type": "roboflow_core/detections_transformation@v1",
    "name": "kept",
    "predictions": "$steps.detector.predictions",
    "operations": [
        {
            "type": "DetectionsFilter",
            "filter_operation": {
                "type": "StatementGroup",
                "statements": [
                    {
                        "type": "BinaryStatement",
                        "left_operand": {
                            "type": "DynamicOperand",
                            "operations": [
                                {"type": "ExtractDetectionProperty", "property_name": "confidence"}
                            ],
                        },
                        "comparator": {"type": "(Number) <"},
                        "right_operand": {"type": "DynamicOperand", "operand_name": "most"},
                    }
                ],
            },
        }
    ],
    "operations_parameters": {"most": "$inputs.most"},
}


def run_with_a_dropped_box(label: Step) -> tuple[Row, float]:
    """Drop the box that the detector is surest of between the crops and the label."""
    steps = [DETECT, CROP, ASK, DROP_THE_FIRST, label]
    image = np.ascontiguousarray(FIVE.image[..., ::-1])
    first = compile_workflow([DETECT], {"found": "$steps.detector.predictions"})
    most = float(first.run(runtime_parameters={"image": image})[0]["found"].confidence.max())
    engine = compile_workflow(steps, BOTH, color_of, "most")
    return engine.run(runtime_parameters={"image": image, "most": most})[0], most


def test_crops_say_which_box_an_answer_belongs_to() -> None:
    """Whatever a filter or tracker dropped in between, no answer moves to another box."""
    label = {**LABEL, "object_detection_predictions": "$steps.kept.predictions"}
    row, most = run_with_a_dropped_box({**label, "crops": "$steps.crop.crops"})
    assert len(row["after"]) == len(row["before"]) - 1
    assert row["before"].confidence.max() == pytest.approx(most)
    assert names_of(row["after"]) == colors_under(row["after"], FIVE)


def test_an_order_that_says_nothing_is_refused() -> None:
    """Without crops, answers and boxes that differ in number are not guessed together."""
    label = {**LABEL, "object_detection_predictions": "$steps.kept.predictions"}
    with pytest.raises(ClientCausedStepExecutionError) as caught:
        run_with_a_dropped_box(label)
    assert caught.value.status_code == 422
    assert "There are 5 answers for 4 detections" in caught.value.public_message


@pytest.mark.parametrize("is_labelled_first", [False, True])
def test_tracked_boxes_keep_their_ids_and_names(is_labelled_first: bool) -> None:  # noqa: FBT001 - a case
    """The step works before and behind a tracker."""
    if is_labelled_first:
        track = {**TRACK, "detections": "$steps.named.predictions"}
        steps = [DETECT, CROP, ASK, LABEL, track]
        output = "$steps.tracker.tracked_detections"
    else:
        label = {**LABEL, "object_detection_predictions": "$steps.tracker.tracked_detections"}
        steps = [DETECT, TRACK, CROP, ASK, {**label, "crops": "$steps.crop.crops"}]
        output = "$steps.named.predictions"
    engine = compile_workflow(steps, {"after": output})
    image = np.ascontiguousarray(FIVE.image[..., ::-1])
    seen = [engine.run(runtime_parameters={"image": image})[0]["after"] for _ in range(2)]
    assert seen[0].tracker_id is not None
    assert sorted(seen[0].tracker_id) == sorted(seen[1].tracker_id) == [1, 2, 3, 4, 5]
    for detections in seen:
        assert names_of(detections) == colors_under(detections, FIVE)


def test_a_line_counts_labelled_boxes() -> None:
    """An object that is tracked, named and moved over a line is counted, and what crossed has its name."""
    label = {**LABEL, "object_detection_predictions": "$steps.tracker.tracked_detections"}
    count: Step = {
        "type": "roboflow_core/line_counter@v2",
        "name": "line",
        "image": "$inputs.image",
        "detections": "$steps.named.predictions",
        "line_segment": [[160, 319], [160, 0]],
        "triggering_anchor": "CENTER",
    }
    outputs = {"out": "$steps.line.count_out", "in": "$steps.line.count_in"}
    outputs["crossed"] = "$steps.line.detections_in"
    outputs["crossed_back"] = "$steps.line.detections_out"
    steps = [DETECT, TRACK, {**CROP, "predictions": "$steps.tracker.tracked_detections"}, ASK, label, count]
    engine = compile_workflow(steps, outputs)
    rows = []
    for left in range(60, 180, 12):
        canvas = np.full((320, 320, 3), 245, np.uint8)
        canvas[120:200, left : left + 80] = (220, 40, 40)
        rows.append(engine.run(runtime_parameters={"image": np.ascontiguousarray(canvas[..., ::-1])})[0])
    assert rows[0]["in"] + rows[0]["out"] == 0
    assert rows[-1]["in"] + rows[-1]["out"] == 1
    crossed = [name for row in rows for key in ("crossed", "crossed_back") for name in names_of(row[key])]
    assert crossed == ["#dc2828"]


def test_a_table_lists_the_answers() -> None:
    """A CSV holds the new class names of each frame, and the answers of a data field."""
    table: Step = {
        "type": "roboflow_core/csv_formatter@v1",
        "name": "table",
        "columns_data": {"names": "$steps.named.predictions", "answers": "$steps.named.answers"},
        "columns_operations": {
            "names": [{"type": "DetectionsPropertyExtract", "property_name": "class_name"}]
        },
    }
    rows = run([DETECT, CROP, ASK, LABEL, table], {"table": "$steps.table.csv_content"}, TWO, EMPTY)
    colors = color_list(TWO)
    assert rows[0]["table"] is None
    lines = list(csv.DictReader(io.StringIO(rows[1]["table"])))
    assert [(line["names"], line["answers"]) for line in lines] == [(colors, colors), ("[]", "[]")]


def color_list(scene: Scene) -> str:
    """Return the colours of a scene's boxes as a table prints them."""
    before = run([DETECT], {"before": "$steps.detector.predictions"}, scene)[0]["before"]
    return str(colors_under(before, scene))


@pytest.mark.parametrize("visualization", ["label_visualization@v1", "rich_label_visualization@v1"])
@pytest.mark.parametrize("write_to", ["class_name", "data_field"])
def test_stock_labels_draw_the_answers(visualization: str, write_to: str) -> None:
    """Other answers give another picture, wherever they are written; a missing one draws without an error."""
    draw = {**LABEL_TEXTS, "type": f"roboflow_core/{visualization}"}
    pictures = [
        run(
            [DETECT, CROP, ASK, {**LABEL, "write_to": write_to}, draw],
            {"picture": "$steps.drawn.image"},
            TWO,
            script=["one", line],
        )[0]["picture"].numpy_image
        for line in ("two", PromptError("no"))
    ]
    assert (pictures[0] != pictures[1]).any()


@pytest.mark.slow
def test_the_server_sends_the_demo_s_answers_with_the_boxes(client: TestClient) -> None:
    """Over HTTP, each box carries what the embedded model says about its crop, and keeps its own class."""
    ask = {**ASK, "model_version": "gemma-4-demo", "task_type": "unconstrained"}
    ask |= {"prompt": "Describe the image."}
    label = {**LABEL, "crops": "$steps.crop.crops", "write_to": "data_field"}
    specification = {
        "version": "1.0",
        "inputs": [{"type": "WorkflowImage", "name": "image"}],
        "steps": [DETECT, CROP, ask, label],
        "outputs": [
            {"type": "JsonField", "name": name, "selector": f"$steps.named.{name}"}
            for name in ("predictions", "answers")
        ],
    }
    _, png = cv2.imencode(".png", TWO.image[..., ::-1])
    image = {"type": "base64", "value": base64.b64encode(png.tobytes()).decode()}
    response = client.post(
        "/workflows/run", json={"specification": specification, "inputs": {"image": image}}
    )
    (row,) = response.json()["outputs"]
    boxes = row["predictions"]["predictions"]
    assert [box["data"] for box in boxes] == row["answers"]
    assert sorted(row["answers"]) == sorted(f"1 {shape.label}." for shape in TWO.shapes)
    assert {box["class"] for box in boxes} == {"shape"}


def scored(*probabilities: float, text: str) -> Answer:
    """Script an answer to a classification, with measured probabilities."""
    return Answer(
        text=text,
        thinking="",
        finish_reason="stop",
        input_tokens=1,
        output_tokens=1,
        image_tokens=1,
        choice_probabilities=(probabilities,),
        group_probabilities=(1.0,),
    )


def test_a_classification_gives_its_class_id_and_confidence() -> None:
    """Measured probabilities become the confidences of the boxes."""
    ask = {**ASK, "task_type": "classification", "prompt": None, "classes": ["red", "blue"]}
    script: list[Line] = [
        scored(0.25, 0.75, text='{"class_name": "blue"}'),
        scored(0.875, 0.125, text='{"class_name": "red"}'),
    ]
    label = {**LABEL, "answers": "$steps.gemma.predictions"}
    after = run([DETECT, CROP, ask, label], BOTH, TWO, script=script)[0]["after"]
    assert names_of(after) == ["blue", "red"]
    assert after.class_id.tolist() == [1, 0]
    assert after.confidence.tolist() == [0.75, 0.875]


def test_classifications_say_which_box_they_belong_to() -> None:
    """They know the box that their crop was cut from, so their order does not matter."""
    detections = sv.Detections(
        xyxy=np.array([[0, 0, 1, 1], [1, 1, 2, 2], [2, 2, 3, 3]], dtype=float),
        confidence=np.ones(3),
        class_id=np.zeros(3, int),
        data={"class_name": np.array(["shape"] * 3), "detection_id": np.array(["b", "a", "c"])},
    )
    answers = [{**SINGLE, "parent_id": owner, "top": owner} for owner in ("a", "dropped", "b")]
    block = LabelDetectionsBlock()
    result = block.run(
        object_detection_predictions=detections,
        answers=Batch.init(content=answers, indices=[(0, 0), (0, 1), (0, 2)]),
        crops=None,
        write_to="class_name",
        data_field="data",
        fallback_text=None,
    )
    assert names_of(result["predictions"]) == ["b", "a", "shape"]


SINGLE = {
    "top": "blue",
    "confidence": 0.75,
    "predictions": [
        {"class": "blue", "class_id": 1, "confidence": 0.75},
        {"class": "red", "class_id": 0, "confidence": 0.25},
    ],
}
MULTI = {"red": {"confidence": 0.9, "class_id": 0}, "round": {"confidence": 0.8, "class_id": 1}}
NAMES = {0: "red", 1: "round"}


@pytest.mark.parametrize(
    ("answer", "label"),
    [
        (None, None),
        (" \n", None),
        ("red", Label(text="red", class_id=class_id_of("red"))),
        (3, Label(text="3", class_id=class_id_of("3"))),
        (0, Label(text="0", class_id=class_id_of("0"))),
        (SINGLE, Label(text="blue", class_id=1, confidence=0.75)),
        ({"top": "", "predictions": []}, None),
        (
            {"top": "red", "predictions": [{"class": "red", "class_id": 0, "confidence": float("nan")}]},
            Label(text="red", class_id=0),
        ),
        (
            {"predictions": MULTI, "predicted_classes": ["round"]},
            Label(text="round", class_id=1, confidence=0.8),
        ),
        (
            {"predictions": MULTI, "predicted_classes": ["red", "round"]},
            Label(text="red, round", class_id=class_id_of("red, round")),
        ),
        ({"predictions": MULTI, "predicted_classes": []}, None),
        (
            ClassificationPrediction(
                class_id=torch.tensor([1]),
                confidence=torch.tensor([[0.25, 0.75]]),
                images_metadata=[{"class_names": NAMES}],
            ),
            Label(text="round", class_id=1, confidence=0.75),
        ),
        (
            MultiLabelClassificationPrediction(
                class_ids=torch.tensor([0]),
                confidence=torch.tensor([0.75, 0.25]),
                image_metadata={"class_names": NAMES},
            ),
            Label(text="red", class_id=0, confidence=0.75),
        ),
    ],
)
def test_what_an_answer_names_a_box(answer: object, label: Label | None) -> None:
    """Texts, numbers and classifications in both forms of the host are read; nothing is no name."""
    assert read_label(answer) == label


@pytest.mark.parametrize("answer", [True, 0.5, ["red"], {"color": "red"}])
def test_what_names_no_box_is_refused(answer: object) -> None:
    """A value that is no answer is the workflow's mistake."""
    with pytest.raises(ConfigurationError, match="it must be a text, a classification or a whole number"):
        read_label(answer)


def tensors() -> Detections:
    """Return two boxes, both cars, as the host has them in tensors."""
    return Detections(
        xyxy=torch.tensor([[0.0, 0, 5, 5], [5, 5, 9, 9]]),
        class_id=torch.tensor([0, 0]),
        confidence=torch.tensor([0.5, 0.25]),
        image_metadata={"class_names": {0: "car"}, "image_dimensions": [10, 10], "parent_id": "image"},
        bboxes_metadata=[
            {"detection_id": "a", "tracker_id": 7, "_host_class_id": 0},
            {"detection_id": "b", "class": "van"},
        ],
    )


def sent(detections: Detections) -> list[tuple[str, float, object, object]]:
    """Return what the server sends of each box."""
    return [
        (box["class"], box["confidence"], box.get("tracker_id"), box.get("data"))
        for box in serialise_tensors(detections)["predictions"]
    ]


def test_tensors_are_named_as_well() -> None:
    """The other form of detections gives the same names, ids and confidences, and is left as it was."""
    given = tensors()
    labels = [Label(text="red", class_id=3, confidence=0.75), Label(text="blue", class_id=4)]
    named = with_class_names(given, labels)
    assert sent(named) == [("red", 0.75, 7, None), ("blue", 0.25, None, None)]
    assert named.class_id.tolist() == [3, 4]
    assert read_detection_ids(named) == ["a", "b"]
    assert "_host_class_id" not in named.bboxes_metadata[0]
    assert sent(given) == [("car", 0.5, 7, None), ("van", 0.25, None, None)]


def test_a_class_id_that_means_two_names_in_tensors_is_changed() -> None:
    """Names are looked up by class id there, so a box that keeps its own must not be renamed with another."""
    named = with_class_names(tensors(), [Label(text="red", class_id=0), None])
    assert sent(named) == [("red", 0.5, 7, None), ("van", 0.25, None, None)]
    assert named.class_id.tolist() == [class_id_of("red"), 0]
    assert named.image_metadata["class_names"] == {0: "car", class_id_of("red"): "red"}


def test_key_points_stay_with_their_boxes() -> None:
    """A pair of key points and boxes stays a pair."""
    points = KeyPoints(
        xy=torch.zeros(2, 1, 2), class_id=torch.zeros(2, dtype=torch.int64), confidence=torch.ones(2, 1)
    )
    labels = [Label(text="red", class_id=3), None]
    kept, named = with_class_names((points, tensors()), labels)
    assert kept is points
    assert [name for name, *_ in sent(named)] == ["red", "van"]
    kept, written = with_data_field((points, tensors()), "data", ["red", None])
    assert kept is points
    assert sent(written) == [("car", 0.5, 7, "red"), ("van", 0.25, None, None)]


def test_masks_stay() -> None:
    """A segmented object keeps its mask."""
    masks = np.zeros((1, 4, 4), bool)
    masks[0, 1:3, 1:3] = True
    given = sv.Detections(xyxy=np.array([[1.0, 1, 3, 3]]), mask=masks, class_id=np.array([2]))
    assert (with_class_names(given, [Label(text="red", class_id=3)]).mask == masks).all()
    assert (with_data_field(given, "data", ["red"]).mask == masks).all()


def test_no_confidence_is_made_up() -> None:
    """Where neither the box nor the answer has one, there is none."""
    given = sv.Detections(xyxy=np.array([[1.0, 1, 3, 3]]), class_id=np.array([2]))
    assert np.isnan(with_class_names(given, [Label(text="red", class_id=3)]).confidence).all()


def test_a_missing_text_leaves_the_field_that_was_there() -> None:
    """A second round of answers does not wipe out the first."""
    given = sv.Detections(xyxy=np.zeros((2, 4)), data={"color": np.array(["red", "blue"])})
    assert list(with_data_field(given, "color", [None, "green"]).data["color"]) == ["red", "green"]


BAD_TARGETS = [
    ({"write_to": "label"}, "write_to is 'label'; it must be class_name or data_field."),
    ({"write_to": "data_field", "data_field": "my color"}, "data_field is 'my color'; it must be one word"),
    ({"write_to": "data_field", "data_field": ""}, "data_field is ''; it must be one word"),
    (
        {"write_to": "data_field", "data_field": "detection_id"},
        "data_field is 'detection_id', which detections use for something else.",
    ),
]
STEP = {**LABEL, "crops": "$steps.crop.crops"}


@pytest.mark.parametrize(("fields", "message"), BAD_TARGETS[1:])
def test_a_place_that_cannot_be_written_to_does_not_compile(fields: Step, message: str) -> None:
    """What the host keeps for itself is not overwritten."""
    with pytest.raises(ValidationError, match=message):
        LabelDetectionsManifest.model_validate({**STEP, **fields})


@pytest.mark.parametrize(("fields", "message"), BAD_TARGETS)
def test_a_place_that_is_known_at_run_time_is_checked_then(fields: Step, message: str) -> None:
    """A value of another step that cannot work is answered with 422."""
    steps = [DETECT, CROP, ASK, {**LABEL, **{name: f"$steps.{name}.output" for name in fields}}]
    for name, value in fields.items():
        text = {"type": "roboflow_core/string_template@v1", "name": name, "template": value, "data": {}}
        steps.insert(0, text)
    with pytest.raises(ClientCausedStepExecutionError) as caught:
        run(steps, BOTH, TWO)
    assert message in caught.value.public_message


def test_the_released_step_keeps_its_promise() -> None:
    """Fields, types, defaults and outputs are those that saved workflows were written for."""
    assert promise_of(LabelDetectionsManifest) == json.loads(SNAPSHOT.read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", sorted(set(LabelDetectionsManifest.model_fields) - {"type", "name"}))
def test_every_field_takes_selectors_and_is_explained_with_an_example(name: str) -> None:
    """Whatever can vary at run time may come from an input or an earlier step."""
    field = LabelDetectionsManifest.model_fields[name]
    assert field.description
    assert field.examples
    manifest = LabelDetectionsManifest.model_validate({**STEP, name: "$steps.other.value"})
    assert getattr(manifest, name) == "$steps.other.value"


def test_the_step_needs_no_model_and_no_internet() -> None:
    """It runs wherever the plugin is loaded."""
    manifest = LabelDetectionsManifest.model_validate(STEP)
    assert manifest.discover_dependent_resources() == []
    assert LabelDetectionsManifest.get_air_gapped_availability().available is True
    found = manifest.get_actual_restrictions()
    assert {one.code for one in found.items} == {"third_party_plugin_not_loaded"}
    assert found.complete is True


if __name__ == "__main__":
    SNAPSHOT.write_text(json.dumps(promise_of(LabelDetectionsManifest), indent=2) + "\n", encoding="utf-8")
