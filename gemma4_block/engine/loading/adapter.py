"""Put a LoRA adapter on its base, or say that it belongs to another."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field
from torch import nn

from gemma4_block.engine.loading.checked_json import check_json
from gemma4_block.engine.loading.naming import naming
from gemma4_block.errors import CheckpointError


class _AdapterRules(BaseModel):
    """Of adapter_config.json. What is required here decides the answers, and peft would guess it."""

    model_config = ConfigDict(strict=True, extra="ignore", frozen=True)

    peft_type: Literal["LORA"]
    r: Annotated[int, Field(ge=1, le=1 << 16)]
    lora_alpha: Annotated[float, Field(gt=0, le=1 << 16)]
    lora_dropout: Annotated[float, Field(ge=0, le=1)] = 0.0
    target_modules: Annotated[str, Field(min_length=1)] | Annotated[list[str], Field(min_length=1)]
    init_lora_weights: bool | str = True
    modules_to_save: list[str] | None = None
    rank_pattern: dict[str, int] = Field(default_factory=dict)
    alpha_pattern: dict[str, float] = Field(default_factory=dict)
    use_rslora: bool = False
    use_dora: bool = False
    fan_in_fan_out: bool = False


def apply_adapter(model: nn.Module, directory: Path, *, is_quantized: bool) -> nn.Module:
    """Return the base with its adapter: merged, or on top where the base is in 4 bits.

    Args:
        model: The base.
        directory: Holds the adapter's files.
        is_quantized: Whether the base is in 4 bits.

    Returns:
        The adapted model.

    Raises:
        CheckpointError: The adapter's files are damaged, or it was trained on another base.

    """
    from peft import PeftModel

    config = directory / "adapter_config.json"
    check_json(config, _AdapterRules)
    files = [directory / name for name in ("adapter_model.safetensors", "adapter_model.bin")]
    weights = next((path for path in files if path.is_file()), files[0])
    with naming(weights, config):
        adapted = PeftModel.from_pretrained(model, str(directory))
        # The first loading only warns of what found no place; the second returns it.
        report = adapted.load_adapter(str(directory), "default")
    if report.missing_keys or report.unexpected_keys:
        raise CheckpointError(
            f"The adapter {weights} does not fit its base/: {len(report.missing_keys)} tensors are "
            f"missing from its file, and {len(report.unexpected_keys)} in it have no place, first "
            f"{min([*report.missing_keys, *report.unexpected_keys])!r}. It was trained on another base."
        )
    # Merging into 4-bit weights would round the adapter away.
    return adapted if is_quantized else adapted.merge_and_unload()
