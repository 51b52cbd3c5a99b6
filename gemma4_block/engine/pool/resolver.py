"""Find the directory of a model by its name, on this machine only; the name is not trusted."""

import json
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from gemma4_block.catalogue import MODEL_IDS, VARIANTS, Variant, find_variant
from gemma4_block.engine.pool.base_names import find_missing_base
from gemma4_block.errors import CheckpointError, ConfigurationError, ModelNotFoundError
from gemma4_block.settings import Settings

# Longer than any id, and than any path that a person keeps models under.
MAX_NAME_CHARACTERS = 1024
# Source: NAME_MAX in linux/limits.h of Linux and sys/syslimits.h of macOS.
MAX_PART_BYTES = 255

# A trained model's id on the Roboflow platform: a project's slug and a version.
_PROJECT_VERSION = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*/[A-Za-z0-9][A-Za-z0-9._-]*")
# A name may be a whole document, so an error repeats only its beginning.
_SHOWN_CHARACTERS = 80


@dataclass(frozen=True, kw_only=True, slots=True)
class Found:
    """A complete model on this machine.

    Attributes:
        place: Where that is, for people.
        directory: Absolute, links followed.

    """

    place: str
    directory: Path


def resolve(model_version: str, settings: Settings) -> Path:
    """Return the directory of a model; see `locate`."""
    return locate(model_version, settings).directory


def locate(model_version: str, settings: Settings) -> Found:
    """Find a model: weights, or an adapter beside its `base/`.

    Nothing is downloaded. An id is looked for under the operator's roots, then in the package cache of
    inference_models, then in the Hugging Face caches.

    Args:
        model_version: A variant id, `gemma-4-demo`, a fine-tuned `project/version`, or a directory under
            one of the operator's roots, absolute or as seen from the root.
        settings: The operator's settings; `model_roots` are the roots.

    Returns:
        The first complete one.

    Raises:
        ConfigurationError: It is no known id and no name of a directory that may be used.
        ModelNotFoundError: The model is not on this machine.
        CheckpointError: Files are missing, or a place cannot be read.

    """
    _check_name(model_version)
    variant = find_variant(model_version)
    if variant is not None and variant.directory is not None:
        directory = _complete(variant.directory, fix="Install gemma4-block again")
        return Found(place="comes with the package", directory=directory)
    found = _find_under_roots(model_version, settings.model_roots)
    if found is not None:
        return found
    if Path(model_version).is_absolute():
        raise CheckpointError(
            f"There is no directory {model_version}. Put the model there, or name one of "
            f"{', '.join(MODEL_IDS)}."
        )
    if variant is None and not _PROJECT_VERSION.fullmatch(model_version):
        raise ConfigurationError(
            f"model_version is {_shown(model_version)}, which is no known model. "
            f"{_allowed(settings.model_roots)}"
        )
    return _find_in_caches(model_version, variant, settings.model_roots)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Place:
    """Somewhere a model was looked for.

    Attributes:
        name: The place, for people.
        directory: The model's directory there; None where there is none.
        problem: Why it could not even be looked at; empty where it could.

    """

    name: str
    directory: Path | None = None
    problem: str = ""


def find_hub_snapshot(hub_id: str) -> Path | None:
    """Return the directory of a hub id in the first Hugging Face cache that has it, or None."""
    places = (_look_in_hub_cache(hub_id, folder) for folder in _hub_caches())
    return next((place.directory for place in places if place.directory is not None), None)


