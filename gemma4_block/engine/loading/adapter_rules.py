"""Hold adapter_config.json to rules: what decides the answers is there, and what is not run is refused."""

from typing import Annotated, Final, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, JsonValue

# These draw the first values of an adapter, which its file has overwritten; all others change the base too.
_LEAVES_THE_BASE: Final = (True, False, "gaussian", "eva", "orthogonal")


def _check_start(value: bool | str) -> bool | str:  # noqa: FBT001 - a value of a file
    if value not in _LEAVES_THE_BASE:
        raise ValueError(
            f"it changes the base, which other adapters share; save the adapter as plain LoRA with "
            f"path_initial_model_for_weight_conversion of peft, or start from one of {_LEAVES_THE_BASE}"
        )
    return value


def _refuse(value: JsonValue) -> JsonValue:
    if value:
        raise ValueError("this engine does not run it; train without it, or merge the adapter into its base")
    return value


_Unused = Annotated[JsonValue, AfterValidator(_refuse)]


class AdapterRules(BaseModel):
    """Of adapter_config.json. What is required here decides the answers, and peft would guess it."""

    model_config = ConfigDict(strict=True, extra="ignore", frozen=True)

    peft_type: Literal["LORA"]
    r: Annotated[int, Field(ge=1, le=1 << 16)]
    lora_alpha: Annotated[float, Field(gt=0, le=1 << 16)]
    lora_dropout: Annotated[float, Field(ge=0, le=1)] = 0.0
    target_modules: Annotated[str, Field(min_length=1)] | Annotated[list[str], Field(min_length=1)]
    init_lora_weights: Annotated[bool | str, AfterValidator(_check_start)] = True
    modules_to_save: list[str] | None = None
    rank_pattern: dict[str, Annotated[int, Field(ge=1, le=1 << 16)]] = Field(default_factory=dict)
    alpha_pattern: dict[str, float] = Field(default_factory=dict)
    use_rslora: bool = False
    use_dora: bool = False
    fan_in_fan_out: bool = False
    lora_bias: bool = False
    # Source: LoraConfig of peft 0.21.2.
    alora_invocation_tokens: _Unused = None
    arrow_config: _Unused = None
    kasa_config: _Unused = None
    layer_replication: _Unused = None
    megatron_config: _Unused = None
    monteclora_config: _Unused = None
    target_parameters: _Unused = None
    trainable_token_indices: _Unused = None
    use_bdlora: _Unused = None
    use_qalora: _Unused = None
    velora_config: _Unused = None
