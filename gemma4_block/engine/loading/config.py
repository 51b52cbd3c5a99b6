"""Read the config of a directory of weights: its model, its precision, the budgets it was trained for."""

from pathlib import Path
from typing import TYPE_CHECKING

import torch
from pydantic import BaseModel, ConfigDict
from transformers import AutoConfig

from gemma4_block.contract import IMAGE_SEQ_LENGTHS, ImageSeqLength
from gemma4_block.engine.gemma4 import CONFIG_RULES, find_unsupported, shape_of
from gemma4_block.engine.loading.checked_json import check_json
from gemma4_block.engine.loading.naming import naming
from gemma4_block.engine.shape import ModelShape
from gemma4_block.errors import CheckpointError

if TYPE_CHECKING:
    from transformers import PreTrainedConfig


class _ModelType(BaseModel):
    model_config = ConfigDict(strict=True, extra="ignore", frozen=True, protected_namespaces=())

    model_type: str


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
    path = directory / "config.json"
    if not path.is_file():
        raise CheckpointError(
            f"{directory} holds no config.json, and no adapter_config.json beside a base/, so it is no "
            "Hugging Face checkpoint."
        )
    model_type = check_json(path, _ModelType).model_type
    if model_type not in CONFIG_RULES:
        raise CheckpointError(
            f"{path} is of a {model_type!r} checkpoint (model_type); this engine runs "
            f"{' and '.join(CONFIG_RULES)}."
        )
    check_json(path, CONFIG_RULES[model_type])
    with naming(path):
        config: PreTrainedConfig = AutoConfig.from_pretrained(
            directory, trust_remote_code=trust_remote_code, local_files_only=True
        )
    unsupported = find_unsupported(config)
    if unsupported is not None:
        raise CheckpointError(f"{path} says {unsupported}")
    return config


def dtype_of(config: "PreTrainedConfig") -> torch.dtype | None:
    """Return the precision that a config says its weights have, or None where it says nothing."""
    dtype = config.dtype
    return getattr(torch, dtype) if isinstance(dtype, str) else dtype


def has_experts(config: "PreTrainedConfig") -> bool:
    """Say whether a model is a mixture of experts."""
    return bool(getattr(config.get_text_config(), "enable_moe_block", False))


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


def read_shape(directory: Path, config: "PreTrainedConfig") -> ModelShape:
    """Return the sizes of a model, which its memory is estimated by.

    Args:
        directory: Holds the config.json that `config` was read from.
        config: Of the model.

    Returns:
        Its sizes.

    Raises:
        CheckpointError: Its config.json cannot be read any more, or names only unknown budgets.

    """
    rules = check_json(directory / "config.json", CONFIG_RULES[config.model_type])
    return shape_of(rules, trained_image_seq_lengths(config))
