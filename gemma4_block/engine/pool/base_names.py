"""Read which base an adapter says that it was trained on."""

from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from gemma4_block.errors import CheckpointError


class _BaseName(BaseModel):
    """Of adapter_config.json, as peft writes it."""

    model_config = ConfigDict(extra="ignore", frozen=True, protected_namespaces=())

    base_model_name_or_path: str | None = None


def read_base_name(adapter: Path) -> str | None:
    """Return what an adapter calls its base; None where it says nothing.

    Args:
        adapter: Its directory.

    Returns:
        A name that nobody has checked.

    Raises:
        CheckpointError: Its adapter_config.json cannot be read, or says what is no name.

    """
    path = adapter / "adapter_config.json"
    try:
        name = _BaseName.model_validate_json(path.read_bytes()).base_model_name_or_path
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error.strerror}. Fetch the file again.") from error
    except ValidationError as error:
        raise CheckpointError(
            f"{path} cannot be used: base_model_name_or_path is no text, or the file is no JSON object. Save "
            "the adapter again."
        ) from error
    return name if name is not None and name.strip() else None


def find_missing_base(adapter: Path) -> str:
    """Name the base that an adapter without a folder base/ lacks; empty where its config names one.

    Args:
        adapter: Its directory.

    Returns:
        Words that complete "the directory lacks".

    Raises:
        CheckpointError: Its adapter_config.json cannot be read, or says what is no name.

    """
    # A link that leads nowhere is no reason to take another base than the one it meant.
    is_link = (adapter / "base").is_symlink()
    if not is_link and read_base_name(adapter) is not None:
        return ""
    return "base/, the folder with the weights that it was trained on, or a link to them" + (
        "; there is a link, and it leads nowhere" if is_link else ""
    )
