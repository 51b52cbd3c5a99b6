"""Judge a shape detector on held-out scenes, as the stock block would run it.

Run `python -m gemma4_block.demo.evaluation.detector`.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from rich.console import Console

from gemma4_block.demo.scenes import Scene, draw_scene, wear
from gemma4_block.demo.training.detector import DETECTOR_DIRECTORY, iou

# Follows the seed of a generator; training has another, so that no judged scene was ever learnt from.
_HELD_OUT_STREAM = 1
# Defaults of `roboflow_core/roboflow_object_detection_model@v2`.
# Source: roboflow_workflows 0.2.13, core_steps/models/roboflow/object_detection/v2.py.
_BLOCK_CONFIDENCE, _BLOCK_IOU_THRESHOLD = 0.4, 0.3


@dataclass(frozen=True, kw_only=True, slots=True)
class DetectorScore:
    """How well detected boxes agree with the drawn ones at an IoU of 0.5.

    Attributes:
        recall: Found shapes over drawn shapes, 0 to 1.
        precision: Found shapes over detections, 0 to 1; a second box on a shape counts as wrong.
        mean_iou: Mean over the found shapes.

    """

    recall: float
    precision: float
    mean_iou: float


def draw_held_out_scenes(count: int, *, seed: int = 0) -> Iterator[Scene]:
    """Yield worn scenes that training never draws; the same seed draws the same scenes."""
    rng = np.random.default_rng((seed, _HELD_OUT_STREAM))
    for _ in range(count):
        scene = draw_scene(rng)
        yield Scene(image=wear(rng, scene.image, jpeg_quality=80), shapes=scene.shapes)


def evaluate_detector(directory: Path = DETECTOR_DIRECTORY, *, scene_count: int = 300) -> DetectorScore:
    """Judge a model package on held-out scenes, loaded and post-processed as the stock block does."""
    from inference_models import AutoModel

    model = AutoModel.from_pretrained(str(directory))
    pairs = []
    for scene in draw_held_out_scenes(scene_count):
        (found,) = model(
            np.ascontiguousarray(scene.image[..., ::-1]),
            confidence=_BLOCK_CONFIDENCE,
            iou_threshold=_BLOCK_IOU_THRESHOLD,
        )
        pairs.append((found.xyxy.cpu().numpy(), [shape.box_xyxy_px for shape in scene.shapes]))
    return score_boxes(pairs)


def score_boxes(pairs: Sequence[tuple[npt.ArrayLike, npt.ArrayLike]]) -> DetectorScore:
    """Compare detections with the truth, picture by picture.

    Drawn shapes do not overlap, so a detection reaches an IoU of 0.5 with at most one of them.

    Args:
        pairs: Detected `(N, 4)` and true `(M, 4)` boxes of each picture, x1, y1, x2, y2 in its pixels.

    Returns:
        The score over all pictures together.

    Raises:
        ValueError: When there is nothing to find or nothing was detected, so that a rate is undefined.

    Examples:
        >>> score_boxes([([[0, 0, 10, 10], [50, 50, 60, 60]], [[0, 0, 10, 8]])])
        DetectorScore(recall=1.0, precision=0.5, mean_iou=0.8)

    """
    true_count = detected_count = 0
    found_ious: list[float] = []
    for detected, true in pairs:
        detected_xyxy = torch.as_tensor(detected, dtype=torch.float64).reshape(-1, 1, 4)
        true_xyxy = torch.as_tensor(true, dtype=torch.float64).reshape(1, -1, 4)
        true_count += true_xyxy.shape[1]
        detected_count += detected_xyxy.shape[0]
        if detected_xyxy.numel() and true_xyxy.numel():
            best = iou(detected_xyxy, true_xyxy).amax(dim=0)
            found_ious += best[best >= 0.5].tolist()
    if not true_count or not found_ious:
        raise ValueError(
            f"No pair of {detected_count} boxes and {true_count} shapes has an IoU of 0.5 or more."
        )
    return DetectorScore(
        recall=len(found_ious) / true_count,
        precision=len(found_ious) / detected_count,
        mean_iou=sum(found_ious) / len(found_ious),
    )


def main() -> None:
    """Judge the shipped detector and print its score."""
    score = evaluate_detector()
    Console().print(
        f"recall {score.recall:.4f}, precision {score.precision:.4f}, mean IoU {score.mean_iou:.4f} "
        f"at IoU 0.5 and confidence {_BLOCK_CONFIDENCE}",
        highlight=False,
    )


if __name__ == "__main__":
    main()
