"""What is known of a model before its server is started is what its files say."""

import json
from pathlib import Path

import pytest

from gemma4_block.catalogue import VARIANTS, Variant
from gemma4_block.errors import CheckpointError, ConfigurationError
from gemma4_block.vllm_server import ServedModel, find_served_model

CONFIGS = Path(__file__).parents[1] / "engine" / "configs"
DEMO = next(variant.directory for variant in VARIANTS if variant.model_id == "gemma-4-demo")
TEXT = {"num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 4096}
CONFIG = {"model_type": "gemma4", "text_config": TEXT}


def make_directory(path: Path, config: object) -> Path:
    """Write a directory of a config and 12 bytes of weights."""
    path.mkdir()
    (path / "config.json").write_text(json.dumps(config))
    (path / "model-00001-of-00002.safetensors").write_bytes(b"12345")
    (path / "model-00002-of-00002.safetensors").write_bytes(b"1234567")
    return path


@pytest.mark.parametrize("variant", [one for one in VARIANTS if one.hub_id], ids=lambda one: one.model_id)
def test_heads_and_length_are_those_of_the_config(variant: Variant, tmp_path: Path) -> None:
    """Of each published size."""
    model_id = variant.model_id
    config = json.loads((CONFIGS / f"{model_id}.config.json").read_text(encoding="utf-8"))
    known, read = find_served_model(model_id), find_served_model(str(make_directory(tmp_path / "a", config)))

    assert (known.heads, known.context_tokens) == (read.heads, read.context_tokens)


def test_a_directory_is_read(tmp_path: Path) -> None:
    """Its name is the id."""
    config = CONFIG | {"text_config": TEXT | {"num_global_key_value_heads": 1}}
    model = find_served_model(str(make_directory(tmp_path / "plates", config)))

    assert (model.model_id, model.source) == ("plates", str(tmp_path / "plates"))
    assert (model.heads.query, model.heads.key_value) == (4, (2, 1))
    assert (model.context_tokens, model.weights_bytes) == (4096, 12)


def test_the_embedded_model_has_its_directory() -> None:
    """It is served from the package."""
    model: ServedModel = find_served_model("gemma-4-demo")

    assert (model.model_id, model.source) == ("gemma-4-demo", str(DEMO))
    assert (model.heads.query, model.context_tokens) == (4, 8192)


@pytest.mark.parametrize(
    ("config", "words"),
    [
        pytest.param({"model_type": "llama", "text_config": TEXT}, "its model_type is not", id="family"),
        pytest.param({"model_type": "gemma4"}, "its text_config is not", id="no text"),
        pytest.param(
            CONFIG | {"text_config": TEXT | {"num_attention_heads": 0}},
            "its text_config.num_attention_heads is not",
            id="no heads",
        ),
    ],
)
def test_a_directory_of_another_model_is_refused(tmp_path: Path, config: object, words: str) -> None:
    """With the place in its config."""
    with pytest.raises(CheckpointError, match=words):
        find_served_model(str(make_directory(tmp_path / "a", config)))


def test_a_directory_without_weights_is_refused(tmp_path: Path) -> None:
    """Also one without a config, such as an adapter's."""
    with pytest.raises(CheckpointError, match="an adapter goes into --lora"):
        find_served_model(str(tmp_path))
    (tmp_path / "config.json").write_text(json.dumps(CONFIG))
    with pytest.raises(CheckpointError, match="has no weights"):
        find_served_model(str(tmp_path))


def test_what_is_neither_id_nor_directory_is_refused() -> None:
    """With the ids."""
    with pytest.raises(ConfigurationError, match=r'MODEL is "nowhere", .* gemma-4-e2b-it, '):
        find_served_model("nowhere")