def _check_name(name: str) -> None:
    if not name.strip():
        raise ConfigurationError(f"model_version is empty. Name one of {', '.join(MODEL_IDS)}.")
    # A long name, a NUL or half a surrogate pair would make the file system calls below raise.
    parts = Path(name).parts if len(name) <= MAX_NAME_CHARACTERS and name.isprintable() else None
    if parts is None or any(len(part.encode()) > MAX_PART_BYTES for part in parts):
        raise ConfigurationError(
            f"model_version is {_shown(name)}, {len(name)} characters, too long or not plain text. "
            f"Name one of {', '.join(MODEL_IDS)}."
        )
    if ".." in parts:
        raise ConfigurationError(
            f"model_version is {_shown(name)}; a path must not climb with '..'. Name the directory itself."
        )
    if "://" in name:
        raise ConfigurationError(
            f"model_version is {_shown(name)}; models are not fetched from addresses. Name one of "
            f"{', '.join(MODEL_IDS)}, or a directory under one of GEMMA4_BLOCK_MODEL_ROOTS."
        )


def _find_under_roots(name: str, roots: tuple[Path, ...]) -> Found | None:
    """Return the complete model directory of this name under the first root that has one."""
    path = Path(name)
    real_roots = [root.resolve() for root in roots]
    if path.is_absolute() and not any(path.is_relative_to(root) for root in (*roots, *real_roots)):
        raise ConfigurationError(
            f"model_version is {_shown(name)}, a directory outside the operator's folders. {_allowed(roots)}"
        )
    # An absolute path joined to a root stays itself. A name such as "." would be the root; it is no name.
    candidates = [path] if path.is_absolute() else [root / path for root in roots if path.parts]
    for candidate in candidates:
        directory = _existing_directory(candidate)
        if directory is None:
            continue
        for part in _parts(directory):
            if not any(part.is_relative_to(root) for root in real_roots):
                raise ConfigurationError(
                    f"model_version is {_shown(name)}, where a link leads out of the operator's folders, to "
                    f"{part}. Copy the files, or add their folder to GEMMA4_BLOCK_MODEL_ROOTS."
                )
        directory = _complete(directory, fix="Finish the copy or download, or remove the directory")
        return Found(place=f"directory {candidate}", directory=directory)
    return None


def _parts(directory: Path) -> Iterator[Path]:
    """Yield a model directory, its `base/` and all that links in them lead to."""
    for part in (directory, _existing_directory(directory / "base")):
        if part is not None:
            yield part
            yield from (entry.resolve() for entry in part.iterdir() if entry.is_symlink())


def _find_in_caches(name: str, variant: Variant | None, roots: tuple[Path, ...]) -> Found:
    """Return the first complete directory; an unfinished download in one cache does not hide another."""
    looked = [f"{root / name}: not there" for root in roots]
    is_nowhere = True
    for place in _caches(name, variant):
        problem = place.problem
        if place.directory is not None:
            problem = _missing_file(place.directory)
            if not problem:
                return Found(place=place.name, directory=place.directory.resolve())
            problem = f"{place.directory} lacks {problem}"
        is_nowhere = is_nowhere and not problem
        looked.append(f"{place.name}: {problem or 'not there'}")
    raise (ModelNotFoundError if is_nowhere else CheckpointError)(
        f"{name} is not on this machine. Looked at: {'; '.join(looked)}. {_how_to_fetch(name, variant)}"
    )


def _caches(name: str, variant: Variant | None) -> Iterator[_Place]:
    yield _look_in_package_cache(name)
    if variant is not None and variant.hub_id is not None:
        for folder in _hub_caches():
            yield _look_in_hub_cache(variant.hub_id, folder)


def _look_in_package_cache(name: str) -> _Place:
    # Source: INFERENCE_HOME in inference_models/configuration.py, version 0.39.5.
    home = os.environ.get("INFERENCE_HOME") or os.environ.get("MODEL_CACHE_DIR") or "/tmp/cache"  # noqa: S108
    place = f"inference_models package cache {home}"
    # Importing the library, and torch with it, takes seconds.
    if not Path(home, "models-cache").is_dir():
        return _Place(name=place)
    from inference_models import find_cached_model_package_dir
    from inference_models.errors import BaseInferenceModelsError

    try:
        found = find_cached_model_package_dir(model_id=name)
    except (BaseInferenceModelsError, OSError, ValueError) as error:
        return _Place(name=place, problem=f"cannot be read: {error}")
    return _Place(name=place, directory=None if found is None else _existing_directory(Path(found)))


