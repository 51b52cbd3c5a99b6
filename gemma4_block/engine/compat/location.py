"""Find the directory that a caller of `from_pretrained` means."""

import os
import re
from pathlib import Path

from gemma4_block.catalogue import find_embedded, find_variant
from gemma4_block.engine.pool import find_base, find_hub_snapshot, resolve
from gemma4_block.errors import CheckpointError
from gemma4_block.settings import get_settings

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")


def find_directory(model_name_or_path: str | os.PathLike[str], *, local_files_only: bool) -> Path:
    """Return the directory of a model that the owner of this process names.

    Args:
        model_name_or_path: A directory, a variant id such as `gemma-4-demo`, or a hub id such as
            `google/gemma-4-E2B-it`.
        local_files_only: Look a hub id up in the Hugging Face caches only; False may download it.

    Returns:
        An existing directory.

    Raises:
        CheckpointError: There is none.

    """
    path = Path(model_name_or_path)
    if path.is_dir():
        return path
    name = os.fspath(model_name_or_path)
    if find_variant(name) is not None or find_embedded(name) is not None:
        return resolve(name, get_settings())
    if not _HUB_ID.fullmatch(name):
        raise CheckpointError(
            f"{name} is no directory, no variant id like gemma-4-demo and no hub id like "
            "google/gemma-4-E2B-it."
        )
    found = find_hub_snapshot(name)
    if found is not None:
        return found
    if not local_files_only:
        return _download(name)
    raise CheckpointError(
        f"{name} is no directory, and the hub id is in no Hugging Face cache. Fetch it with: "
        f"hf download {name}"
    )


def find_adapter_base(directory: Path) -> Path | None:
    """Return the weights that an adapter is put on; None where the directory holds weights itself.

    Args:
        directory: Of weights or of an adapter.

    Returns:
        A directory of weights.

    Raises:
        CheckpointError: The base is not on this machine, or lies where the operator allows none.

    """
    if not (directory / "adapter_config.json").is_file():
        return None
    return find_base(directory, get_settings())


def _download(hub_id: str) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(hub_id))
    except (LocalEntryNotFoundError, HfHubHTTPError, OSError) as error:
        raise CheckpointError(
            f"{hub_id} is no directory, and the hub did not give it: {error} Try: hf download {hub_id}"
        ) from error
