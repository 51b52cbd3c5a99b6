"""Copies of the embedded checkpoint that claim other things than it does, for tests of what is claimed."""

import json
import shutil
from collections.abc import Sequence
from pathlib import Path

import gemma4_block.demo

DEMO_CHECKPOINT = Path(gemma4_block.demo.__file__).parent / "checkpoint"


def copy_demo(directory: Path, image_seq_lengths: Sequence[int] | None = None) -> Path:
    """Copy the embedded checkpoint.

    Args:
        directory: Where to; must not exist.
        image_seq_lengths: The visual token budgets that the copy says it was trained for; None for all five,
            as Google's checkpoints, which say nothing.

    Returns:
        The directory.

    """
    shutil.copytree(DEMO_CHECKPOINT, directory)
    config = directory / "config.json"
    said = None if image_seq_lengths is None else list(image_seq_lengths)
    config.write_text(json.dumps(json.loads(config.read_text()) | {"trained_image_seq_lengths": said}))
    return directory
