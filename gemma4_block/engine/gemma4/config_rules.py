"""What the values of Gemma 4's config.json and generation_config.json must be, whatever a library would do.

A key that is required decides the answers and is in every file that Google or transformers writes; without it
transformers would take a default of its own. Bounds are far beyond every released size: they keep a damaged
number from becoming terabytes or an endless loop. Keys that are not named here are left to transformers.
Source: the config.json files of the five released variants, and transformers/models/gemma4, 5.15.1.
"""

from typing import Annotated, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, model_validator

Size = Annotated[int, Field(ge=1, le=1 << 20)]
"""Of one axis of a weight, or of a picture's patches."""

Layers = Annotated[int, Field(ge=1, le=1000)]
TokenId = Annotated[int, Field(ge=0, lt=1 << 24)]
Epsilon = Annotated[float, Field(gt=0, le=0.01)]
Dtype = Literal["bfloat16", "float16", "float32"]
Activation = Literal["gelu_pytorch_tanh"]
"""The released models have no other, and their weights fit no other."""

LayerType = Literal["sliding_attention", "full_attention"]


class FileRules(BaseModel):
    """A JSON object whose named keys hold to rules; other keys pass."""

    model_config = ConfigDict(strict=True, extra="ignore", frozen=True)


class _Rope(FileRules):
    rope_theta: Annotated[float, Field(ge=1, le=1e8)]
    rope_type: Literal["default", "proportional", "linear", "dynamic", "yarn", "longrope", "llama3"]
    partial_rotary_factor: Annotated[float, Field(gt=0, le=1)] = 1.0


class _RopeOfLayers(FileRules):
    sliding_attention: _Rope
    full_attention: _Rope


class _Layer(FileRules):
    head_dim: Size
    num_key_value_heads: Size | None = None


class _Text(FileRules):
    model_type: Literal["gemma4_text", "gemma4_unified_text"]
    vocab_size: Annotated[int, Field(ge=1, le=1 << 24)]
    vocab_size_per_layer_input: Annotated[int, Field(ge=1, le=1 << 24)] | None = None
    hidden_size: Size
    hidden_size_per_layer_input: Annotated[int, Field(ge=0, le=1 << 20)]
    intermediate_size: Size
    num_hidden_layers: Layers
    num_kv_shared_layers: Annotated[int, Field(ge=0, le=1000)]
    num_attention_heads: Size
    num_key_value_heads: Size
    num_global_key_value_heads: Size | None = None
    head_dim: Size
    global_head_dim: Size | None = None
    layer_types: list[LayerType]
    per_layer_config: dict[Annotated[str, Field(pattern=r"^\d{1,3}$")], _Layer] | None = None
    sliding_window: Annotated[int, Field(ge=1, le=1 << 24)]
    max_position_embeddings: Annotated[int, Field(ge=1, le=1 << 30)]
    rms_norm_eps: Epsilon
    rope_parameters: _RopeOfLayers
    hidden_activation: Activation
    final_logit_softcapping: Annotated[float, Field(gt=0, le=1000)] | None
    use_bidirectional_attention: Literal["all", "vision"] | None
    use_double_wide_mlp: bool
    attention_k_eq_v: bool
    attention_bias: bool = False
    enable_moe_block: bool
    num_experts: Size | None = None
    top_k_experts: Size | None = None
    moe_intermediate_size: Size | None = None
    pad_token_id: TokenId
    bos_token_id: TokenId
    tie_word_embeddings: bool = True
    dtype: Dtype | None = None

    @model_validator(mode="after")
    def _check_layers(self) -> "_Text":
        of_layers = {} if self.per_layer_config is None else self.per_layer_config
        for kind in get_args(LayerType):
            places = [place for place, one in enumerate(self.layer_types) if one == kind]
            if any(of_layers.get(str(place)) != of_layers.get(str(places[0])) for place in places):
                raise ValueError(f"layers of the type {kind!r} differ in per_layer_config")
        return self


class _AudioTower(FileRules):
    """It is loaded and not used."""

    hidden_size: Size
    num_hidden_layers: Layers
    num_attention_heads: Size
    output_proj_dims: Size
    dtype: Dtype | None = None


class _Vision(FileRules):
    model_type: Literal["gemma4_vision"]
    hidden_size: Size
    intermediate_size: Size
    num_hidden_layers: Layers
    num_attention_heads: Size
    num_key_value_heads: Size
    head_dim: Size
    patch_size: Size
    pooling_kernel_size: Annotated[int, Field(ge=1, le=64)]
    position_embedding_size: Size
    rms_norm_eps: Epsilon
    rope_parameters: _Rope
    hidden_activation: Activation
    attention_bias: bool = False
    standardize: bool
    use_clipped_linears: bool
    dtype: Dtype | None = None


class _UnifiedVision(FileRules):
    model_type: Literal["gemma4_unified_vision"]
    mm_embed_dim: Size
    mm_posemb_size: Size
    model_patch_size: Size
    output_proj_dims: Size
    patch_size: Size
    pooling_kernel_size: Annotated[int, Field(ge=1, le=64)]
    rms_norm_eps: Epsilon
    dtype: Dtype | None = None


class _Config(FileRules):
    text_config: _Text
    image_token_id: TokenId
    boi_token_id: TokenId
    eoi_token_id: TokenId
    tie_word_embeddings: bool = True
    dtype: Dtype | None = None


class Gemma4ConfigRules(_Config):
    """Of config.json of all variants but the 12B."""

    vision_config: _Vision
    audio_config: _AudioTower | None = None


class Gemma4UnifiedConfigRules(_Config):
    """Of config.json of the 12B, which has no vision tower."""

    vision_config: _UnifiedVision


class GenerationConfigRules(FileRules):
    """Of generation_config.json, which says how to draw tokens and where a reply ends."""

    eos_token_id: TokenId | list[TokenId] | None = None
    bos_token_id: TokenId | None = None
    pad_token_id: TokenId | None = None
    do_sample: bool | None = None
    temperature: Annotated[float, Field(gt=0, le=100)] | None = None
    top_k: Annotated[int, Field(ge=0, le=1 << 24)] | None = None
    top_p: Annotated[float, Field(gt=0, le=1)] | None = None
    repetition_penalty: Annotated[float, Field(ge=0.1, le=10)] | None = None
