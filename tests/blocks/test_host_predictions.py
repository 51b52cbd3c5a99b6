"""Predictions are those of the stock blocks to the last byte, but for ids and measured confidences."""

import json
import math
from collections.abc import Callable, Sequence
from typing import Any

# The host's settings must be installed before roboflow_workflows freezes its own.
import inference.core  # noqa: F401  # isort: split
import numpy as np
import numpy.typing as npt
import orjson
import pytest
import supervision as sv
from roboflow_workflows.core_steps.common.serializers import serialise_sv_detections
from roboflow_workflows.core_steps.formatters.vlm_as_classifier.v2 import VLMAsClassifierBlockV2
from roboflow_workflows.core_steps.formatters.vlm_as_detector.v2 import VLMAsDetectorBlockV2
from roboflow_workflows.execution_engine.core import ExecutionEngine
from roboflow_workflows.execution_engine.entities.base import ImageParentMetadata, WorkflowImageData

from gemma4_block.blocks._host_predictions import build_predictions
from gemma4_block.contract import Answer, Prompt, TokenScore
from gemma4_block.tasks import TASKS, Predictions, TaskRequest, TaskType
from gemma4_block.testing import ScriptedEngine, ScriptedProvider

CLASSES = ("cat", "traffic light", 'a "dog"')
ENTRIES = [
    {"box_2d": [100, 200, 575, 905], "label": "traffic light"},
    {"box_2d": [0, 0, 1000, 1000], "label": "cat"},
    {"box_2d": [335, 285, 336, 287], "label": 'a "dog"'},
]
# New at every answer, or measured by us where the stock block has 1.0.
OWN = {"confidence", "detection_id", "inference_id"}


def picture(width: int = 300, height: int = 500) -> WorkflowImageData:
    """Return an image of the input."""
    return WorkflowImageData(
        parent_metadata=ImageParentMetadata(parent_id="image"),
        numpy_image=np.zeros((height, width, 3), np.uint8),
    )


def crop_of_a_crop() -> WorkflowImageData:
    """Return what two dynamic crops make of an image."""
    image = picture()
    for name, left, top in (("outer", 20, 30), ("inner", 5, 7)):
        pixels = image.numpy_image[top:-top, left:-left]
        image = WorkflowImageData.create_crop(
            origin_image_data=image,
            crop_identifier=name,
            cropped_image=pixels,
            offset_x=left,
            offset_y=top,
        )
    return image


def answer(
    text: str,
    *,
    choice_probabilities: tuple[tuple[float, ...], ...] | None = None,
    token_scores: tuple[TokenScore, ...] | None = None,
) -> Answer:
    """Say something."""
    return Answer(
        text=text,
        thinking="",
        finish_reason="stop",
        input_tokens=1,
        output_tokens=1,
        image_tokens=0,
        choice_probabilities=choice_probabilities,
        group_probabilities=None if choice_probabilities is None else (1.0,) * len(choice_probabilities),
        token_scores=token_scores,
    )


def read(task: TaskType, image: WorkflowImageData, said: Answer) -> Any:  # noqa: ANN401 - arrays or a dictionary
    """Return what our block makes of an answer."""
    request = TaskRequest(images=(image.numpy_image,), image_seq_length=70, classes=CLASSES)
    predictions: Predictions | None = TASKS[task].read(said, request).predictions
    assert predictions is not None
    return build_predictions(predictions, image, CLASSES, "an id")


def detect_as_stock(image: WorkflowImageData, text: str) -> sv.Detections:
    """Return what the stock block makes of the same text."""
    return VLMAsDetectorBlockV2().run(
        image=image,
        vlm_output=text,
        classes=list(CLASSES),
        model_type="google-gemini",
        task_type="object-detection",
    )["predictions"]


def without_own(value: object) -> object:
    """Leave out what no two answers share."""
    if isinstance(value, dict):
        return {key: without_own(part) for key, part in value.items() if key not in OWN}
    return [without_own(part) for part in value] if isinstance(value, list) else value


def assert_same(expected: npt.NDArray[Any], actual: npt.NDArray[Any]) -> None:
    """Compare values, shape and kind of number."""
    assert (expected.dtype, expected.shape) == (actual.dtype, actual.shape)
    np.testing.assert_array_equal(expected, actual)


