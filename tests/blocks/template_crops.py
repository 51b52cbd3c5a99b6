"""Frames with any number of crops, found without a model: by a pattern that matches nothing else."""

from typing import Any

import numpy as np
import numpy.typing as npt

Image = npt.NDArray[np.uint8]

TEMPLATE_INPUT: dict[str, Any] = {"type": "WorkflowImage", "name": "template"}

CROP_STEPS: list[dict[str, Any]] = [
    {
        "type": "roboflow_core/template_matching@v1",
        "name": "found",
        "image": "$inputs.image",
        "template": "$inputs.template",
        "matching_threshold": 0.99,
    },
    {
        "type": "roboflow_core/dynamic_crop@v1",
        "name": "crop",
        "images": "$inputs.image",
        "predictions": "$steps.found.predictions",
    },
]
"""The crops are `$steps.crop.crops`."""


def scene(*columns: int) -> Image:
    """Return a dark picture with the template at these columns."""
    image = np.zeros((40, 200, 3), np.uint8)
    for column in columns:
        image[10:20, column : column + 10] = template()
    return image


def template() -> Image:
    """Return the pattern."""
    return np.random.default_rng(0).integers(60, 255, (10, 10, 3), dtype=np.uint8)
