"""Fetch a model from the Hugging Face Hub into the cache where it is looked for; requests never do."""

import re
from pathlib import Path
from typing import Final

from gemma4_block.catalogue import MODEL_IDS, find_embedded, find_named_variant
from gemma4_block.engine.pool.completeness import find_problem
from gemma4_block.engine.pool.model_caches import list_hub_caches
from gemma4_block.engine.pool.resolver import Found
from gemma4_block.errors import CheckpointError, ConfigurationError, EngineError

_HUB_ID: Final = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
# What loading reads; repositories hold the same weights in other formats too, and copies in folders.
_NEEDED: Final = ("*.json", "*.jinja", "*.safetensors")
_NOT_NEEDED: Final = ("*/*",)


def fetch(name: str) -> Found:
    """Fetch a model, or only those of its files that are missing; blocks for as long as that takes.

    Progress is shown on stderr by the hub's client.

    Args:
        name: A variant id, or the hub's `org/name`.

    Returns:
        The whole model.

    Raises:
        ConfigurationError: It is no such name.
        CheckpointError: The repository lacks what a model needs.
        EngineError: The hub cannot be reached, or does not give it.

    """
    embedded = find_embedded(name)
    if embedded is not None:
        return Found(place="comes with the package", directory=embedded)
    variant = find_named_variant(name)
    hub_id = name if variant is None else variant.hub_id
    if hub_id is None or not _HUB_ID.fullmatch(hub_id):
        raise ConfigurationError(
            f"MODEL is {name!r}; it must be one of {', '.join(MODEL_IDS)}, or the org/name of another "
            "Gemma 4 model on the Hugging Face Hub."
        )
    cache = list_hub_caches()[0]
    directory = _download(hub_id, cache)
    problem = find_problem(directory)
    if problem:
        raise CheckpointError(
            f"{directory} {problem}, and the hub gave no more. Ask again while the hub can be reached; where "
            f"that does not help, https://huggingface.co/{hub_id} is no model in safetensors."
        )
    return Found(place=f"Hugging Face cache {cache}", directory=directory)


def _download(hub_id: str, cache: Path) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import (
        GatedRepoError,
        HfHubHTTPError,
        HFValidationError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
    )

    page = f"https://huggingface.co/{hub_id}"
    try:
        found = snapshot_download(
            hub_id, cache_dir=cache, allow_patterns=list(_NEEDED), ignore_patterns=list(_NOT_NEEDED)
        )
    except HFValidationError as error:
        raise ConfigurationError(f"MODEL is {hub_id!r}, which the hub can have no repository for.") from error
    except GatedRepoError as error:
        raise EngineError(
            f"{hub_id} is given only to who has accepted its terms. Accept them at {page}, make a token at "
            "https://huggingface.co/settings/tokens, and name it in HF_TOKEN or with: hf auth login"
        ) from error
    except RepositoryNotFoundError as error:
        raise EngineError(
            f"The hub has no {hub_id}, or does not show it to you. Look at {page}; for a private one name a "
            "token in HF_TOKEN, or log in with: hf auth login"
        ) from error
    except LocalEntryNotFoundError as error:
        raise EngineError(_explain_offline(hub_id)) from error
    except (HfHubHTTPError, OSError) as error:
        reason = " ".join(str(error).split())
        raise EngineError(
            f"{hub_id} was not fetched: {reason}. Ask again; what is here already is kept."
        ) from error
    return Path(found).resolve()


def _explain_offline(hub_id: str) -> str:
    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE:
        return (
            f"{hub_id} was not fetched, because HF_HUB_OFFLINE or TRANSFORMERS_OFFLINE is on. Unset them, in "
            ".env too."
        )
    folder = f"models--{hub_id.replace('/', '--')}"
    return (
        f"{hub_id} was not fetched, because {constants.ENDPOINT} cannot be reached. Go online, or name a "
        f"mirror in HF_ENDPOINT. Or fetch it elsewhere, and copy the folder {folder} from that machine's "
        "Hugging Face cache into this one's."
    )
