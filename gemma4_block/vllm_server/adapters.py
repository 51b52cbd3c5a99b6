"""LoRA adapters that a server is to be started with."""

from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from gemma4_block.errors import CheckpointError, ConfigurationError


@dataclass(frozen=True, kw_only=True, slots=True)
class Adapter:
    """An adapter, which is a model of its own to workflows.

    Attributes:
        name: Its id in workflows and its name on the server.
        directory: Where it is.
        rank: Of its matrices.

    """

    name: str
    directory: Path
    rank: int


class _Config(BaseModel):
    """What vLLM refuses. Source: vllm/lora/peft_helper.py of vLLM 0.32.0."""

    model_config = ConfigDict(strict=True, extra="ignore")

    r: int = Field(ge=1)
    modules_to_save: list[str] | None = Field(default=None, max_length=0)
    use_dora: bool = False
    lora_bias: bool = False


def read_adapter(given: str) -> Adapter:
    """Return an adapter that the operator names.

    Args:
        given: `NAME=DIRECTORY`.

    Returns:
        The adapter.

    Raises:
        ConfigurationError: It is written in another form.
        CheckpointError: The directory holds no adapter, or one that vLLM refuses.

    """
    name, sign, place = given.partition("=")
    if not name.strip() or not sign or not place:
        raise ConfigurationError(f"--lora is {given!r}. Write NAME=DIRECTORY, as in plates=/models/plates.")
    directory = Path(place).expanduser().resolve()
    path = directory / "adapter_config.json"
    try:
        config = _Config.model_validate_json(path.read_bytes())
    except OSError as error:
        raise CheckpointError(
            f"{path} cannot be read: {error.strerror}. Name the directory of an adapter in --lora."
        ) from error
    except ValidationError as error:
        field = ".".join(map(str, error.errors()[0]["loc"]))
        raise CheckpointError(
            f"{path} cannot be used: {field or 'it'} is wrong or nothing that vLLM runs."
        ) from error
    if config.use_dora or config.lora_bias:
        raise CheckpointError(
            f"{path} has use_dora or lora_bias, which vLLM does not run. Merge it into its model, and "
            "serve that."
        )
    return Adapter(name=name, directory=directory, rank=config.r)
