"""Random checkpoints, written the way Google's repositories are: miniatures, and one of E2B's width.

Configs are Google's own with smaller numbers, so every switch that this room's code may meet is as released.
"""

import json
import shutil
from pathlib import Path
from typing import Any, Literal

import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import (
    AutoModelForMultimodalLM,
    Gemma4Config,
    Gemma4ForConditionalGeneration,
    Gemma4UnifiedConfig,
    Gemma4UnifiedForConditionalGeneration,
    GemmaTokenizer,
    PreTrainedModel,
)

import gemma4_block.demo

Shape = Literal["e2b", "12b", "26b-a4b", "31b", "e2b-width"]
"""`12b` has no tower. `e2b-width` is for timing: E2B's widths and its whole tower, with 7 text layers and a
small vocabulary."""

CONFIGS = Path(__file__).parent / "engine" / "configs"
EMPTY_THOUGHT = "<|channel>thought\n<channel|>"
SLIDING_WINDOW = 32
VOCAB_SIZE = 1536
# What build_tokenizer of the demo made; training it anew takes longer than all the rest.
_DEMO_CHECKPOINT = Path(gemma4_block.demo.__file__).parent / "checkpoint"

# Only the language model: the towers' linears are wrapped and PEFT cannot adapt them.
_ADAPTED_MODULES = r".*language_model.*\.(q_proj|up_proj)"

_TOKENS = {
    "image_token_id": "<|image|>",
    "boi_token_id": "<|image>",
    "eoi_token_id": "<image|>",
    "audio_token_id": "<|audio|>",
    "boa_token_id": "<|audio>",
    "eoa_token_id": "<audio|>",
    "eoa_token_index": "<audio|>",
    "video_token_id": "<|video|>",
}
_SMALL_TEXT = {
    "vocab_size": VOCAB_SIZE,
    "vocab_size_per_layer_input": VOCAB_SIZE,
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_attention_heads": 4,
    "head_dim": 16,
    "global_head_dim": 32,
    # Shorter than an image's tokens, so that windows and image blocks get in each other's way.
    "sliding_window": SLIDING_WINDOW,
    "max_position_embeddings": 8192,
}
_SMALL_VISION = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "global_head_dim": 16,
    # The longest side that a budget of 1120 allows, in patches.
    "position_embedding_size": 1120 * 3,
}
# Its patches go into the language model through one layer.
_SMALL_VISION_12B = {"mm_embed_dim": 64, "output_proj_dims": 64}
_SMALL_AUDIO = {
    "hidden_size": 32,
    "num_attention_heads": 2,
    "num_hidden_layers": 1,
    "output_proj_dims": 48,
    "subsampling_conv_channels": [8, 4],
}
_S, _F = "sliding_attention", "full_attention"
_TEXT_OF_SHAPE: dict[Shape, dict[str, Any]] = {
    # The upper block shares the keys and values of the lower one, and its MLPs are twice as wide.
    "e2b": {
        "layer_types": [_S, _S, _S, _S, _F] * 2,
        "num_kv_shared_layers": 5,
        "num_key_value_heads": 1,
        "hidden_size_per_layer_input": 16,
    },
    "12b": {
        "layer_types": [_S, _S, _S, _S, _S, _F],
        "num_key_value_heads": 2,
        "num_global_key_value_heads": 1,
    },
    "26b-a4b": {
        "layer_types": [_S, _S, _S, _S, _S, _F],
        "num_key_value_heads": 2,
        "num_global_key_value_heads": 1,
        "num_experts": 8,
        "top_k_experts": 2,
        "moe_intermediate_size": 32,
    },
    "31b": {
        "layer_types": [_S, _S, _S, _S, _S, _F],
        "num_key_value_heads": 2,
        "num_global_key_value_heads": 1,
    },
    # 4 of 7 layers share keys and values, as 20 of 35 do in E2B.
    "e2b-width": {
        "layer_types": [_S, _S, _F, _S, _S, _S, _F],
        "num_kv_shared_layers": 4,
        "vocab_size": 32 * 1024,
        "vocab_size_per_layer_input": 32 * 1024,
    },
}


