"""List the models of this machine, wherever a name would find them."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from gemma4_block.catalogue import EMBEDDED_ADAPTERS, MODEL_IDS, find_named_variant
from gemma4_block.engine.pool.bases import find_base
from gemma4_block.engine.pool.model_caches import list_hub_caches
from gemma4_block.engine.pool.resolver import Found, locate
from gemma4_block.errors import CheckpointError, ConfigurationError, ModelNotFoundError
from gemma4_block.settings import Settings

# A name under a root has two parts at most where it is listed; deeper ones can be asked for all the same.
_DEPTHS: Final = ("*", "*/*")
_HUB_FOLDER: Final = "models--"


@dataclass(frozen=True, kw_only=True, slots=True)
class StoredModel:
    """A model that has a name here.

    Attributes:
        name: As workflows say it.
        place: Where it is, for people; empty where it is not here.
        directory: Absolute, links followed; None where it is not here, or has a problem.
        base: Directory of the weights that it is an adapter for; None where it has its own.
        disk_bytes: Size of its own files; 0 where there is no directory.
        problem: What keeps it from being loaded; empty where nothing does.

    """

    name: str
    place: str = ""
    directory: Path | None = None
    base: Path | None = None
    disk_bytes: int = 0
    problem: str = ""


def list_models(settings: Settings) -> tuple[StoredModel, ...]:
    """Return the variants, here or not, and whatever else is under the operator's roots and in hub caches.

    Args:
        settings: The operator's; they name the roots.

    Returns:
        The variants in the order of the catalogue, the adapters of the embedded one, then the others by name.

    """
    others = {*_names_under_roots(settings.model_roots), *_names_in_hub_caches()}
    found = [_look_for(name, settings) for name in (*MODEL_IDS, *EMBEDDED_ADAPTERS, *sorted(others))]
    return tuple(model for model in found if model is not None)


def _names_under_roots(roots: tuple[Path, ...]) -> Iterator[str]:
    for root in roots:
        for depth in _DEPTHS:
            for path in root.glob(depth):
                if any((path / name).is_file() for name in ("config.json", "adapter_config.json")):
                    name = str(path.relative_to(root))
                    # The base of an adapter is no model of its own.
                    is_base = path.name == "base" and (path.parent / "adapter_config.json").is_file()
                    if not is_base and find_named_variant(name) is None:
                        yield name


def _names_in_hub_caches() -> Iterator[str]:
    for folder in list_hub_caches():
        for path in folder.glob(f"{_HUB_FOLDER}*--*"):
            name = path.name.removeprefix(_HUB_FOLDER).replace("--", "/", 1)
            if find_named_variant(name) is None:
                yield name


def _look_for(name: str, settings: Settings) -> StoredModel | None:
    """Return what a name finds; None where a cache holds a model of another kind."""
    found: Found | None = None
    try:
        found = locate(name, settings)
        is_adapter = (found.directory / "adapter_config.json").is_file()
        base = find_base(found.directory, settings) if is_adapter else None
    except ModelNotFoundError as error:
        if found is not None:
            return StoredModel(name=name, problem=str(error))
        return StoredModel(name=name) if find_named_variant(name) is not None else None
    except (CheckpointError, ConfigurationError) as error:
        return StoredModel(name=name, problem=str(error))
    return StoredModel(
        name=name,
        place=found.place,
        directory=found.directory,
        base=base,
        disk_bytes=_measure(found.directory),
    )


def _measure(directory: Path) -> int:
    """Return how many bytes the files of a directory have, those of folders in it not counted."""
    return sum(path.stat().st_size for path in directory.iterdir() if path.is_file())
