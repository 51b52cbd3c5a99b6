"""The shipped demo checkpoint: its files, its architecture and its tokens."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoProcessor

import gemma4_block.demo
from gemma4_block.demo.training.learning.architecture import build_config

CHECKPOINT_DIRECTORY = Path(gemma4_block.demo.__file__).parent / "checkpoint"


@pytest.fixture(scope="module")
def processor() -> Any:  # noqa: ANN401 - transformers' processors share no useful type
    """Load the processor as the engine does."""
    return AutoProcessor.from_pretrained(CHECKPOINT_DIRECTORY, local_files_only=True)


@pytest.fixture(scope="module")
def tensors() -> dict[str, torch.Tensor]:
    """Read the weights by name."""
    return load_file(CHECKPOINT_DIRECTORY / "model.safetensors")


def test_the_files_are_those_of_a_hugging_face_checkpoint() -> None:
    """Nothing is missing, and but for the host's model_config.json nothing else is shipped."""
    assert sorted(path.name for path in CHECKPOINT_DIRECTORY.iterdir()) == [
        "chat_template.jinja",
        "config.json",
        "generation_config.json",
        "model.safetensors",
        "model_config.json",
        "processor_config.json",
        "tokenizer.json",
        "tokenizer_config.json",
    ]


def test_it_is_small_enough_to_ship() -> None:
    """All files together take at most 12 MB."""
    assert sum(path.stat().st_size for path in CHECKPOINT_DIRECTORY.iterdir()) <= 12_000_000


def test_the_config_has_the_features_of_the_small_gemma_4_models() -> None:
    """Per-layer embeddings, shared keys and values, sliding and full layers, clipped linears, soft cap."""
    config = json.loads((CHECKPOINT_DIRECTORY / "config.json").read_text(encoding="utf-8"))
    text, vision = config["text_config"], config["vision_config"]
    assert config["model_type"] == "gemma4"
    assert config["architectures"] == ["Gemma4ForConditionalGeneration"]
    assert config["dtype"] == "bfloat16"
    assert text["hidden_size_per_layer_input"] == 16
    assert text["num_kv_shared_layers"] == 3
    assert text["layer_types"] == ["sliding_attention", "sliding_attention", "full_attention"] * 3
    assert text["final_logit_softcapping"] == 30.0
    assert text["head_dim"] == 32
    assert text["per_layer_config"] == {layer: {"head_dim": 64} for layer in ("2", "5", "8")}
    assert text["rope_parameters"]["full_attention"]["rope_type"] == "proportional"
    assert vision["use_clipped_linears"] is True
    assert config["trained_image_seq_lengths"] == [70, 140, 280]


def test_the_config_is_what_the_trainer_builds() -> None:
    """The shipped file and `build_config` describe one architecture."""
    shipped = json.loads((CHECKPOINT_DIRECTORY / "config.json").read_text(encoding="utf-8"))
    built = build_config().to_dict()
    for part in ("text_config", "vision_config"):
        assert {key: shipped[part][key] for key in shipped[part] if key != "dtype"} == {
            key: json.loads(json.dumps(built[part].get(key))) for key in shipped[part] if key != "dtype"
        }


def test_the_weights_are_bfloat16_and_finite(tensors: dict[str, torch.Tensor]) -> None:
    """Every tensor that is no clamp holds numbers."""
    assert {tensor.dtype for tensor in tensors.values()} == {torch.bfloat16}
    assert all(
        bool(tensor.isfinite().all())
        for name, tensor in tensors.items()
        if not name.endswith(("_min", "_max"))
    )


def test_the_tower_clamps_with_finite_bounds(tensors: dict[str, torch.Tensor]) -> None:
    """Each of the 42 linear layers of the tower has four measured bounds, as in Google's checkpoints."""
    bounds = [tensor for name, tensor in tensors.items() if name.endswith(("_min", "_max"))]
    assert len(bounds) == 4 * 42
    assert all(bool(bound.isfinite()) for bound in bounds)


