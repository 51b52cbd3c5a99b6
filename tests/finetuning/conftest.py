"""A small dataset of drawn scenes whose answers are codes that the demo does not know."""

import json
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

import gemma4_block.demo
from gemma4_block.demo.scenes import draw_crop
from gemma4_block.engine.loading import Checkpoint, LoadOptions, load_checkpoint
from gemma4_block.finetuning import Dataset, read_dataset

DEMO_CHECKPOINT = Path(gemma4_block.demo.__file__).parent / "checkpoint"


def write_dataset(folder: Path, *, train: int = 6, valid: int = 2) -> Path:
    """Write pictures of one shape each, and codes such as `RC` for a red circle."""
    rng = np.random.default_rng(0)
    for split, count in (("train", train), ("valid", valid)):
        (folder / split).mkdir(parents=True)
        lines = []
        for index in range(count):
            scene = draw_crop(rng)
            cv2.imwrite(str(folder / split / f"{index}.png"), scene.image[..., ::-1])
            (shape,) = scene.shapes
            code = f"{shape.color[0]}{shape.kind[0]}".upper()
            lines.append({"image": f"{index}.png", "prefix": "Code?", "suffix": code})
        text = "\n".join(map(json.dumps, lines))
        (folder / split / "annotations.jsonl").write_text(text, encoding="utf-8")
    return folder


@pytest.fixture(scope="session")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """Six pictures to learn from and two to judge by."""
    return read_dataset(write_dataset(tmp_path_factory.mktemp("dataset")))


@pytest.fixture
def load() -> Callable[[], Checkpoint]:
    """Load the embedded model, which a training changes, in float32."""
    options = LoadOptions(device=torch.device("cpu"), dtype="float32")
    return lambda: load_checkpoint(DEMO_CHECKPOINT, options)
