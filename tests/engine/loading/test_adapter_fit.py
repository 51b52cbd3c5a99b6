"""Whether an adapter fits its base is said from files alone, and the first thing that does not is named."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from gemma4_block.engine.loading import read_adapter
from gemma4_block.errors import CheckpointError
from tests.miniatures import build_miniature, save_adapter

TEXT = r".*language_model.*\.(q_proj|up_proj)"
FIRST = "base_model.model.model.language_model.layers.0."
CLIPPED = "base_model.model.model.vision_tower.encoder.layers.0.self_attn.q_proj.lora_A.weight"

Tensors = dict[str, torch.Tensor]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base with clipped layers in its tower."""
    return build_miniature("e2b", tmp_path_factory.mktemp("base") / "e2b")


@pytest.fixture
def adapter(base: Path, tmp_path: Path) -> Path:
    """An adapter that fits."""
    return save_adapter(base, tmp_path, target_modules=TEXT)


def edit_config(**changes: object) -> Callable[[Path], None]:
    """Change values of adapter_config.json."""

    def edit(adapter: Path) -> None:
        path = adapter / "adapter_config.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | changes), encoding="utf-8")

    return edit


def edit_tensors(change: Callable[[Tensors], Tensors]) -> Callable[[Path], None]:
    """Change the tensors of an adapter's file."""

    def edit(adapter: Path) -> None:
        path = adapter / "adapter_model.safetensors"
        save_file(change(load_file(path)), path, metadata={"format": "pt"})

    return edit


def rename(old: str, new: str) -> Callable[[Path], None]:
    """Rename tensors."""
    return edit_tensors(lambda tensors: {name.replace(old, new): one for name, one in tensors.items()})


