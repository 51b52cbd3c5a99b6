"""Check what users ask for, in a step or in the terminal, and fill what they leave open."""

from collections.abc import Sequence
from typing import TypeVar

from pydantic import BaseModel, ConfigDict, JsonValue, StrictBool, StrictFloat, StrictInt

from gemma4_block.contract import GenerationConfig
from gemma4_block.errors import ConfigurationError
from gemma4_block.limits import Limits, check_limit, check_text
from gemma4_block.settings import get_generation_defaults, get_settings
from gemma4_block.tasks import answer_schema

_T = TypeVar("_T")

# A class is a name; a whole sentence belongs in a prompt.
_MAX_CLASS_CHARACTERS = 200


class GenerationFields(BaseModel):
    """The fields that say how to answer; `None` means the operator's default."""

    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=())

    max_new_tokens: StrictInt | None = None
    temperature: StrictFloat | None = None
    top_p: StrictFloat | None = None
    top_k: StrictInt | None = None
    seed: StrictInt | None = None
    enable_thinking: StrictBool | None = None
    max_thinking_tokens: StrictInt | None = None


def resolve_generation(fields: GenerationFields) -> GenerationConfig:
    """Fill what a step leaves open with the operator's defaults.

    Args:
        fields: Of the step.

    Returns:
        How to answer.

    Raises:
        ConfigurationError: A value is out of range or above the operator's limit, or does nothing
            beside the others.

    """
    defaults, settings = get_generation_defaults(), get_settings()
    temperature = fields.temperature
    if temperature is None and defaults.do_sample:
        temperature = defaults.temperature
    is_sampled = temperature is not None and temperature != 0
    check_limit("max_new_tokens", fields.max_new_tokens, settings.max_new_tokens)
    check_limit("max_thinking_tokens", fields.max_thinking_tokens, settings.max_thinking_tokens)
    enable_thinking = _first(fields.enable_thinking, defaults.enable_thinking)
    return GenerationConfig(
        max_new_tokens=_first(fields.max_new_tokens, min(defaults.max_new_tokens, settings.max_new_tokens)),
        do_sample=is_sampled,
        temperature=temperature if is_sampled else None,
        # Without chance a given value stays, and is refused because it would do nothing.
        top_p=_first(fields.top_p, defaults.top_p if is_sampled else None),
        top_k=_first(fields.top_k, defaults.top_k if is_sampled else None),
        seed=fields.seed,
        enable_thinking=enable_thinking,
        # Thoughts have an allowance of their own, so that they cannot eat the answer.
        max_thinking_tokens=_first(
            fields.max_thinking_tokens, settings.max_thinking_tokens if enable_thinking else None
        ),
    )


def check_classes(classes: Sequence[str], limits: Limits | None = None) -> None:
    """Refuse classes that cannot be asked for.

    Args:
        classes: What a workflow or a caller gave; may be empty.
        limits: What is allowed; None means what is allowed to requests.

    Raises:
        ConfigurationError: There are too many, or one is blank, too long, or there twice.

    """
    (Limits.of_requests(get_settings()) if limits is None else limits).check_classes(classes)
    for place, name in enumerate(classes):
        if not name.strip():
            raise ConfigurationError(
                f"Class {place + 1} of {len(classes)} is blank. Name it, or leave it out."
            )
        if len(name) > _MAX_CLASS_CHARACTERS:
            raise ConfigurationError(
                f"The class {name[:40]!r}... has {len(name)} characters; {_MAX_CLASS_CHARACTERS} are "
                "allowed. Shorten it."
            )
        check_text(f"class {name!r}", name, max_characters=_MAX_CLASS_CHARACTERS)
        if name in classes[:place]:
            raise ConfigurationError(f"The class {name!r} is there twice. List each class once.")


def check_structure(structure: dict[str, JsonValue] | None) -> None:
    """Refuse an output structure that no answer can be held to.

    Args:
        structure: Field names with descriptions, or a JSON Schema; None and an empty one mean none.

    Raises:
        ConfigurationError: It is too long, or no usable schema.

    """
    if structure:
        Limits.of_requests(get_settings()).check_schema(answer_schema(structure))


def _first(given: _T | None, default: _T) -> _T:
    return default if given is None else given
