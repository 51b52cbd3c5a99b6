"""Look a model up in the caches of other programs: of inference_models, and of the Hugging Face Hub."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pydantic import BaseModel, ValidationError

from gemma4_block.catalogue import MODEL_TYPES, Variant

# Of a repository that is not there and of one of another model, so that nobody can find out which there are.
_NO_SUCH_MODEL: Final = "no Gemma 4 model of that name"


@dataclass(frozen=True, kw_only=True, slots=True)
class Place:
    """Somewhere a model was looked for.

    Attributes:
        name: The place, for people.
        directory: The model's directory there, links followed; None where there is none.
        problem: Why it could not even be looked at; empty where it could.
        nothing: What is said where there is none.

    """

    name: str
    directory: Path | None = None
    problem: str = ""
    nothing: str = "not there"


class _Config(BaseModel):
    model_type: str


def look_in_caches(name: str, variant: Variant | None) -> Iterator[Place]:
    """Look in one cache after the other: that of inference_models, then those of the Hugging Face Hub.

    Args:
        name: An id, a project/version or a hub's `org/name`.
        variant: The one that it names; None for another model.

    Yields:
        Each place, with what is there, whole or not. Of other names only models of Gemma 4 count.

    """
    yield _look_in_package_cache(name if variant is None else variant.model_id)
    hub_id = name if variant is None else variant.hub_id
    if hub_id is None:
        return
    for folder in list_hub_caches():
        place = look_in_hub_cache(hub_id, folder)
        if variant is None and not place.problem and not _is_gemma4(place.directory):
            place = Place(name=place.name, nothing=_NO_SUCH_MODEL)
        yield place


def find_hub_snapshot(hub_id: str) -> Path | None:
    """Return the directory of a hub id in the first Hugging Face cache that has it, or None."""
    places = (look_in_hub_cache(hub_id, folder) for folder in list_hub_caches())
    return next((place.directory for place in places if place.directory is not None), None)


def list_hub_caches() -> list[Path]:
    """Return the cache that this process is set to, then the one that `hf download` fills in a bare shell.

    Importing inference_models points HF_HUB_CACHE below its own folder wherever it is unset.
    """
    home = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "huggingface"
    folders = [Path(os.environ.get("HF_HOME", home)) / "hub", home / "hub"]
    if "HF_HUB_CACHE" in os.environ:
        folders.insert(0, Path(os.environ["HF_HUB_CACHE"]))
    return list(dict.fromkeys(folder.expanduser() for folder in folders))


def look_in_hub_cache(hub_id: str, folder: Path) -> Place:
    """Look for the newest snapshot of a repository that was fetched; nothing is downloaded.

    Args:
        hub_id: `org/name`.
        folder: The cache.

    Returns:
        What is there, whole or not.

    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

    place = f"Hugging Face cache {folder}"
    try:
        found = snapshot_download(hub_id, cache_dir=folder, local_files_only=True)
    except (LocalEntryNotFoundError, HFValidationError):
        return Place(name=place)
    except OSError as error:
        return Place(name=place, problem=f"cannot be read: {error}")
    return Place(name=place, directory=existing_directory(Path(found)))


def existing_directory(path: Path) -> Path | None:
    """Return the path with its links followed, or None where that is no directory one may look into."""
    try:
        real = path.resolve(strict=True)
        return real if real.is_dir() else None
    except (OSError, RuntimeError):  # RuntimeError: links in a circle, before Python 3.13.
        return None


def _look_in_package_cache(name: str) -> Place:
    # Source: INFERENCE_HOME in inference_models/configuration.py, version 0.39.5.
    home = os.environ.get("INFERENCE_HOME") or os.environ.get("MODEL_CACHE_DIR") or "/tmp/cache"  # noqa: S108
    place = f"inference_models package cache {home}"
    # Importing the library, and torch with it, takes seconds.
    if not Path(home, "models-cache").is_dir():
        return Place(name=place)
    from inference_models import find_cached_model_package_dir
    from inference_models.errors import BaseInferenceModelsError

    try:
        found = find_cached_model_package_dir(model_id=name)
    except (BaseInferenceModelsError, OSError, ValueError) as error:
        return Place(name=place, problem=f"cannot be read: {error}")
    return Place(name=place, directory=None if found is None else existing_directory(Path(found)))


def _is_gemma4(directory: Path | None) -> bool:
    if directory is None:
        return False
    # An adapter's base is looked at when it is loaded.
    if (directory / "adapter_config.json").is_file():
        return True
    try:
        return _Config.model_validate_json((directory / "config.json").read_bytes()).model_type in MODEL_TYPES
    except (OSError, ValidationError):
        return False