REFUSED: dict[str, tuple[Callable[[Path], object], tuple[str, ...]]] = {
    "of a wider base": (
        edit_tensors(lambda tensors: {name: one.repeat(1, 2) for name, one in tensors.items()}),
        (f"'{FIRST}mlp.up_proj.lora_A.weight' is (4, 128) where (4, 64) is asked for", "another base"),
    ),
    "of a deeper base": (
        rename("layers.9.", "layers.40."),
        ("'base_model.model.model.language_model.layers.40.mlp.up_proj.lora_A.weight' (4, 64) has no place",),
    ),
    "of the text model alone": (
        rename("model.language_model.layers", "model.layers"),
        (f"lacks '{FIRST}mlp.up_proj.lora_A.weight' (4, 64)", "target_modules", "the base that it was"),
    ),
    "of another rank": (
        edit_config(r=8),
        (f"'{FIRST}mlp.up_proj.lora_A.weight' has rank 4 where r and rank_pattern", "say 8"),
    ),
    "with half of its tensors": (
        edit_tensors(lambda tensors: {name: one for name, one in tensors.items() if "up_proj" not in name}),
        (f"lacks '{FIRST}mlp.up_proj.lora_A.weight'", "Save the adapter again"),
    ),
    "with no tensors": (edit_tensors(lambda _: {}), ("holds no tensors",)),
    "on the layers that clip": (
        edit_tensors(lambda tensors: tensors | {CLIPPED: torch.zeros(4, 32)}),
        ("vision_tower.encoder.layers.0.self_attn.q_proj.lora_A.weight'", "q_proj.linear"),
    ),
    "on nothing": (
        edit_config(target_modules=["nothing"]),
        ("target_modules {'nothing'}", "means nothing in"),
    ),
    "on layers that clip and nothing else": (
        edit_config(target_modules=r".*vision_tower.*\.q_proj"),
        ("only layers that clip", "q_proj.linear"),
    ),
    "on the vocabulary": (
        edit_config(target_modules=["embed_tokens"]),
        ("'model.language_model.embed_tokens'", "a table of the whole vocabulary"),
    ),
    "with a vocabulary of its own": (
        edit_config(modules_to_save=["lm_head"]),
        ("'lm_head'", "Leave it out of target_modules and modules_to_save"),
    ),
    "with biases of the base": (
        edit_tensors(lambda tensors: tensors | {f"{FIRST}mlp.up_proj.base_layer.bias": torch.zeros(128)}),
        ("is a bias of the base", "other adapters share", "bias 'none'"),
    ),
    "that changes its base": (
        edit_config(init_lora_weights="pissa"),
        ("init_lora_weights", "changes the base", "path_initial_model_for_weight_conversion"),
    ),
    "of experts": (
        edit_config(target_parameters=["experts.gate_up_proj"]),
        ("target_parameters", "does not run it", "merge"),
    ),
    "that is invoked": (edit_config(alora_invocation_tokens=[5, 6]), ("alora_invocation_tokens",)),
    "of another method": (edit_config(peft_type="IA3"), ("peft_type is 'IA3'", "LORA")),
    "of no rank": (edit_config(r=0), ("r is 0", "greater than or equal to 1")),
    "without its weights": (
        lambda adapter: (adapter / "adapter_model.safetensors").unlink(),
        ("adapter_model.safetensors cannot be read", "Finish the copy"),
    ),
    "with damaged weights": (
        lambda adapter: (adapter / "adapter_model.safetensors").write_bytes(b"weights"),
        ("adapter_model.safetensors cannot be used",),
    ),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_an_adapter_that_does_not_fit_is_refused_by_file_and_name(
    kind: str, adapter: Path, base: Path
) -> None:
    """The message says what was given, what is asked for, and what to do."""
    damage, words = REFUSED[kind]
    damage(adapter)
    with pytest.raises(CheckpointError) as caught:
        read_adapter(adapter, base)
    assert [word for word in words if word not in str(caught.value)] == []
    assert str(adapter) in str(caught.value)


def test_weights_are_not_read_for_the_answer(adapter: Path, base: Path) -> None:
    """The base may lack its weights: nothing but its config is looked at."""
    alone = adapter / "alone"
    alone.mkdir()
    (alone / "config.json").write_bytes((base / "config.json").read_bytes())
    assert read_adapter(adapter, alone).is_per_row


def test_plain_names_mean_the_layers_that_peft_can_adapt(adapter: Path, base: Path) -> None:
    """`q_proj` also names layers of the towers that clip; an adapter of the text alone loads all the same."""
    edit_config(target_modules=["q_proj", "up_proj"])(adapter)
    found = read_adapter(adapter, base)
    assert isinstance(found.config.target_modules, list)
    assert found.config.target_modules[:2] == [
        "model.language_model.layers.0.mlp.up_proj",
        "model.language_model.layers.0.self_attn.q_proj",
    ]


def test_files_of_pickle_are_read_too(adapter: Path, base: Path) -> None:
    """An older peft wrote adapter_model.bin."""
    path = adapter / "adapter_model.safetensors"
    torch.save(load_file(path), adapter / "adapter_model.bin")
    path.unlink()
    assert read_adapter(adapter, base).is_per_row


@pytest.mark.parametrize(
    ("options", "sees_otherwise", "is_per_row"),
    [
        pytest.param({"target_modules": TEXT}, False, True, id="text"),
        pytest.param({"target_modules": TEXT, "use_dora": True}, False, False, id="dora"),
        pytest.param({"target_modules": ["q_proj.linear"]}, True, True, id="tower"),
        pytest.param({"target_modules": r".*audio_tower.*q_proj\.linear"}, False, True, id="audio"),
        pytest.param(
            {"target_modules": ["per_layer_model_projection"]}, False, False, id="beside the layers"
        ),
        pytest.param(
            {"target_modules": TEXT, "modules_to_save": ["embedding_projection"]}, True, True, id="projector"
        ),
        pytest.param(
            {"target_modules": TEXT, "modules_to_save": ["post_attention_layernorm"]}, True, False, id="norms"
        ),
    ],
)
def test_what_an_adapter_changes_is_known_from_its_names(
    options: dict[str, Any], base: Path, tmp_path: Path, *, sees_otherwise: bool, is_per_row: bool
) -> None:
    """Whether it sees images otherwise than the base, and whether it can share a pass."""
    found = read_adapter(save_adapter(base, tmp_path, **options), base)
    assert (found.changes_vision, found.is_per_row) == (sees_otherwise, is_per_row)


def test_what_was_found_out_is_forgotten_where_a_file_changes(adapter: Path, base: Path) -> None:
    """An adapter that was mended is looked at again, and one that was damaged too."""
    assert read_adapter(adapter, base) is read_adapter(adapter, base)
    edit_config(r=8)(adapter)
    with pytest.raises(CheckpointError, match="rank"):
        read_adapter(adapter, base)