def build_miniature(
    shape: Shape, directory: Path, *, seed: int = 0, dtype: torch.dtype = torch.float32
) -> Path:
    """Write a miniature checkpoint and return its directory.

    The E2B shape has an audio tower, as the original does.

    Args:
        shape: Whose architecture.
        directory: Is made, with its parents; must not hold a checkpoint yet.
        seed: Of the weights.
        dtype: Of the weights.

    """
    directory.mkdir(parents=True, exist_ok=True)
    tokenizer = GemmaTokenizer.from_pretrained(_DEMO_CHECKPOINT)
    config = _small_config(shape, tokenizer, dtype)
    if shape == "12b":
        model = Gemma4UnifiedForConditionalGeneration(Gemma4UnifiedConfig.from_dict(config))
    else:
        model = Gemma4ForConditionalGeneration(Gemma4Config.from_dict(config))
    _fill(model, torch.Generator().manual_seed(seed))
    model.to(dtype).save_pretrained(directory)
    _add_redundant_tensors(directory / "model.safetensors", model)
    # transformers saves configs in a newer form than Google's repositories have.
    _write_json(directory / "config.json", config)
    template = tokenizer.chat_template
    tokenizer.chat_template = None
    tokenizer.save_pretrained(directory)
    if not shape.startswith("e2b"):
        template += (
            "{%- if add_generation_prompt and not thinking -%}"
            "{{- '<|channel>thought\\n<channel|>' -}}"
            "{%- endif -%}\n"
        )
    (directory / "chat_template.jinja").write_text(template, encoding="utf-8")
    shutil.copyfile(CONFIGS / "gemma-4.generation_config.json", directory / "generation_config.json")
    processors = (CONFIGS / "gemma-4.processor_config.json").read_text(encoding="utf-8")
    if shape == "12b":
        processors = processors.replace('"Gemma4', '"Gemma4Unified')
    (directory / "processor_config.json").write_text(processors, encoding="utf-8")
    return directory


def build_adapter(base_directory: Path, directory: Path, *, seed: int = 0) -> Path:
    """Write a LoRA checkpoint and return its directory: adapter files beside a copy of the base in `base/`.

    The adapter is strong enough to change answers.

    Args:
        base_directory: A miniature.
        directory: Is made, with its parents.
        seed: Of the adapter's weights.

    """
    shutil.copytree(base_directory, directory / "base")
    return save_adapter(directory / "base", directory, seed=seed)


def save_adapter(
    base_directory: Path,
    directory: Path,
    *,
    seed: int = 0,
    base_name: str | None = None,
    **options: Any,  # noqa: ANN401 - of LoraConfig
) -> Path:
    """Write what peft writes after a training, and return its directory: an adapter's files, without a base.

    Args:
        base_directory: A miniature.
        directory: Gets the files.
        seed: Of the adapter's weights, which are strong enough to change answers.
        base_name: What the adapter calls its base; None means the path of `base_directory`.
        **options: Of the LoRA, in the place of those of `build_adapter`.

    """
    model = AutoModelForMultimodalLM.from_pretrained(base_directory, dtype="float32")
    options = {
        "r": 4,
        "lora_alpha": 8,
        "target_modules": _ADAPTED_MODULES,
        "task_type": "CAUSAL_LM",
    } | options
    adapted = get_peft_model(model, LoraConfig(**options))
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in adapted.named_parameters():
            if "lora_" in name and parameter.ndim > 1:
                drawn = torch.randn(parameter.shape, generator=generator) * parameter.shape[1] ** -0.5
                parameter.copy_(drawn)
            elif "lora_" in name or "modules_to_save" in name:
                parameter.mul_(torch.rand(parameter.shape, generator=generator) + 0.5)
    adapted.save_pretrained(directory)
    if base_name is not None:
        path = directory / "adapter_config.json"
        content = json.loads(path.read_text(encoding="utf-8"))
        _write_json(path, content | {"base_model_name_or_path": base_name})
    return directory


