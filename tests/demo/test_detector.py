"""The shipped detector, run by the stock block through the Workflows engine."""

from collections.abc import Callable
from pathlib import Path

# The host's settings must be installed before roboflow_workflows freezes its own.
import inference.core  # noqa: F401  # isort: split
import numpy as np
import numpy.typing as npt
import onnxruntime
import pytest
import supervision as sv
import torch
from inference.core.managers.base import ModelManager
from inference.core.registries.roboflow import RoboflowModelRegistry
from inference.models.utils import ROBOFLOW_MODEL_TYPES
from roboflow_workflows.execution_engine.core import ExecutionEngine

import gemma4_block.demo
from gemma4_block.demo.evaluation.detector import draw_held_out_scenes, score_boxes
from gemma4_block.demo.scenes import RgbImage, draw_scene, wear
from gemma4_block.demo.training.detector import ShapeDetector, export_detector

DETECTOR_DIRECTORY = Path(gemma4_block.demo.__file__).parent / "detector"
Detect = Callable[[list[RgbImage]], list[sv.Detections]]


@pytest.fixture(scope="module", params=["v1", "v2", "v3"])
def detect(request: pytest.FixtureRequest) -> Detect:
    """Run one version of the stock block, with its defaults, on RGB images."""
    specification = {
        "version": "1.0",
        "inputs": [{"type": "WorkflowImage", "name": "image"}],
        "steps": [
            {
                "type": f"roboflow_core/roboflow_object_detection_model@{request.param}",
                "name": "detector",
                "images": "$inputs.image",
                "model_id": str(DETECTOR_DIRECTORY),
            }
        ],
        "outputs": [{"type": "JsonField", "name": "predictions", "selector": "$steps.detector.predictions"}],
    }
    engine = ExecutionEngine.init(
        workflow_definition=specification,
        init_parameters={
            "workflows_core.model_manager": ModelManager(RoboflowModelRegistry(ROBOFLOW_MODEL_TYPES)),
            "workflows_core.api_key": None,
        },
    )

    def run(images: list[RgbImage]) -> list[sv.Detections]:
        bgr_images = [np.ascontiguousarray(image[..., ::-1]) for image in images]
        return [row["predictions"] for row in engine.run(runtime_parameters={"image": bgr_images})]

    return run


def test_every_drawn_shape_gets_one_tight_box(detect: Detect) -> None:
    """The boxes on held-out scenes are those that were drawn: none missing, none twice, none loose."""
    scenes = list(draw_held_out_scenes(20, seed=1))
    found = detect([scene.image for scene in scenes])
    true_boxes = [[shape.box_xyxy_px for shape in scene.shapes] for scene in scenes]

    assert [len(detections) for detections in found] == [len(scene.shapes) for scene in scenes]
    score = score_boxes(
        [(detections.xyxy, boxes) for detections, boxes in zip(found, true_boxes, strict=True)]
    )
    assert (score.recall, score.precision) == (1.0, 1.0)
    # 0.94 was measured on 300 scenes; a crop needs less.
    assert score.mean_iou > 0.9


def test_boxes_are_in_pixels_of_the_image_that_was_given(detect: Detect) -> None:
    """A shape far from square, in the corner of a wide image, is boxed where it is."""
    image: npt.NDArray[np.uint8] = np.full((200, 400, 3), 245, dtype=np.uint8)
    image[130:180, 310:360] = (220, 30, 35)
    (detections,) = detect([image])
    # A few pixels for the shapes' soft edges and the host's rounding.
    np.testing.assert_allclose(detections.xyxy, [[310, 130, 359, 179]], atol=5)


def test_detections_carry_the_one_class(detect: Detect) -> None:
    """Every detection is a `shape` with class id 0."""
    rng = np.random.default_rng(3)
    (detections,) = detect([wear(rng, draw_scene(rng, shape_count=3).image)])
    assert detections.data["class_name"].tolist() == ["shape"] * 3
    assert detections.class_id is not None
    assert detections.class_id.tolist() == [0, 0, 0]


def test_an_empty_scene_gives_no_detections(detect: Detect) -> None:
    """A scene without shapes comes back as detections of length zero, not as a failure."""
    rng = np.random.default_rng(4)
    empty = [wear(rng, draw_scene(rng, shape_count=0).image) for _ in range(5)]
    assert [len(detections) for detections in detect(empty)] == [0, 0, 0, 0, 0]


@pytest.mark.filterwarnings(
    "ignore:You are using the legacy TorchScript-based ONNX export:DeprecationWarning",
    "ignore:The feature will be removed:DeprecationWarning",
)
def test_an_export_computes_what_torch_does_beside_the_shipped_descriptions(tmp_path: Path) -> None:
    """The ONNX file takes any batch and agrees with torch; the other files are the shipped ones."""
    torch.manual_seed(0)
    detector = ShapeDetector().eval()
    export_detector(detector, tmp_path)
    images = torch.rand(2, 3, 320, 320)
    with torch.no_grad():
        expected = detector(images).numpy()

    session = onnxruntime.InferenceSession(tmp_path / "weights.onnx", providers=["CPUExecutionProvider"])
    (actual,) = session.run(None, {"images": images.numpy()})
    # Two runtimes sum in different orders; the values reach 320.
    np.testing.assert_allclose(actual, expected, atol=1e-2)
    for name in ("class_names.txt", "inference_config.json", "model_config.json"):
        assert (tmp_path / name).read_text() == (DETECTOR_DIRECTORY / name).read_text()


def test_missed_and_doubled_boxes_lower_the_score() -> None:
    """A shape without a box lowers recall; a second box on one shape lowers precision."""
    shape, other = [0, 0, 10, 10], [50, 50, 60, 60]
    missed = score_boxes([([shape], [shape, other])])
    doubled = score_boxes([([shape, shape], [shape])])
    assert (missed.recall, missed.precision) == (0.5, 1.0)
    assert (doubled.recall, doubled.precision) == (1.0, 0.5)


def test_no_match_is_an_error_and_not_a_zero() -> None:
    """Boxes that meet no shape have no mean IoU, so there is no score to give."""
    with pytest.raises(ValueError, match="No pair of 1 boxes and 1 shapes"):
        score_boxes([([[0, 0, 10, 10]], [[50, 50, 60, 60]])])
