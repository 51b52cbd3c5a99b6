"""Read the config of a directory of weights: its model, its precision, the budgets it was trained for."""

from pathlib import Path
from typing import TYPE_CHECKING

import torch
from transformers import AutoConfig

from gemma4_block.contract import IMAGE_SEQ_LENGTHS, ImageSeqLength
from gemma4_block.engine.gemma4 import MODEL_TYPES, find_unsupported
from gemma4_block.errors import CheckpointError

if TYPE_CHECKING:
    from transformers import PreTrainedConfig


def weights_directory(directory: Path) -> Path:
    """Return where the weights are: `base/` beside an adapter, else the directory itself."""
    return directory / "base" if (directory / "adapter_config.json").is_file() else directory


def load_config(directory: Path, *, trust_remote_code: bool) -> "PreTrainedConfig":
    """Read the config of a directory of weights.

    Args:
        directory: Holds config.json.
        trust_remote_code: Run code that the checkpoint brings.

    Returns:
        The config of a Gemma 4 model.

    Raises:
        CheckpointError: It is missing, damaged or of another model.

    """
    if not (directory / "config.json").is_file():
        raise CheckpointError(f"{directory} holds no config.json, so it is no Hugging Face checkpoint.")
    try:
        config: PreTrainedConfig = AutoConfig.from_pretrained(
            directory, trust_remote_code=trust_remote_code, local_files_only=True
        )
    except (OSError, ValueError, TypeError, AttributeError) as error:
        # Valid JSON that is no object makes transformers raise the last two.
        raise CheckpointError(
            f"{directory / 'config.json'} cannot be read: {error}. Fetch the file again."
        ) from error
    if config.model_type not in MODEL_TYPES:
        raise CheckpointError(
            f"{directory} is a {config.model_type!r} checkpoint; "
            f"this engine runs {' and '.join(MODEL_TYPES)}."
        )
    unsupported = find_unsupported(config)
    if unsupported is not None:
        raise CheckpointError(f"{directory / 'config.json'} says {unsupported}")
    return config


def dtype_of(config: "PreTrainedConfig") -> torch.dtype | None:
    """Return the precision that a config says its weights have, or None where it says nothing."""
    dtype = config.dtype
    return getattr(torch, dtype) if isinstance(dtype, str) else dtype


def trained_image_seq_lengths(config: "PreTrainedConfig") -> tuple[ImageSeqLength, ...]:
    """Return the visual token budgets that a checkpoint was trained for; all five where it says nothing.

    Args:
        config: Of a small or fine-tuned checkpoint, or of a released one.

    Returns:
        At least one, smallest first.

    Raises:
        CheckpointError: It names none that Gemma 4 has.

    """
    trained = getattr(config, "trained_image_seq_lengths", None)
    if trained is None:
        return IMAGE_SEQ_LENGTHS
    known = tuple(length for length in IMAGE_SEQ_LENGTHS if isinstance(trained, list) and length in trained)
    if not known:
        raise CheckpointError(
            f"config.json says trained_image_seq_lengths {trained!r}; it must be a list of some of "
            f"{', '.join(map(str, IMAGE_SEQ_LENGTHS))}."
        )
    return known
