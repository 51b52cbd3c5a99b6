"""What a server has to know of a model before it is started: where it is, its heads, its length, its size."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from gemma4_block.catalogue import MODEL_IDS, Variant, find_variant
from gemma4_block.errors import CheckpointError, ConfigurationError


@dataclass(frozen=True, kw_only=True, slots=True)
class Heads:
    """The attention heads of a language model, which the GPUs of a tensor parallel group share out.

    Attributes:
        query: Of each layer.
        key_value: Of each kind of layer.

    """

    query: int
    key_value: tuple[int, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class ServedModel:
    """A model that a server is to be started for.

    Attributes:
        model_id: What workflows call it, unless the operator names it.
        source: What vLLM loads: a repository of the Hugging Face Hub, or a directory.
        heads: Of its language model.
        context_tokens: Most tokens of prompt and answer together.
        weights_bytes: Of its weights as they are stored.
        why_no_4_bits: Why 4 bits are refused for it in particular; empty where that has no reason of its own.

    """

    model_id: str
    source: str
    heads: Heads
    context_tokens: int
    weights_bytes: int
    why_no_4_bits: str = ""


# Source: config.json of each repository; tests/vllm_server/test_model.py reads them again.
_HEADS: Final = {
    "gemma-4-e2b-it": Heads(query=8, key_value=(1,)),
    "gemma-4-e4b-it": Heads(query=8, key_value=(2,)),
    "gemma-4-12b-it": Heads(query=16, key_value=(8, 1)),
    "gemma-4-26b-a4b-it": Heads(query=16, key_value=(8, 2)),
    "gemma-4-31b-it": Heads(query=32, key_value=(16, 4)),
}
_FAMILY: Final = "gemma4"


def find_served_model(model: str) -> ServedModel:
    """Return what there is to know of a model.

    Args:
        model: The id of a variant, or a directory of weights.

    Returns:
        The model. A variant's files are not looked for: vLLM finds them in the cache of the Hugging Face Hub.

    Raises:
        ConfigurationError: It is neither.
        CheckpointError: The directory has no weights, or its config is not that of a Gemma 4 model.

    """
    variant = find_variant(model)
    if variant is not None and variant.hub_id is not None:
        return ServedModel(
            model_id=variant.model_id,
            source=variant.hub_id,
            heads=_HEADS[variant.model_id],
            context_tokens=variant.context_tokens,
            weights_bytes=round(variant.weights_gb * 1e9),
            why_no_4_bits=variant.why_whole,
        )
    directory = Path(model).expanduser() if variant is None else variant.directory
    assert directory is not None, "the embedded model has one"
    if not directory.is_dir():
        raise ConfigurationError(
            f"MODEL is {json.dumps(model)}, which is neither a directory nor one of {', '.join(MODEL_IDS)}."
        )
    return _read_directory(directory.resolve(), variant)


class _TextConfig(BaseModel):
    model_config = ConfigDict(strict=True, extra="ignore")

    num_attention_heads: int = Field(ge=1)
    num_key_value_heads: int = Field(ge=1)
    num_global_key_value_heads: int | None = Field(default=None, ge=1)
    max_position_embeddings: int = Field(ge=1)


class _Config(BaseModel):
    model_config = ConfigDict(strict=True, extra="ignore")

    model_type: str = Field(pattern=f"^{_FAMILY}")
    text_config: _TextConfig


def _read_directory(directory: Path, variant: Variant | None) -> ServedModel:
    try:
        config = _Config.model_validate_json((directory / "config.json").read_bytes())
    except (OSError, ValidationError) as error:
        reason = (
            error.strerror
            if isinstance(error, OSError)
            else f"its {_name(error)} is not that of a Gemma 4 model"
        )
        raise CheckpointError(
            f"{directory / 'config.json'} cannot be used: {reason}. Name a directory with the whole model; "
            "an adapter goes into --lora."
        ) from error
    weights_bytes = sum(path.stat().st_size for path in directory.glob("*.safetensors"))
    if weights_bytes == 0:
        raise CheckpointError(
            f"{directory} has no weights (*.safetensors). Name a directory with the whole model."
        )
    text = config.text_config
    key_value = (text.num_key_value_heads, text.num_global_key_value_heads)
    return ServedModel(
        model_id=directory.name if variant is None else variant.model_id,
        source=str(directory),
        heads=Heads(
            query=text.num_attention_heads,
            key_value=tuple(count for count in key_value if count is not None),
        ),
        context_tokens=text.max_position_embeddings if variant is None else variant.context_tokens,
        weights_bytes=weights_bytes,
        why_no_4_bits="" if variant is None else variant.why_whole,
    )


def _name(error: ValidationError) -> str:
    place = ".".join(map(str, error.errors()[0]["loc"]))
    return place or "JSON"
