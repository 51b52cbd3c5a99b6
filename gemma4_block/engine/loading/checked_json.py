"""Hold the JSON files of a checkpoint to rules before a library reads them."""

from collections.abc import Mapping
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from gemma4_block.errors import CheckpointError

Rules = TypeVar("Rules", bound=BaseModel)

# A damaged value may be as long as its file.
_SHOWN_CHARACTERS = 80
_SHOWN_PROBLEMS = 3


def check_json(path: Path, rules: type[Rules]) -> Rules:
    """Return the values of a JSON file that rules name.

    Args:
        path: The file.
        rules: What its values must be.

    Returns:
        The values.

    Raises:
        CheckpointError: The file is missing, no JSON, or a value breaks its rule; the message names the key.

    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error.strerror}. Fetch the file again.") from error
    try:
        return rules.model_validate_json(content)
    except ValidationError as error:
        problems = [_describe(detail) for detail in error.errors(include_url=False, include_context=False)]
        more = f"; and {len(problems) - _SHOWN_PROBLEMS} more" if len(problems) > _SHOWN_PROBLEMS else ""
        raise CheckpointError(
            f"{path} cannot be used: {'; '.join(problems[:_SHOWN_PROBLEMS])}{more}. Use the file that came "
            "with the weights."
        ) from error


def check_present(directory: Path, rules: Mapping[str, type[BaseModel]]) -> None:
    """Hold those files of a directory to their rules that are there.

    Args:
        directory: Of a checkpoint.
        rules: For the names of files.

    Raises:
        CheckpointError: One of them is no JSON, or a value breaks its rule.

    """
    for name, of_file in rules.items():
        path = directory / name
        if path.exists() or path.is_symlink():
            check_json(path, of_file)


def _describe(detail: Mapping[str, object]) -> str:
    place = detail["loc"]
    keys = ".".join(map(str, place)) if isinstance(place, tuple) else ""
    message = str(detail["msg"]).removeprefix("Value error, ")
    if not keys:
        return message[:1].lower() + message[1:]
    if detail["type"] == "missing":
        return f"{keys} is missing"
    if detail["type"] == "value_error":
        # A rule about several values says itself which.
        return f"{keys}: {message}"
    shown = repr(detail["input"])
    shown = shown if len(shown) <= _SHOWN_CHARACTERS else f"{shown[:_SHOWN_CHARACTERS]}…"
    return f"{keys} is {shown}: {message[:1].lower()}{message[1:]}"
