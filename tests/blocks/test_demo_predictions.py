"""The embedded model, through the Workflows engine, against the truth of drawn scenes."""

from collections import Counter
from typing import Any

# The host's settings must be installed before roboflow_workflows freezes its own.
import inference.core  # noqa: F401  # isort: split
import numpy as np
import pytest
from roboflow_workflows.execution_engine.core import ExecutionEngine

from gemma4_block.cli.workflows import one_step_workflow
from gemma4_block.demo.scenes import SHAPE_KINDS, Scene, draw_crop, draw_scene
from gemma4_block.engine.pool.pool import EnginePool
from gemma4_block.settings import Settings

Row = dict[str, Any]
SCENE = draw_scene(np.random.default_rng(1), shape_count=5)
CROPS = [draw_crop(np.random.default_rng(seed)) for seed in range(4)]
LABELS = [*dict.fromkeys(shape.label for shape in SCENE.shapes), "yellow star"]


@pytest.fixture(scope="module")
def pool() -> EnginePool:
    """The real pool; the embedded model is loaded once."""
    return EnginePool(Settings())


def ask(pool: EnginePool, task_type: str, classes: list[str], scenes: list[Scene]) -> list[Row]:
    """Return what the server would send of a step's answers."""
    names = ("predictions", "parsed", "count", "error_message")
    engine = ExecutionEngine.init(
        workflow_definition=one_step_workflow(
            {"task_type": task_type, "classes": classes, "model_version": "gemma-4-demo"},
            outputs={name: name for name in names},
        ),
        init_parameters={"gemma4_block.engine_provider": pool},
    )
    images = [np.ascontiguousarray(scene.image[..., ::-1]) for scene in scenes]
    rows: list[Row] = engine.run(runtime_parameters={"image": images}, serialize_results=True)
    assert [row["error_message"] for row in rows] == [None] * len(scenes)
    return rows


def overlap(box: Row, truth: tuple[float, float, float, float]) -> float:
    """Return the intersection over union of a sent box and a drawn one."""
    left, top = box["x"] - box["width"] / 2, box["y"] - box["height"] / 2
    right, bottom = left + box["width"], top + box["height"]
    x1, y1, x2, y2 = truth
    common = max(0.0, min(right, x2) - max(left, x1)) * max(0.0, min(bottom, y2) - max(top, y1))
    return common / (box["width"] * box["height"] + (x2 - x1) * (y2 - y1) - common)


def test_crops_are_classified(pool: EnginePool) -> None:
    """The drawn kind is the top, and the probabilities of all kinds leave next to nothing for others."""
    for row, crop in zip(ask(pool, "classification", list(SHAPE_KINDS), CROPS), CROPS, strict=True):
        predictions = row["predictions"]
        assert predictions["top"] == crop.shapes[0].kind
        confidences = {entry["class"]: entry["confidence"] for entry in predictions["predictions"]}
        assert list(confidences) == list(SHAPE_KINDS)
        assert all(0 < confidence < 1 for confidence in confidences.values())
        assert 0.99 < sum(confidences.values()) <= 1
        assert predictions["confidence"] == max(confidences.values())


def test_the_shapes_of_a_scene_are_named(pool: EnginePool) -> None:
    """What is drawn is there and what is not drawn is not, each with a probability of its own."""
    (row,) = ask(pool, "multi-label-classification", LABELS, [SCENE])
    assert row["parsed"] == {label: label != "yellow star" for label in LABELS}
    predictions = row["predictions"]
    assert predictions["predicted_classes"] == LABELS[:-1]
    confidences = {label: entry["confidence"] for label, entry in predictions["predictions"].items()}
    assert all(0 < confidence < 1 for confidence in confidences.values())
    assert {label for label, confidence in confidences.items() if confidence > 0.5} == set(LABELS[:-1])


def test_the_shapes_of_a_scene_are_counted(pool: EnginePool) -> None:
    """Every class has its number, and what is not drawn has 0."""
    (row,) = ask(pool, "counting", LABELS, [SCENE])
    drawn = Counter(shape.label for shape in SCENE.shapes)
    assert (row["parsed"], row["count"]) == ({label: drawn[label] for label in LABELS}, len(SCENE.shapes))


def test_the_shapes_of_a_scene_are_found(pool: EnginePool) -> None:
    """Boxes are in pixels of the image, which is no square."""
    height, width = SCENE.image.shape[:2]
    assert height != width
    (row,) = ask(pool, "object-detection", LABELS, [SCENE])
    assert row["predictions"]["image"] == {"width": width, "height": height}
    boxes = row["predictions"]["predictions"]
    assert (row["count"], len(boxes)) == (len(SCENE.shapes), len(SCENE.shapes))
    assert all(0 < box["confidence"] < 1 for box in boxes)
    right = [
        shape
        for shape in SCENE.shapes
        for box in boxes
        if box["class"] == shape.label and overlap(box, shape.box_xyxy_px) > 0.5
    ]
    assert len(right) == len(SCENE.shapes)