def _hub_caches() -> list[Path]:
    """Return the cache that this process is set to, then the one that `hf download` fills in a bare shell.

    Importing inference_models points HF_HUB_CACHE below its own folder wherever it is unset.
    """
    home = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "huggingface"
    folders = [Path(os.environ.get("HF_HOME", home)) / "hub", home / "hub"]
    if "HF_HUB_CACHE" in os.environ:
        folders.insert(0, Path(os.environ["HF_HUB_CACHE"]))
    return list(dict.fromkeys(folder.expanduser() for folder in folders))


def _look_in_hub_cache(hub_id: str, folder: Path) -> _Place:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    place = f"Hugging Face cache {folder}"
    try:
        found = snapshot_download(hub_id, cache_dir=folder, local_files_only=True)
    except LocalEntryNotFoundError:
        return _Place(name=place)
    except OSError as error:
        return _Place(name=place, problem=f"cannot be read: {error}")
    return _Place(name=place, directory=_existing_directory(Path(found)))


def _complete(directory: Path, *, fix: str) -> Path:
    if missing := _missing_file(directory):
        raise CheckpointError(f"{directory} lacks {missing}. {fix}.")
    return directory


def _missing_file(directory: Path) -> str:
    """Name what a model directory lacks; empty where it has what a model needs."""
    if not (directory / "adapter_config.json").is_file():
        return _missing_weights(directory)
    if not any((directory / name).is_file() for name in ("adapter_model.safetensors", "adapter_model.bin")):
        return "adapter_model.safetensors, which belongs to its adapter_config.json"
    if not (directory / "base").is_dir():
        return find_missing_base(directory)
    missing = _missing_weights(directory / "base")
    return f"{missing} in base/" if missing else ""


def _missing_weights(directory: Path) -> str:
    if not (directory / "config.json").is_file():
        return "config.json"
    index = directory / "model.safetensors.index.json"
    if index.is_file():
        missing = [name for name in _shard_names(index) if not (directory / name).is_file()]
        return ", ".join(missing)
    # A link whose target is gone counts as missing, so names alone do not do.
    weights = (*directory.glob("*.safetensors"), *directory.glob("*.bin"))
    if any(path.is_file() and not path.name.startswith("adapter_") for path in weights):
        return ""
    return "model.safetensors"


def _shard_names(index: Path) -> list[str]:
    try:
        return sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(f"{index} cannot be read: {error!r}. Fetch the file again.") from error


def _existing_directory(path: Path) -> Path | None:
    """Return the path with its links followed, or None where that is no directory one may look into."""
    try:
        real = path.resolve(strict=True)
        return real if real.is_dir() else None
    except (OSError, RuntimeError):  # RuntimeError: links in a circle, before Python 3.13.
        return None


def _how_to_fetch(name: str, variant: Variant | None) -> str:
    if variant is not None:
        return f"Fetch it with: {variant.fetch_command}"
    for known in VARIANTS:
        if name == known.hub_id:
            return f"{name} is the hub's name of {known.model_id}; use that id."
    return (
        "Other models of the Hugging Face Hub are not used by name. A model fine-tuned on Roboflow is "
        "fetched by asking for it once while online, inference_models.AutoModel.from_pretrained"
        f"({name!r}). Or copy a model to {name} under one of GEMMA4_BLOCK_MODEL_ROOTS."
    )


def _allowed(roots: tuple[Path, ...]) -> str:
    named = ", ".join(map(str, roots)) if roots else "none is set, so no directory can be named"
    return (
        f"Known are {', '.join(MODEL_IDS)}, a fine-tuned project/version, and directories under "
        f"GEMMA4_BLOCK_MODEL_ROOTS ({named})."
    )


def _shown(name: str) -> str:
    return repr(name if len(name) <= _SHOWN_CHARACTERS else f"{name[:_SHOWN_CHARACTERS]}…")
