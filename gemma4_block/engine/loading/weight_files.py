"""Read the heads of a checkpoint's weight files: which tensors, how large, in which precision."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final

import torch
from pydantic import BaseModel, ConfigDict, Field
from safetensors import safe_open

from gemma4_block.engine.loading.checked_json import check_json
from gemma4_block.engine.loading.naming import naming
from gemma4_block.errors import CheckpointError

_INDEX: Final = "model.safetensors.index.json"
# Source: the names of safetensors, safetensors/_safe_open_handle.
_FLOATING: Final = {"BF16", "F16", "F32", "F64"}


class _IndexRules(BaseModel):
    """Of the file that says which shard holds which tensor."""

    model_config = ConfigDict(strict=True, extra="ignore", frozen=True)

    metadata: dict[str, object]
    # A name that leads out of the directory is none.
    weight_map: Annotated[dict[str, Annotated[str, Field(pattern=r"^[^/\\]+$")]], Field(min_length=1)]


@dataclass(frozen=True, kw_only=True, slots=True)
class TensorHead:
    """What a weight file says of a tensor.

    Attributes:
        file: Holds it.
        shape: Its axes.
        dtype: As safetensors names it, such as `BF16`.

    """

    file: Path
    shape: tuple[int, ...]
    dtype: str

    @property
    def numel(self) -> int:
        """How many values it has."""
        return torch.Size(self.shape).numel()

    @property
    def is_floating(self) -> bool:
        """Whether its values were not rounded to integers."""
        return self.dtype in _FLOATING


def list_weight_files(directory: Path) -> tuple[Path, ...]:
    """Return the files that hold a directory's weights, those of pickle where there are no others.

    Args:
        directory: Of weights.

    Returns:
        At least one.

    Raises:
        CheckpointError: There is none, the index is damaged, or a file that it names is missing.

    """
    index = directory / _INDEX
    if index.is_file():
        names = sorted(set(check_json(index, _IndexRules).weight_map.values()))
        missing = [name for name in names if not (directory / name).is_file()]
        if missing:
            raise CheckpointError(
                f"{index} names {', '.join(missing[:3])}, which is not there. Finish the download."
            )
        return tuple(directory / name for name in names)
    for pattern in ("model.safetensors", "*.safetensors", "*.bin"):
        found = tuple(sorted(path for path in directory.glob(pattern) if path.is_file()))
        if found:
            return found
    raise CheckpointError(
        f"{directory} holds a config.json but no weights (model.safetensors is missing). "
        "Finish the download or the copy."
    )


def read_heads(directory: Path) -> dict[str, TensorHead]:
    """Return the tensors of all safetensors files of a directory by name; none of files of pickle.

    Args:
        directory: Of weights.

    Returns:
        What their files say of them.

    Raises:
        CheckpointError: A file is missing or damaged.

    """
    heads = {}
    for path in list_weight_files(directory):
        if path.suffix != ".safetensors":
            continue
        with naming(path), safe_open(path, framework="pt") as file:
            for name in file.keys():  # noqa: SIM118 - no dictionary
                tensor = file.get_slice(name)
                heads[name] = TensorHead(
                    file=path, shape=tuple(tensor.get_shape()), dtype=str(tensor.get_dtype())
                )
    return heads


def refuse_integers(heads: Mapping[str, TensorHead]) -> None:
    """Refuse weights that are rounded to integers, which would be converted without a word.

    Args:
        heads: Of weights that no quantization explains.

    Raises:
        CheckpointError: One of them is no floating-point tensor.

    """
    for name, head in heads.items():
        if not head.is_floating:
            raise CheckpointError(
                f"{head.file} holds {name!r} as {head.dtype}, and config.json names no quantization. Weights "
                f"are one of {', '.join(sorted(_FLOATING))}; fetch the file again."
            )
