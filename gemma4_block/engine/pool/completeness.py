"""Say what keeps a directory from being a whole model: files that are missing or were cut off."""

import json
from functools import lru_cache
from pathlib import Path
from typing import Final

from pydantic import BaseModel, RootModel, ValidationError

from gemma4_block.engine.pool.base_names import find_missing_base
from gemma4_block.errors import CheckpointError

INDEX: Final = "model.safetensors.index.json"

# What git leaves in the place of a large file where Git LFS is not installed.
_LFS_POINTER: Final = b"version https://git-lfs"
# Of the header's length, with which a safetensors file begins.
_LENGTH_BYTES: Final = 8
# Source: MAX_HEADER_SIZE in safetensors/src/tensor.rs.
_MAX_HEADER_BYTES: Final = 100_000_000
_SHOWN_FILES: Final = 3


class _Tensor(BaseModel):
    data_offsets: tuple[int, int]


class _Header(RootModel[dict[str, _Tensor | dict[str, str]]]):
    """Of a safetensors file: its tensors, and what is said of the file."""


def find_problem(directory: Path) -> str:
    """Say what keeps a model from being loaded; empty where its files are there, and whole.

    Args:
        directory: Weights, or an adapter, whose base is looked at where it is beside it.

    Returns:
        Words that come after the directory's name.

    Raises:
        CheckpointError: An index of shards cannot be read.

    """
    if not (directory / "adapter_config.json").is_file():
        return _find_problem_of_weights(directory)
    adapter = directory / "adapter_model.safetensors"
    if not adapter.is_file() and not adapter.with_suffix(".bin").is_file():
        return "lacks adapter_model.safetensors, which belongs to its adapter_config.json"
    cut_off = _describe_cut_off([adapter])
    if cut_off:
        return cut_off
    if not (directory / "base").is_dir():
        missing = find_missing_base(directory)
        return f"lacks {missing}" if missing else ""
    problem = _find_problem_of_weights(directory / "base")
    return f"{problem} in base/" if problem else ""


def _find_problem_of_weights(directory: Path) -> str:
    if not (directory / "config.json").is_file():
        return "lacks config.json"
    index = directory / INDEX
    if index.is_file():
        shards = [directory / name for name in _shard_names(index)]
        missing = [path.name for path in shards if not path.is_file()]
        return f"lacks {', '.join(missing)}" if missing else _describe_cut_off(shards)
    # A link whose target is gone counts as missing, so names alone do not do.
    found = [*directory.glob("*.safetensors"), *directory.glob("*.bin")]
    weights = [path for path in found if path.is_file() and not path.name.startswith("adapter_")]
    return _describe_cut_off(weights) if weights else "lacks model.safetensors"


def _shard_names(index: Path) -> list[str]:
    try:
        return sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(f"{index} cannot be read: {error!r}. Fetch the file again.") from error


def _describe_cut_off(paths: list[Path]) -> str:
    """Name the files of safetensors that are shorter than they say; empty where none is."""
    problems = []
    for path in paths:
        if path.suffix == ".safetensors" and path.is_file():
            status = path.stat()
            problem = _compare_length(path, status.st_size, status.st_mtime_ns)
            if problem:
                problems.append(f"{path.name} {problem}")
    return f"holds files that were cut off: {', '.join(problems[:_SHOWN_FILES])}" if problems else ""


# Every request asks for its model anew, and the header of a large one has hundreds of kilobytes.
@lru_cache(maxsize=256)
def _compare_length(path: Path, length: int, _changed_ns: int) -> str:
    """Say that a file is shorter than its header says; empty where it is not, or the header is damaged."""
    try:
        with path.open("rb") as file:
            start = file.read(_LENGTH_BYTES)
            if start == _LFS_POINTER[:_LENGTH_BYTES]:
                return "(only a pointer: run git lfs pull)"
            if len(start) < _LENGTH_BYTES:
                return f"({length} of {_LENGTH_BYTES} bytes)"
            header_bytes = int.from_bytes(start, "little")
            if header_bytes > _MAX_HEADER_BYTES:
                return ""
            needed = _LENGTH_BYTES + header_bytes
            if needed <= length:
                header = _Header.model_validate_json(file.read(header_bytes)).root
                ends = [tensor.data_offsets[1] for tensor in header.values() if isinstance(tensor, _Tensor)]
                needed += max(ends, default=0)
    except (OSError, ValidationError):
        # Loading says more of it.
        return ""
    return f"({length} of {needed} bytes)" if length < needed else ""
