"""The form of any step: fields that it does not have are named in the log, as the host says nothing."""

import logging
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from types import MappingProxyType
from typing import Final

from pydantic import AliasChoices, JsonValue, model_validator
from pydantic.fields import FieldInfo

from gemma4_block.blocks._host import WorkflowBlockManifest

STOCK_NAMES: Final[Mapping[str, str]] = MappingProxyType(
    {
        "class_names": "classes",
        "detection_format": "box_format",
        "extended_thinking": "enable_thinking",
        "image_detail": "image_seq_length",
        "max_tokens": "max_new_tokens",
        "model_id": "model_version",
        "model_name": "model_version",
        "output_classes": "classes",
        "output_format": "output_structure",
        "reasoning_effort": "enable_thinking",
        "thinking_budget_tokens": "max_thinking_tokens",
        "thinking_level": "enable_thinking",
    }
)
"""What blocks of the host and common APIs call a field, and what it is called here."""

# A request may hold anything, and the log is read by people.
_MAX_NAMED: Final = 10
_MAX_CHARACTERS: Final = 40
# A letter or two of a name may be wrong. At difflib's own 0.6 stop would be like top_p.
_LIKENESS: Final = 0.75

_LOGGER = logging.getLogger(__name__)


def other_names(field: str) -> str:
    """Return the sentence of a field's description for people who know the blocks of the host."""
    names = [name for name, ours in STOCK_NAMES.items() if ours == field]
    *first, last = names
    listed = f"{', '.join(first)} or {last}" if first else last
    return f"Other blocks call it {listed}, which does nothing here."


class StepManifest(WorkflowBlockManifest):
    """A step that warns, in one line, of fields that it does not have."""

    @model_validator(mode="before")
    @classmethod
    def _warn_of_unknown_fields(cls, given: JsonValue) -> JsonValue:
        if isinstance(given, dict):
            accepted = set(cls.model_fields).union(*map(_aliases, cls.model_fields.values()))
            unknown = [name for name in given if name not in accepted]
            if unknown:
                known = [name for name in cls.model_fields if name not in {"type", "name"}]
                _LOGGER.warning(
                    "The step %s has fields that %s does not have, and that do nothing: %s. Its fields are "
                    "%s.",
                    _shorten(given.get("name")),
                    _shorten(given.get("type")),
                    _list_unknown(unknown, known),
                    ", ".join(known),
                )
        return given


def _aliases(field: FieldInfo) -> Iterable[str]:
    alias = field.validation_alias
    return [str(choice) for choice in alias.choices] if isinstance(alias, AliasChoices) else []


def _list_unknown(unknown: list[str], known: list[str]) -> str:
    listed = ", ".join(_describe(name, known) for name in unknown[:_MAX_NAMED])
    left = len(unknown) - _MAX_NAMED
    return f"{listed}, and {left} more" if left > 0 else listed


def _describe(name: object, known: list[str]) -> str:
    shown = _shorten(name)
    # A request may name a field by a million characters; none of ours is long.
    text = str(name)[:_MAX_CHARACTERS]
    meant = (
        [STOCK_NAMES[text]] if text in STOCK_NAMES else get_close_matches(text, known, n=1, cutoff=_LIKENESS)
    )
    return f"{shown} (here {meant[0]})" if meant and meant[0] in known else shown


def _shorten(value: object) -> str:
    """Return a value of a request for the log: short, and in one line whatever it holds."""
    text = str(value)
    return repr(text if len(text) <= _MAX_CHARACTERS else f"{text[:_MAX_CHARACTERS]}...")
