"""Engines that the tests of this room share."""

from pathlib import Path

import numpy as np
import pytest
import torch

import gemma4_block.demo
from gemma4_block.demo.scenes import RgbImage, draw_scene
from gemma4_block.engine.compat.gemma4_hf import Gemma4HF

DEMO_CHECKPOINT = Path(gemma4_block.demo.__file__).parent / "checkpoint"


@pytest.fixture(scope="session")
def engine() -> Gemma4HF:
    """The embedded checkpoint in float32, where batched and single answers are equal."""
    return Gemma4HF.from_pretrained(DEMO_CHECKPOINT, device="cpu", dtype=torch.float32)


@pytest.fixture(scope="session")
def picture() -> RgbImage:
    """A scene with three shapes."""
    return draw_scene(np.random.default_rng(4), shape_count=3).image