def _small_config(shape: Shape, tokenizer: GemmaTokenizer, dtype: torch.dtype) -> dict[str, Any]:
    path = CONFIGS / f"gemma-4-{shape.removesuffix('-width')}-it.config.json"
    config: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    is_small = not shape.endswith("-width")
    config["text_config"] |= (_SMALL_TEXT if is_small else {}) | _TEXT_OF_SHAPE[shape]
    config["text_config"]["num_hidden_layers"] = len(config["text_config"]["layer_types"])
    has_tower = shape != "12b"
    if is_small:
        config["vision_config"] |= _SMALL_VISION if has_tower else _SMALL_VISION_12B
    if config["audio_config"] is not None and has_tower:
        config["audio_config"] |= _SMALL_AUDIO
    config |= {key: tokenizer.convert_tokens_to_ids(token) for key, token in _TOKENS.items()}
    for part in (config, config["text_config"], config["vision_config"], config["audio_config"] or {}):
        part["dtype"] = str(dtype).removeprefix("torch.")
    return config


@torch.no_grad()
def _fill(model: PreTrainedModel, generator: torch.Generator) -> None:
    """Draw weights that matter everywhere and whose logits are well apart in float32."""
    for name, parameter in model.named_parameters():
        _draw(name, parameter, generator)
    for name, buffer in model.named_buffers():
        if name.endswith(("layer_scalar", "std_scale")):
            _uniform(buffer, 0.5, 1.0, generator)
        elif name.endswith("std_bias"):
            _uniform(buffer, -0.1, 0.1, generator)
        elif name.endswith(("input_min", "output_min")):
            # Tight enough to clip some values: a loader that forgets the bounds gives other answers.
            _uniform(buffer, -2.0, -1.5, generator)
        elif name.endswith(("input_max", "output_max")):
            _uniform(buffer, 1.5, 2.0, generator)


def _draw(name: str, parameter: torch.Tensor, generator: torch.Generator) -> None:
    if name.endswith(("q_norm.weight", "k_norm.weight")):
        # Attention scores are not divided by the root of the head size; weights of 1 would amplify noise.
        parameter.fill_((2 / parameter.shape[0] ** 0.5) ** 0.5)
    elif name.endswith("language_model.norm.weight"):
        _uniform(parameter, 3.0, 4.0, generator)
    elif parameter.ndim == 1:
        _uniform(parameter, 0.7, 1.3, generator)
    elif "embed_tokens" in name:
        # Small beside what the layers add, or the tied head repeats the last token.
        parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.1)
    else:
        parameter.copy_(torch.randn(parameter.shape, generator=generator) * parameter[0].numel() ** -0.5)


def _uniform(tensor: torch.Tensor, low: float, high: float, generator: torch.Generator) -> None:
    tensor.copy_(torch.rand(tensor.shape, generator=generator) * (high - low) + low)


def _add_redundant_tensors(path: Path, model: PreTrainedModel) -> None:
    """Add keys' and values' weights to layers that never use them, as Google's E2B and E4B files do."""
    text = model.config.text_config
    first_shared = text.num_hidden_layers - text.num_kv_shared_layers
    tensors = load_file(path)
    for shared in range(first_shared, text.num_hidden_layers):
        source = text.layer_types.index(text.layer_types[shared])
        for part in ("k_proj", "v_proj", "k_norm"):
            name = "model.language_model.layers.{}.self_attn." + part + ".weight"
            tensors[name.format(shared)] = tensors[name.format(source)].clone()
    save_file(tensors, path, metadata={"format": "pt"})


def _write_json(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
