"""Count the weights of a checkpoint by what becomes of them in memory."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import torch

from gemma4_block.contract import Quantization
from gemma4_block.engine.loading.weight_files import TensorHead, read_heads
from gemma4_block.engine.shape import ModelShape
from gemma4_block.errors import CheckpointError

# Half a byte for a weight, and four for what 64 of them are scaled by.
_NF4_BYTES: Final = 0.5 + 4 / 64
# How safetensors names the precisions that stay as they are on their way into memory.
_STORED: Final = {"BF16": torch.bfloat16, "F32": torch.float32}
_TOWER: Final = "vision_tower.encoder."
_ROWS: Final = "embed_tokens_per_layer"
_TABLE: Final = "embed_tokens.weight"
_AUDIO: Final = ("model.audio_tower.", "model.embed_audio.")
# Google's files have these also in layers that use the keys and values of others; they are not loaded.
_REDUNDANT: Final = re.compile(r"language_model\.layers\.(\d+)\.self_attn\.(k_proj|v_proj|k_norm)\.")


@dataclass(frozen=True, kw_only=True, slots=True)
class WeightCounts:
    """How many values a checkpoint has.

    Attributes:
        total: All that are loaded.
        linear: Those of them in linear layers of the language model, which 4 and 8 bits are for.
        tower: Those in linear layers of the vision tower.
        table: Those in the table of tokens, which is the output layer as well.
        by_row: Those in the table of which each token reads one row for all layers.
        unused: Those that hear, which nothing here asks.
        stored: The precision of the files; None where they have several, or one that is converted.
        file_bytes: All that the files hold.

    """

    total: int
    linear: int
    tower: int
    table: int
    by_row: int
    unused: int
    stored: torch.dtype | None
    file_bytes: int

    def measure(self, dtype: torch.dtype, quantization: Quantization) -> int:
        """Return how many bytes all weights take.

        Args:
            dtype: Of those that stay whole.
            quantization: Any but `auto`.

        Returns:
            Bytes in memory, once they are loaded.

        """
        packed = self.count_packed(quantization)
        each = _NF4_BYTES if quantization == "nf4" else torch.int8.itemsize
        whole = (self.total - packed) * dtype.itemsize
        return round(packed * each) + whole + self.count_doubled(quantization) * torch.int8.itemsize

    def count_packed(self, quantization: Quantization) -> int:
        """Return how many weights are in fewer bits than the others."""
        match quantization:
            case "nf4" | "int8":
                return self.linear
            case "int8_tower":
                return self.linear + self.tower
            case _:
                return 0

    def count_doubled(self, quantization: Quantization) -> int:
        """Return how many weights are there in 8 bits as well: of the table, whose rows are read whole."""
        return self.table if quantization in ("int8", "int8_tower") else 0

    def stay_in_files(self, dtype: torch.dtype, quantization: Quantization) -> bool:
        """Say whether what stays whole stays in the pages of its file on a CPU, and is read when used."""
        return quantization != "nf4" and dtype == self.stored


def count_weights(directory: Path, shape: ModelShape) -> WeightCounts | None:
    """Count the weights of a directory, by the heads of its files.

    Args:
        directory: Of weights.
        shape: Of the model.

    Returns:
        The counts; None where there are no safetensors files, damaged ones, or weights that were packed
        when they were saved: what they become is not said.

    """
    try:
        heads = read_heads(directory)
    except CheckpointError:
        return None
    if not heads or any(not head.is_floating for head in heads.values()):
        return None
    loaded = {name: head for name, head in heads.items() if not _is_redundant(name, shape)}
    dtypes = {head.dtype for head in loaded.values()}
    return WeightCounts(
        total=_sum(loaded.values()),
        linear=_sum(head for name, head in loaded.items() if _is_linear(name, head)),
        tower=_sum(head for name, head in loaded.items() if _TOWER in name and len(head.shape) == 2),  # noqa: PLR2004
        table=_sum(head for name, head in loaded.items() if name.endswith(_TABLE)),
        by_row=_sum(head for name, head in loaded.items() if _ROWS in name),
        unused=_sum(head for name, head in loaded.items() if name.startswith(_AUDIO)),
        stored=_STORED.get(dtypes.pop()) if len(dtypes) == 1 else None,
        file_bytes=sum(path.stat().st_size for path in {head.file for head in heads.values()}),
    )


def _sum(heads: Iterable[TensorHead]) -> int:
    return sum(head.numel for head in heads)


def _is_redundant(name: str, shape: ModelShape) -> bool:
    found = _REDUNDANT.search(name)
    return found is not None and int(found[1]) >= shape.first_layer_without_cache


def _is_linear(name: str, head: TensorHead) -> bool:
    """Say whether a weight is of a linear layer of the language model, as far as its name tells."""
    is_matrix = len(head.shape) == 2  # noqa: PLR2004 - rows and columns
    return is_matrix and "language_model" in name and "embed_tokens" not in name
