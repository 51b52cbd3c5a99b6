"""Train and export the small shape detector that feeds crops to the demo.

Run `python -m gemma4_block.demo.training.detector`; `demo.evaluation.detector` judges what it writes.
"""

import itertools
import json
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import torch
from rich.progress import Progress
from torch import Tensor, nn

from gemma4_block.demo.scenes import RgbImage, Scene, draw_number, draw_scene, wear

DETECTOR_DIRECTORY = Path(__file__).parents[1] / "detector"
CLASS_NAME = "shape"

_SIDE_PX = 320
# The smallest shape, in the most stretched scene, is about 38 px wide here: two cells of the grid.
_STRIDE_PX = 16
_GRID_SIDE = _SIDE_PX // _STRIDE_PX
# Our choice; the shipped weights come from these and seed 0. Of one run each, measured once, 600 steps with a
# number rate of 0.15 gave 5 false boxes on 200 number pictures, these gave 3 on 500.
_BATCH_SIZE = 16
_STEP_COUNT = 700
_PEAK_LEARNING_RATE = 4e-3
_NUMBER_IMAGE_RATE = 0.3
# Follows the seed of a generator; held-out scenes have another, so that none was ever learnt from.
_TRAINING_STREAM = 0


class ShapeDetector(nn.Module):
    """Find filled shapes on a 20 by 20 grid, without anchors.

    New weights come from torch's global generator.
    """

    def __init__(self) -> None:
        super().__init__()
        widths = (3, 12, 24, 32, 48)
        reducing = [_convolution(a, b, stride=2) for a, b in itertools.pairwise(widths)]
        # Dilation lets a cell see the whole of the largest shape, 138 px wide.
        seeing = [_convolution(48, 48, dilation=dilation) for dilation in (1, 2, 3, 1)]
        self.trunk = nn.Sequential(*reducing, *seeing)
        self.head = nn.Conv2d(48, 5, 1)
        # Start from "two cells to every side" and "almost never a shape".
        self.head.bias = nn.Parameter(torch.tensor([2.0, 2.0, 2.0, 2.0, -4.0]))
        self.cell_xy_px = nn.Buffer(torch.from_numpy(_cell_centers()).T.contiguous(), persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        """Return a box and a score for every cell, in the raw layout of YOLOv8.

        Args:
            images: `(B, 3, 320, 320)` float32, RGB, 0 to 1.

        Returns:
            `(B, 5, 400)` float32: centre x, centre y, width and height in pixels of the input
            (x right, y down), then the probability of a shape, 0 to 1.

        """
        raw = self.head(self.trunk(images)).flatten(2)
        reach = nn.functional.softplus(raw[:, :4]) * _STRIDE_PX
        left_top, right_bottom = reach[:, :2], reach[:, 2:]
        centers = self.cell_xy_px + (right_bottom - left_top) / 2
        return torch.cat((centers, left_top + right_bottom, raw[:, 4:].sigmoid()), dim=1)


def train_detector(*, seed: int = 0, step_count: int = _STEP_COUNT) -> ShapeDetector:
    """Train on freshly drawn scenes, showing a progress bar.

    Args:
        seed: Seeds the weights and the scenes.
        step_count: Optimizer steps, 16 pictures each.

    Returns:
        A detector in evaluation mode.

    """
    torch.manual_seed(seed)
    detector = ShapeDetector().train()
    optimizer = torch.optim.AdamW(detector.parameters(), lr=_PEAK_LEARNING_RATE)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, _PEAK_LEARNING_RATE, total_steps=step_count)
    rng = np.random.default_rng((seed, _TRAINING_STREAM))
    with Progress() as progress:
        task = progress.add_task("training", total=step_count)
        for _ in range(step_count):
            scenes = [_draw_training_scene(rng) for _ in range(_BATCH_SIZE)]
            loss = _loss(detector(_to_input([scene.image for scene in scenes])), scenes)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            progress.update(task, advance=1, description=f"loss {loss.item():.3f}")
    return detector.eval()