def test_token_ids_are_those_of_google(processor: Any) -> None:  # noqa: ANN401
    """Control tokens have Google's ids; image tokens follow the newline."""
    tokens = {
        "<pad>": 0,
        "<eos>": 1,
        "<bos>": 2,
        "<|think|>": 98,
        "<|channel>": 100,
        "<channel|>": 101,
        "<|turn>": 105,
        "<turn|>": 106,
        "\n": 107,
        "<|image>": 108,
        "<|image|>": 109,
        "<image|>": 110,
    }
    assert {token: processor.tokenizer.convert_tokens_to_ids(token) for token in tokens} == tokens
    assert processor.image_token_id == 109


def test_generation_ends_where_google_ends_it() -> None:
    """A turn, a text and a tool's response end an answer."""
    generation = json.loads((CHECKPOINT_DIRECTORY / "generation_config.json").read_text(encoding="utf-8"))
    assert generation["eos_token_id"] == [1, 106, 50]


def test_digits_are_single_tokens(processor: Any) -> None:  # noqa: ANN401
    """A coordinate of three digits is three tokens, as in Google's tokenizer."""
    assert processor.tokenizer.tokenize("480") == ["4", "8", "0"]


@pytest.mark.parametrize("text", ["größer 🙂 漢字", "a\n\n b\tc", '[{"box_2d": [20, 40, 60, 80]}]'])
def test_any_text_survives_the_tokenizer(processor: Any, text: str) -> None:  # noqa: ANN401
    """Bytes stand in for characters that the vocabulary lacks."""
    tokenizer = processor.tokenizer
    assert tokenizer.decode(tokenizer.encode(text, add_special_tokens=False)) == text


SYSTEM = {"role": "system", "content": [{"type": "text", "text": "S"}]}
QUESTION = {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "T"}]}


@pytest.mark.parametrize(
    ("messages", "enable_thinking", "expected"),
    [
        pytest.param(
            [SYSTEM, QUESTION],
            False,
            "<bos><|turn>system\nS<turn|>\n<|turn>user\n<|image|>T<turn|>\n<|turn>model\n",
            id="system, image and text",
        ),
        pytest.param(
            [SYSTEM, QUESTION],
            True,
            "<bos><|turn>system\n<|think|>\nS<turn|>\n<|turn>user\n<|image|>T<turn|>\n<|turn>model\n",
            id="thinking on",
        ),
        pytest.param(
            [QUESTION],
            True,
            "<bos><|turn>system\n<|think|>\n<turn|>\n<|turn>user\n<|image|>T<turn|>\n<|turn>model\n",
            id="no system, thinking on",
        ),
        pytest.param(
            [QUESTION],
            False,
            "<bos><|turn>user\n<|image|>T<turn|>\n<|turn>model\n",
            id="no system, thinking off",
        ),
        pytest.param(
            [
                {"role": "user", "content": "A"},
                {"role": "assistant", "content": "B"},
                {"role": "user", "content": " C "},
            ],
            False,
            "<bos><|turn>user\nA<turn|>\n<|turn>model\nB<turn|>\n<|turn>user\nC<turn|>\n<|turn>model\n",
            id="many turns",
        ),
        pytest.param(
            [{"role": "developer", "content": "S"}, {"role": "user", "content": "T"}],
            False,
            "<bos><|turn>system\nS<turn|>\n<|turn>user\nT<turn|>\n<|turn>model\n",
            id="developer is the system",
        ),
    ],
)
def test_the_template_renders_as_that_of_the_small_models(
    processor: Any,  # noqa: ANN401
    messages: list[dict[str, object]],
    enable_thinking: bool,  # noqa: FBT001 - a column of the table
    expected: str,
) -> None:
    """Strings are those of Google's template for E2B and E4B."""
    rendered = processor.apply_chat_template(
        messages, tokenize=False, add_generation_prompt=True, enable_thinking=enable_thinking
    )
    assert rendered == expected
