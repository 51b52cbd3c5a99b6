"""Read a folder of pictures with questions and answers, as Roboflow exports multimodal datasets."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pydantic import BaseModel, ConfigDict, ValidationError

from gemma4_block.errors import ConfigurationError

ANNOTATIONS: Final = "annotations.jsonl"
"""Source: https://maestro.roboflow.com/develop/datasets/jsonl, as the folders `train` and `valid`."""

_LAYOUT: Final = (
    f"A dataset has the folders train and valid, each with its pictures and {ANNOTATIONS}, of which every "
    'line is an object such as {"image": "a.jpg", "prefix": "How many cars?", "suffix": "3"}.'
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Example:
    """A picture, what is asked about it, and what the model is to answer.

    Attributes:
        image: The picture's file.
        prefix: The question; empty for a task that brings its own.
        suffix: The answer.
        place: Where it is written, for messages.

    """

    image: Path
    prefix: str
    suffix: str
    place: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Dataset:
    """What to learn from, and what to judge by.

    Attributes:
        train: At least one.
        valid: At least one.

    """

    train: tuple[Example, ...]
    valid: tuple[Example, ...]


class _Line(BaseModel):
    # Exports may say more of a picture than we read.
    model_config = ConfigDict(extra="ignore", strict=True)

    image: str
    prefix: str
    suffix: str


def read_dataset(folder: Path) -> Dataset:
    """Read all lines of both folders; no picture is opened yet.

    Args:
        folder: Holds `train` and `valid`.

    Returns:
        The examples, in the order of their lines.

    Raises:
        ConfigurationError: A folder or file is missing, or a line is not as it must be; the message names it.

    """
    return Dataset(train=tuple(_read_split(folder / "train")), valid=tuple(_read_split(folder / "valid")))


def _read_split(folder: Path) -> list[Example]:
    path = folder / ANNOTATIONS
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{path} cannot be read: {error}. {_LAYOUT}") from error
    examples = list(_read_lines(path, lines))
    if not examples:
        raise ConfigurationError(f"{path} has no lines. {_LAYOUT}")
    return examples


def _read_lines(path: Path, lines: list[str]) -> Iterator[Example]:
    for number, text in enumerate(lines, start=1):
        if not text.strip():
            continue
        place = f"{path}, line {number}"
        try:
            line = _Line.model_validate_json(text)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"]))
            problem = f"{where}: {first['msg']}" if where else first["msg"]
            raise ConfigurationError(f"{place}: {problem}. {_LAYOUT}") from error
        image = path.parent / line.image
        if not image.is_file():
            raise ConfigurationError(f"{place}: there is no file {image}. Put the picture there.")
        yield Example(image=image, prefix=line.prefix, suffix=line.suffix, place=place)
