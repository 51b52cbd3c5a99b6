"""Say of a model what it is not for, once, where somebody who could take another reads it."""

import logging
from functools import cache
from typing import Final

from typing_extensions import assert_never

from gemma4_block.catalogue import find_named_variant
from gemma4_block.contract import LocalModel, ModelReference, ServedModel
from gemma4_block.engine.pool.bases import find_variant_of

_LOGGER: Final = logging.getLogger(__name__)


def find_caution(reference: ModelReference) -> str:
    """Return what the users of a model should know before they trust it; empty for Google's models.

    Args:
        reference: The model; an adapter has the caution of its base.

    Returns:
        One sentence.

    """
    match reference:
        case LocalModel():
            variant = find_variant_of(reference.directory)
        case ServedModel():
            variant = find_named_variant(reference.server)
        case _:
            assert_never(reference)
    return "" if variant is None else variant.caution


def log_caution(reference: ModelReference) -> None:
    """Write the caution of a model into the log, once in this process."""
    caution = find_caution(reference)
    if caution:
        _log_once(caution)


@cache
def _log_once(caution: str) -> None:
    _LOGGER.warning(caution)