@pytest.mark.parametrize("image", [picture(), crop_of_a_crop()], ids=["image", "crop of a crop"])
def test_detections_are_those_of_the_stock_block(image: WorkflowImageData) -> None:
    """Boxes, class ids, parents and coordinates are equal, in memory and as the server sends them."""
    text = json.dumps(ENTRIES)
    expected, actual = detect_as_stock(image, text), read("object-detection", image, answer(text))
    assert_same(expected.xyxy, actual.xyxy)
    assert_same(expected.class_id, actual.class_id)
    assert expected.confidence.dtype == actual.confidence.dtype
    assert set(expected.data) == set(actual.data)
    for name in set(expected.data) - OWN:
        assert_same(expected.data[name], actual.data[name])
    assert expected.metadata == actual.metadata
    assert len(set(actual.data["detection_id"])) == len(ENTRIES)
    assert set(actual.data["inference_id"]) == {"an id"}
    sent = [json.dumps(without_own(serialise_sv_detections(one))) for one in (expected, actual)]
    assert sent[0] == sent[1]


@pytest.mark.parametrize(("width", "height"), [(100, 200), (317, 390), (1920, 1080), (7, 3)])
def test_boxes_are_rounded_to_the_pixels_of_the_stock_block(width: int, height: int) -> None:
    """Half a pixel is where two ways to compute the same number would part."""
    image = picture(width, height)
    entries = [{"box_2d": [place, place, place + 400, place + 400], "label": "cat"} for place in range(601)]
    text = json.dumps(entries)
    expected = detect_as_stock(image, text)
    np.testing.assert_array_equal(expected.xyxy, read("object-detection", image, answer(text)).xyxy)


@pytest.mark.parametrize("image", [picture(), crop_of_a_crop()], ids=["image", "crop of a crop"])
def test_no_detections_say_where_nothing_was_found(image: WorkflowImageData) -> None:
    """An empty result has the image's size and parents, as that of the stock block has."""
    expected = detect_as_stock(image, "[]")
    actual = read("object-detection", image, answer("[]"))
    assert len(actual) == 0
    assert expected.metadata == actual.metadata
    assert serialise_sv_detections(expected) == serialise_sv_detections(actual)


def test_detections_have_the_measured_confidences() -> None:
    """Each box has its own, computed from the tokens of its own entry."""
    text = json.dumps(ENTRIES[:2])
    split = text.index("}, {") + 1
    scores = (
        TokenScore(start=0, end=split, log_probability=0.0, free_log_probability=math.log(0.25)),
        TokenScore(start=split, end=len(text), log_probability=0.0, free_log_probability=math.log(0.81)),
    )
    found = read("object-detection", picture(), answer(text, token_scores=scores))
    np.testing.assert_allclose(found.confidence, [0.25, 0.81], rtol=1e-12)


@pytest.mark.parametrize("image", [picture(), crop_of_a_crop()], ids=["image", "crop of a crop"])
def test_a_classification_is_that_of_the_stock_block(image: WorkflowImageData) -> None:
    """All but the ids and confidences is equal, also the order of keys."""
    expected = VLMAsClassifierBlockV2().run(
        image=image,
        vlm_output=json.dumps({"class_name": CLASSES[2], "confidence": 0.7}),
        classes=list(CLASSES),
    )["predictions"]
    said = answer(json.dumps({"class_name": CLASSES[2]}), choice_probabilities=((0.1, 0.2, 0.7),))
    actual = read("classification", image, said)
    assert json.dumps(without_own(expected)) == json.dumps(without_own(actual))
    assert list(expected) == list(actual)
    assert (actual["confidence"], actual["inference_id"]) == (0.7, "an id")
    assert [entry["confidence"] for entry in actual["predictions"]] == [0.1, 0.2, 0.7]


@pytest.mark.parametrize("image", [picture(), crop_of_a_crop()], ids=["image", "crop of a crop"])
def test_a_multi_label_classification_is_that_of_the_stock_block(image: WorkflowImageData) -> None:
    """Classes that were denied keep the probability that they are there after all."""
    expected = VLMAsClassifierBlockV2().run(
        image=image,
        vlm_output=json.dumps(
            {
                "predicted_classes": [
                    {"class": CLASSES[0], "confidence": 0.9},
                    {"class": CLASSES[2], "confidence": 0.6},
                ]
            }
        ),
        classes=list(CLASSES),
    )["predictions"]
    request = TaskRequest(images=(image.numpy_image,), image_seq_length=70, classes=CLASSES)
    constraint: Any = TASKS["multi-label-classification"].ask(request).constraint
    chosen = [group[place] for group, place in zip(constraint.groups, (0, 1, 0), strict=True)]
    said = answer("\n".join(chosen), choice_probabilities=((0.9, 0.1), (0.2, 0.8), (0.6, 0.4)))
    actual = read("multi-label-classification", image, said)
    assert json.dumps(without_own(expected)) == json.dumps(without_own(actual))
    assert [entry["confidence"] for entry in actual["predictions"].values()] == [0.9, 0.2, 0.6]