def export_detector(detector: ShapeDetector, directory: Path = DETECTOR_DIRECTORY) -> None:
    """Write a model package that `inference_models` loads from a local directory.

    Args:
        detector: In evaluation mode.
        directory: Made where it is missing; files of the same names are replaced.

    """
    directory.mkdir(parents=True, exist_ok=True)
    # The newer exporter needs onnxscript, which nothing else here does.
    torch.onnx.export(
        detector,
        (torch.zeros(1, 3, _SIDE_PX, _SIDE_PX),),
        str(directory / "weights.onnx"),
        input_names=["images"],
        output_names=["output"],
        dynamic_axes={"images": {0: "batch"}, "output": {0: "batch"}},
        opset_version=17,
        dynamo=False,
    )
    (directory / "class_names.txt").write_text(f"{CLASS_NAME}\n", encoding="utf-8")
    for name, content in {
        "model_config.json": {
            "model_architecture": "yolov8",
            "task_type": "object-detection",
            "backend_type": "onnx",
        },
        "inference_config.json": {
            "network_input": {
                "training_input_size": {"height": _SIDE_PX, "width": _SIDE_PX},
                "dynamic_spatial_size_supported": False,
                "color_mode": "rgb",
                "resize_mode": "stretch",
                "input_channels": 3,
                "scaling_factor": 255,
            },
            "forward_pass": {"max_dynamic_batch_size": 16},
            "post_processing": {"type": "nms", "fused": False},
        },
    }.items():
        (directory / name).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def iou(a: Tensor, b: Tensor) -> Tensor:
    """Return intersection over union of boxes `(..., 4)`, x1, y1, x2, y2, in one frame; broadcasts."""
    overlap_wh = torch.minimum(a[..., 2:], b[..., 2:]) - torch.maximum(a[..., :2], b[..., :2])
    overlap = overlap_wh.clamp(min=0).prod(-1)
    areas = (a[..., 2:] - a[..., :2]).prod(-1) + (b[..., 2:] - b[..., :2]).prod(-1)
    return overlap / (areas - overlap)


def main() -> None:
    """Train and write the shipped package."""
    export_detector(train_detector())


def _convolution(channels_in: int, channels_out: int, *, stride: int = 1, dilation: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(channels_in, channels_out, 3, stride, padding=dilation, dilation=dilation, bias=False),
        nn.BatchNorm2d(channels_out),
        nn.ReLU(),
    )


def _cell_centers() -> npt.NDArray[np.float32]:
    """Centres `(400, 2)` of the grid's cells, x and y in input pixels, row by row."""
    along = (np.arange(_GRID_SIDE, dtype=np.float32) + 0.5) * _STRIDE_PX
    return np.stack(np.meshgrid(along, along), axis=-1).reshape(-1, 2)


def _draw_training_scene(rng: np.random.Generator) -> Scene:
    """Draw a scene or, as a picture without boxes, a number; worn less or more than the held-out ones."""
    drawn = draw_number(rng) if rng.random() < _NUMBER_IMAGE_RATE else draw_scene(rng)
    worn = wear(rng, drawn.image, noise=rng.uniform(0, 6), jpeg_quality=int(rng.integers(65, 96)))
    return Scene(image=worn, shapes=drawn.shapes)


def _to_input(images: Sequence[RgbImage]) -> Tensor:
    """Stretch RGB images as `inference_models` does and stack them: `(B, 3, 320, 320)` float32, 0 to 1."""
    stretched = np.stack([cv2.resize(image, (_SIDE_PX, _SIDE_PX)) for image in images])
    return torch.from_numpy(stretched).permute(0, 3, 1, 2).contiguous() / 255


def _loss(output: Tensor, scenes: Sequence[Scene]) -> Tensor:
    """Cross entropy of the scores plus `-log IoU` of the boxes, per cell that is near a shape's middle."""
    true_xyxy, is_middle = _targets(scenes)
    center, size, score = output[:, :2], output[:, 2:4], output[:, 4]
    xyxy = torch.cat((center - size / 2, center + size / 2), dim=1).transpose(1, 2)
    count = is_middle.sum().clamp(min=1)
    score_loss = nn.functional.binary_cross_entropy(score, is_middle.float(), reduction="sum")
    box_loss = -iou(xyxy[is_middle], true_xyxy[is_middle]).clamp(min=1e-6).log().sum()
    return (score_loss + 2 * box_loss) / count


def _targets(scenes: Sequence[Scene]) -> tuple[Tensor, Tensor]:
    """True boxes `(B, 400, 4)` in input pixels and the mask `(B, 400)` of the cells they belong to."""
    centers = _cell_centers()
    boxes = np.zeros((len(scenes), len(centers), 4), dtype=np.float32)
    is_middle = np.zeros(boxes.shape[:2], dtype=np.bool_)
    for index, scene in enumerate(scenes):
        height, width = scene.image.shape[:2]
        scale = np.array([_SIDE_PX / width, _SIDE_PX / height])
        for shape in scene.shapes:
            distance = np.abs(centers - np.array(shape.center_xy_px) * scale).max(axis=1)
            # The two by two cells around the middle; no two shapes are close enough to share one.
            near = distance < _STRIDE_PX
            is_middle[index, near] = True
            boxes[index, near] = np.array(shape.box_xyxy_px) * np.tile(scale, 2)
    return torch.from_numpy(boxes), torch.from_numpy(is_middle)


if __name__ == "__main__":
    main()
