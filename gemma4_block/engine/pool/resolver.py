"""Find the directory of a model by its name, on this machine only; the name is not trusted."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from gemma4_block.catalogue import MODEL_IDS, Variant, find_embedded, find_named_variant
from gemma4_block.engine.pool.completeness import find_problem
from gemma4_block.engine.pool.model_caches import existing_directory, look_in_caches
from gemma4_block.engine.pool.model_names import check_name, list_allowed, show_name
from gemma4_block.errors import CheckpointError, ConfigurationError, ModelNotFoundError
from gemma4_block.settings import Settings

# A trained model's id on the Roboflow platform, a project's slug and a version; or a repository of the hub.
_TWO_PARTS = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*/[A-Za-z0-9][A-Za-z0-9._-]*")


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

    Nothing is downloaded. The embedded model and its adapters come with the package. Every other name is
    looked for under the operator's roots, then in the package cache of inference_models, then in the Hugging
    Face caches. A variant is looked for by its id and by its name on the hub, whichever was given.

    Args:
        model_version: A variant id or its name on the hub, an adapter of `gemma-4-demo`, a fine-tuned
            `project/version`, the hub's `org/name` of another Gemma 4 model, or a directory under one of the
            operator's roots, absolute or as seen from the root.
        settings: The operator's settings; `model_roots` are the roots.

    Returns:
        The first complete one.

    Raises:
        ConfigurationError: It is no known id and no name of a directory that may be used.
        ModelNotFoundError: The model is not on this machine.
        CheckpointError: Files are missing or cut off, or a place cannot be read.

    """
    check_name(model_version)
    embedded = find_embedded(model_version)
    if embedded is not None:
        directory = _complete(embedded, fix="Install gemma4-block again")
        return Found(place="comes with the package", directory=directory)
    variant = find_named_variant(model_version)
    names = [model_version] if variant is None else [variant.model_id, str(variant.hub_id)]
    for name in names:
        found = _find_under_roots(name, settings.model_roots)
        if found is not None:
            return found
    if Path(model_version).is_absolute():
        raise CheckpointError(
            f"There is no directory {model_version}. Put the model there, or name one of "
            f"{', '.join(MODEL_IDS)}."
        )
    if variant is None and not is_two_parts(model_version):
        raise ConfigurationError(
            f"model_version is {show_name(model_version)}, which is no known model. "
            f"{list_allowed(settings.model_roots)}"
        )
    looked = [f"{root / name}: not there" for root in settings.model_roots for name in names]
    return _find_in_caches(model_version, variant, looked)


def is_two_parts(name: str) -> bool:
    """Say whether a name may be a `project/version` or an `org/name`."""
    return _TWO_PARTS.fullmatch(name) is not None


def _find_under_roots(name: str, roots: tuple[Path, ...]) -> Found | None:
    """Return the complete model directory of this name under the first root that has one."""
    path = Path(name)
    real_roots = [root.resolve() for root in roots]
    if path.is_absolute() and not any(path.is_relative_to(root) for root in (*roots, *real_roots)):
        raise ConfigurationError(
            f"model_version is {show_name(name)}, a directory outside the operator's folders. "
            f"{list_allowed(roots)}"
        )
    # An absolute path joined to a root stays itself. A name such as "." would be the root; it is no name.
    candidates = [path] if path.is_absolute() else [root / path for root in roots if path.parts]
    for candidate in candidates:
        directory = existing_directory(candidate)
        if directory is None:
            continue
        for part in _parts(directory):
            if not any(part.is_relative_to(root) for root in real_roots):
                raise ConfigurationError(
                    f"model_version is {show_name(name)}, where a link leads out of the operator's folders, "
                    f"to {part}. Copy the files, or add their folder to GEMMA4_BLOCK_MODEL_ROOTS."
                )
        directory = _complete(directory, fix="Finish the copy or download, or remove the directory")
        return Found(place=f"directory {candidate}", directory=directory)
    return None


def _parts(directory: Path) -> Iterator[Path]:
    """Yield a model directory, its `base/` and all that links in them lead to."""
    for part in (directory, existing_directory(directory / "base")):
        if part is not None:
            yield part
            yield from (entry.resolve() for entry in part.iterdir() if entry.is_symlink())


def _find_in_caches(name: str, variant: Variant | None, looked: list[str]) -> Found:
    """Return the first complete directory; an unfinished download in one cache does not hide another."""
    is_nowhere = True
    for place in look_in_caches(name, variant):
        problem = place.problem
        if place.directory is not None:
            problem = find_problem(place.directory)
            if not problem:
                return Found(place=place.name, directory=place.directory.resolve())
            problem = f"{place.directory} {problem}"
        is_nowhere = is_nowhere and not problem
        looked.append(f"{place.name}: {problem or place.nothing}")
    raise (ModelNotFoundError if is_nowhere else CheckpointError)(
        f"{name} is not on this machine. Looked at: {'; '.join(looked)}. {_how_to_fetch(name, variant)}"
    )


def _complete(directory: Path, *, fix: str) -> Path:
    problem = find_problem(directory)
    if problem:
        raise CheckpointError(f"{directory} {problem}. {fix}.")
    return directory


def _how_to_fetch(name: str, variant: Variant | None) -> str:
    if variant is not None:
        return f"Fetch it with: {variant.fetch_command}"
    return (
        f"A model of the Hugging Face Hub is fetched with: gemma4-block pull {name}. One that was fine-tuned "
        "on Roboflow is fetched by asking for it once while online, inference_models.AutoModel."
        f"from_pretrained({name!r}). Or copy a model to {name} under one of GEMMA4_BLOCK_MODEL_ROOTS."
    )