@pytest.mark.parametrize(
    ("task", "text"),
    [
        ("object-detection", json.dumps(ENTRIES)),
        ("classification", '{"class_name": "cat"}'),
        ("multi-label-classification", json.dumps(dict.fromkeys(CLASSES, True))),
    ],
)
def test_a_confidence_that_nobody_measured_is_null(task: TaskType, text: str) -> None:
    """An engine that cannot tell gives no number, and the server sends none."""
    predictions = read(task, picture(), answer(text))
    is_boxes = isinstance(predictions, sv.Detections)
    sent = orjson.loads(orjson.dumps(serialise_sv_detections(predictions) if is_boxes else predictions))
    entries = sent["predictions"]
    found = [entry["confidence"] for entry in (entries.values() if isinstance(entries, dict) else entries)]
    assert found == [None] * len(CLASSES)


def run(
    steps: Sequence[dict[str, Any]], script: Callable[[Prompt], str], images: list[npt.NDArray[np.uint8]]
) -> list[dict[str, Any]]:
    """Run a workflow and return what the server would send of every step's predictions."""
    outputs = [
        {
            "type": "JsonField",
            "name": step["name"],
            "selector": f"$steps.{step['name']}.predictions",
            "coordinates_system": "own",
        }
        for step in steps
        if step["type"] in {"gemma4_block/gemma4@v1", "roboflow_core/vlm_as_detector@v2"}
    ]
    engine = ExecutionEngine.init(
        workflow_definition={
            "version": "1.0",
            "inputs": [{"type": "WorkflowImage", "name": "image"}],
            "steps": list(steps),
            "outputs": outputs,
        },
        init_parameters={"gemma4_block.engine_provider": ScriptedProvider(ScriptedEngine(script))},
    )
    rows: list[dict[str, Any]] = engine.run(runtime_parameters={"image": images}, serialize_results=True)
    return rows


def detect(name: str, source: str) -> list[dict[str, Any]]:
    """Ask for boxes, and have a stock block read the same answer."""
    return [
        {
            "type": "gemma4_block/gemma4@v1",
            "name": name,
            "images": source,
            "task_type": "object-detection",
            "classes": list(CLASSES),
        },
        {
            "type": "roboflow_core/vlm_as_detector@v2",
            "name": f"stock_{name}",
            "image": source,
            "vlm_output": f"$steps.{name}.output",
            "classes": list(CLASSES),
            "model_type": "google-gemini",
            "task_type": "object-detection",
        },
    ]


def crop(name: str, source: str, boxes: str) -> dict[str, Any]:
    """Cut out what was found."""
    return {
        "type": "roboflow_core/dynamic_crop@v1",
        "name": name,
        "images": source,
        "predictions": f"$steps.{boxes}.predictions",
    }


def test_crops_of_crops_keep_their_place_in_the_image() -> None:
    """Three detections in a row are sent as the stock block sends them, parents and origins included."""
    steps = [
        *detect("first", "$inputs.image"),
        crop("crops", "$inputs.image", "first"),
        *detect("second", "$steps.crops.crops"),
        crop("crops_of_crops", "$steps.crops.crops", "second"),
        *detect("third", "$steps.crops_of_crops.crops"),
    ]
    (row,) = run(steps, lambda _: json.dumps(ENTRIES[:2]), [picture().numpy_image])
    for name in ("first", "second", "third"):
        assert without_own(row[f"stock_{name}"]) == without_own(row[name])
    innermost = row["third"][0][0]["predictions"][0]
    assert innermost["parent_origin"] == {"offset_x": 42, "offset_y": 24, "width": 212, "height": 238}
    assert innermost["root_parent_origin"] == {"offset_x": 102, "offset_y": 74, "width": 300, "height": 500}


def test_steps_that_take_detections_pass_over_an_image_without_an_answer() -> None:
    """Filters, drawings and crops work on the other images of the batch."""

    def say(prompt: Prompt) -> str:
        return json.dumps(ENTRIES[:2]) if prompt.images[0].any() else "I cannot see a thing."

    steps = [
        *detect("boxes", "$inputs.image")[:1],
        {
            "type": "roboflow_core/bounding_box_visualization@v1",
            "name": "drawing",
            "image": "$inputs.image",
            "predictions": "$steps.boxes.predictions",
        },
        crop("crops", "$inputs.image", "boxes"),
        *detect("within", "$steps.crops.crops")[:1],
    ]
    bright = np.full((500, 300, 3), 200, np.uint8)
    rows = run(steps, say, [bright, np.zeros_like(bright), bright])
    assert [row["boxes"] is None for row in rows] == [False, True, False]
    assert [len(row["within"]) for row in rows] == [2, 0, 2]
