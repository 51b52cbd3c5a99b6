"""Find the weights that an adapter is put on."""

from pathlib import Path

from gemma4_block.catalogue import VARIANTS, Variant
from gemma4_block.engine.pool.base_names import read_base_name
from gemma4_block.engine.pool.model_caches import find_hub_snapshot
from gemma4_block.engine.pool.resolver import resolve
from gemma4_block.errors import CheckpointError, ConfigurationError, ModelNotFoundError
from gemma4_block.settings import Settings


def find_base(adapter: Path, settings: Settings) -> Path:
    """Return the base of an adapter: its folder base/, or else what its config names.

    The name in the config is not trusted more than that of a request: it is an id, or a directory under one
    of the operator's roots.

    Args:
        adapter: Its directory, with a base/ or a name of a base.
        settings: The operator's.

    Returns:
        A directory of weights, absolute, links followed, so that one base is one under all of its names.

    Raises:
        CheckpointError: The base is not on this machine, or is no model of its own.

    """
    beside = adapter / "base"
    base = beside.resolve() if beside.is_dir() else _find_named(adapter, settings)
    if (base / "adapter_config.json").is_file():
        raise CheckpointError(
            f"{adapter} was trained on {base}, which is an adapter itself. Merge that into its base first."
        )
    return base


def find_variant_of(directory: Path) -> Variant | None:
    """Return the variant whose weights a directory holds; None where it is none that is known here.

    Args:
        directory: Absolute, links followed.

    Returns:
        The variant.

    """
    return next((one for one in VARIANTS if str(directory) in _known_paths(one)), None)


def _find_named(adapter: Path, settings: Settings) -> Path:
    name = read_base_name(adapter)
    if name is None:
        raise CheckpointError(f"{adapter} has no base/, and its adapter_config.json names no base.")
    try:
        return resolve(_find_id(name), settings)
    except (ConfigurationError, CheckpointError) as error:
        kind = ModelNotFoundError if isinstance(error, ModelNotFoundError) else CheckpointError
        raise kind(
            f"{adapter / 'adapter_config.json'} names its base in base_model_name_or_path, and it cannot be "
            f"used: {error} Or put the base, or a link to it, into {adapter} as base/."
        ) from error


def _find_id(name: str) -> str:
    """Return the id that a name of a base stands for, such as the hub's; the name itself where it is none."""
    for variant in VARIANTS:
        if name == variant.hub_id:
            return variant.model_id
        # Who trains from a path finds it in the config.
        if Path(name).is_absolute() and name in _known_paths(variant):
            return variant.model_id
    return name


def _known_paths(variant: Variant) -> set[str]:
    found = variant.directory if variant.hub_id is None else find_hub_snapshot(variant.hub_id)
    return set() if found is None else {str(found), str(found.resolve())}
