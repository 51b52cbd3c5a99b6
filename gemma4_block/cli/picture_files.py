"""Find the pictures that are meant by the arguments of a command, and tell the question from them."""

import glob
import mimetypes
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from gemma4_block.errors import ConfigurationError
from gemma4_block.pictures import picture_suffixes

_ADDRESS: Final = re.compile(r"[a-z][a-z0-9+.-]*://|data:image", re.IGNORECASE)


@dataclass(frozen=True, kw_only=True, slots=True)
class Arguments:
    """What the arguments of `ask` are.

    Attributes:
        pictures: Names of files and folders, patterns and addresses; at least one.
        question: The last argument, where that is no picture; None where it is.

    """

    pictures: tuple[str, ...]
    question: str | None


def split_arguments(arguments: Sequence[str]) -> Arguments:
    """Tell the question from the pictures before it.

    Args:
        arguments: At least one.

    Returns:
        The same.

    Raises:
        ConfigurationError: There is no picture, or something else is among them.

    """
    *first, last = arguments
    for name in first:
        if not looks_like_picture(name):
            raise ConfigurationError(
                f"{name!r} is no picture. Name pictures first, and put the question behind them into "
                "quotation marks."
            )
    if looks_like_picture(last):
        return Arguments(pictures=tuple(arguments), question=None)
    if not first:
        raise ConfigurationError(
            f"{last!r} is no picture. Name an image file, a folder of them or a pattern such as "
            "'photos/*.jpg' before the question."
        )
    return Arguments(pictures=tuple(first), question=last)


def looks_like_picture(argument: str) -> bool:
    """Say whether an argument is meant for a picture and not for a question.

    It is where a file or folder has that name, where files match it as a pattern, where it is an address, and
    where it is one word that has a `*`, folders, or the ending of a picture's name, be it of one that is not
    read here.

    >>> looks_like_picture("missing.png"), looks_like_picture("What is in missing.png")
    (True, False)
    """
    # Unlike Path.exists it says no to a question that is too long for a name.
    if _ADDRESS.match(argument) or os.path.exists(argument) or _find_matches(argument):  # noqa: PTH110
        return True
    if re.search(r"\s", argument):
        return False
    kind, _ = mimetypes.guess_type(argument)
    is_image = _is_picture_name(argument) or (kind is not None and kind.startswith("image/"))
    return is_image or "*" in argument or ("/" in argument and not argument.endswith("?"))


def find_pictures(names: Sequence[str]) -> tuple[Path, ...]:
    """Return the files that are meant, each once, in the order of the arguments.

    Args:
        names: Of files; of folders, of which all pictures right in them are taken, by name; or patterns, of
            which all pictures are taken, by name.

    Returns:
        At least one for each of them. Whether they can be read shows when they are.

    Raises:
        ConfigurationError: One of them is nothing of that, or no picture is there.

    """
    return tuple(dict.fromkeys(path for name in names for path in _find(name)))


def _find(name: str) -> Iterator[Path]:
    path = Path(name)
    if _ADDRESS.match(name):
        raise ConfigurationError(
            f"{name[:80]!r} is an address; pictures are not fetched. Save the file and give its path."
        )
    if path.is_file():
        yield path
        return
    is_folder = path.is_dir()
    candidates = sorted(path.iterdir() if is_folder else map(Path, _find_matches(name)))
    pictures = [one for one in candidates if one.is_file() and _is_picture_name(one.name)]
    if not pictures:
        endings = ", ".join(sorted(picture_suffixes()))
        if is_folder:
            raise ConfigurationError(
                f"The folder {name} has no pictures right in it. Name one with files that end in {endings}."
            )
        if glob.has_magic(name):
            raise ConfigurationError(
                f"No picture matches {name}. Name files that are there and end in {endings}."
            )
        raise ConfigurationError(f"There is no image file {name}. Name one that is there.")
    yield from pictures


def _find_matches(pattern: str) -> list[str]:
    # Path.glob takes no pattern that begins at the root.
    return glob.glob(pattern, recursive=True) if glob.has_magic(pattern) else []  # noqa: PTH207


def _is_picture_name(name: str) -> bool:
    return Path(name).suffix.lower() in picture_suffixes() and not Path(name).name.startswith(".")
