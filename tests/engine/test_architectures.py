"""What is built is what Google released, and what the miniatures write is read whole."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from transformers import CONFIG_MAPPING, AutoModelForMultimodalLM, AutoProcessor, PreTrainedConfig

from gemma4_block.catalogue import VARIANTS, Variant, find_variant
from gemma4_block.engine.loading import LoadOptions, load_checkpoint
from tests.miniatures import CONFIGS, Shape, build_adapter, build_miniature

SHAPES: tuple[Shape, ...] = ("e2b", "26b-a4b", "31b")
RELEASED = [variant for variant in VARIANTS if variant.hub_id is not None]


def _count_parameters(config: PreTrainedConfig) -> int:
    with torch.device("meta"):
        model = AutoModelForMultimodalLM.from_config(config)
    return sum(parameter.numel() for parameter in model.parameters())


@pytest.fixture(scope="module", params=SHAPES)
def miniature(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A miniature of each shape."""
    return build_miniature(request.param, tmp_path_factory.mktemp("miniature") / request.param)


@pytest.fixture(scope="module")
def e2b(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The miniature with KV-shared layers."""
    return build_miniature("e2b", tmp_path_factory.mktemp("miniature") / "e2b")


@pytest.mark.parametrize(
    ("model_id", "expected"),
    [
        ("gemma-4-e2b-it", 5_104_297_504),
        ("gemma-4-e4b-it", 7_941_100_832),
        ("gemma-4-12b-it", 11_959_730_176),
        ("gemma-4-26b-a4b-it", 25_805_933_872),
        ("gemma-4-31b-it", 31_273_086_512),
    ],
)
def test_a_released_config_builds_the_released_model(model_id: str, expected: int) -> None:
    """This transformers builds each variant with as many parameters as Google's files hold."""
    values = json.loads((CONFIGS / f"{model_id}.config.json").read_text(encoding="utf-8"))
    config = CONFIG_MAPPING[values["model_type"]].from_dict(values)
    assert expected == _count_parameters(config)
    variant = find_variant(model_id)
    assert variant is not None
    assert expected == variant.parameters


def test_the_catalogue_counts_the_embedded_model_right() -> None:
    """The demo's figure is that of the config it is shipped with."""
    variant = find_variant("gemma-4-demo")
    assert variant is not None
    assert variant.directory is not None
    values = json.loads((variant.directory / "config.json").read_text(encoding="utf-8"))
    assert _count_parameters(CONFIG_MAPPING[values["model_type"]].from_dict(values)) == variant.parameters


@pytest.mark.parametrize("variant", RELEASED, ids=lambda variant: variant.model_id)
def test_the_catalogue_gives_the_context_of_the_config(variant: Variant) -> None:
    """The longest prompt that people read about is the one the model has positions for."""
    values = json.loads((CONFIGS / f"{variant.model_id}.config.json").read_text(encoding="utf-8"))
    assert values["text_config"]["max_position_embeddings"] == variant.context_tokens


def test_a_miniature_loads_whole(miniature: Path) -> None:
    """No tensor of the file is left over and none of the model is missing."""
    _, report = AutoModelForMultimodalLM.from_pretrained(miniature, output_loading_info=True)
    assert (set(), set(), set()) == (
        set(report["missing_keys"]),
        set(report["unexpected_keys"]),
        set(report["mismatched_keys"]),
    )


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        (
            "e2b",
            {
                "use_bidirectional_attention": None,
                "attention_k_eq_v": False,
                "enable_moe_block": False,
                "use_double_wide_mlp": True,
                "num_kv_shared_layers": 5,
                "hidden_size_per_layer_input": 16,
                "standardize": False,
                "use_clipped_linears": True,
                "has_audio": True,
            },
        ),
        (
            "26b-a4b",
            {
                "use_bidirectional_attention": "vision",
                "attention_k_eq_v": True,
                "enable_moe_block": True,
                "use_double_wide_mlp": False,
                "num_kv_shared_layers": 0,
                "hidden_size_per_layer_input": 0,
                "standardize": True,
                "use_clipped_linears": False,
                "has_audio": False,
            },
        ),
        (
            "31b",
            {
                "use_bidirectional_attention": "vision",
                "attention_k_eq_v": True,
                "enable_moe_block": False,
                "use_double_wide_mlp": False,
                "num_kv_shared_layers": 0,
                "hidden_size_per_layer_input": 0,
                "standardize": True,
                "use_clipped_linears": False,
                "has_audio": False,
            },
        ),
    ],
    ids=SHAPES,
)
def test_a_miniature_has_the_switches_of_its_original(
    shape: Shape, expected: dict[str, Any], tmp_path: Path
) -> None:
    """Small numbers do not turn off what makes the architecture special."""
    values = json.loads((build_miniature(shape, tmp_path) / "config.json").read_text(encoding="utf-8"))
    switches = values["text_config"] | values["vision_config"] | {"has_audio": bool(values["audio_config"])}
    assert expected == {name: switches[name] for name in expected}


def test_the_e2b_file_holds_tensors_that_the_model_does_not_use(e2b: Path) -> None:
    """Google's file has k_proj, v_proj and k_norm in the KV-shared layers; the model has not."""
    model = AutoModelForMultimodalLM.from_pretrained(e2b)
    with safe_open(e2b / "model.safetensors", "pt") as weights:
        redundant = set(weights.keys()) - set(model.state_dict())
    assert redundant == {
        f"model.language_model.layers.{layer}.self_attn.{part}.weight"
        for layer in (5, 6, 7, 8, 9)
        for part in ("k_proj", "v_proj", "k_norm")
    }


def test_only_the_generation_config_names_all_stop_ids(miniature: Path) -> None:
    """Like the originals: the tokenizer ends at `<eos>`, the config at two ids, generation at three."""
    generation = json.loads((miniature / "generation_config.json").read_text(encoding="utf-8"))
    config = json.loads((miniature / "config.json").read_text(encoding="utf-8"))
    tokenizer = AutoProcessor.from_pretrained(miniature).tokenizer
    assert generation["eos_token_id"] == [1, 106, 50]
    assert config["eos_token_id"] == [1, 106]
    assert tokenizer.eos_token_id == 1


@pytest.mark.parametrize(
    ("shape", "enable_thinking", "expected"),
    [
        ("e2b", False, "<bos><|turn>user\nHi<turn|>\n<|turn>model\n"),
        ("e2b", True, "<bos><|turn>system\n<|think|>\n<turn|>\n<|turn>user\nHi<turn|>\n<|turn>model\n"),
        ("31b", False, "<bos><|turn>user\nHi<turn|>\n<|turn>model\n<|channel>thought\n<channel|>"),
        ("31b", True, "<bos><|turn>system\n<|think|>\n<turn|>\n<|turn>user\nHi<turn|>\n<|turn>model\n"),
    ],
)
def test_the_large_shapes_answer_after_an_empty_thought(
    shape: Shape, expected: str, tmp_path: Path, *, enable_thinking: bool
) -> None:
    """Where thinking is off, the templates of 26B and 31B write an empty thought; those of E2B do not."""
    processor = AutoProcessor.from_pretrained(build_miniature(shape, tmp_path))
    rendered = processor.apply_chat_template(
        [{"role": "user", "content": "Hi"}], add_generation_prompt=True, enable_thinking=enable_thinking
    )
    assert expected == rendered


def test_an_image_takes_the_tokens_it_takes_in_the_originals(miniature: Path) -> None:
    """Patches of 16 pixels pooled by 3 at a budget of 280, as in Google's processor files."""
    processor = AutoProcessor.from_pretrained(miniature)
    image = torch.zeros(3, 480, 640, dtype=torch.uint8)
    inputs = processor(text="<|image|>", images=[image], return_tensors="pt")
    assert int((inputs["input_ids"] == processor.image_token_id).sum()) == 266


def test_logits_are_finite_and_well_apart(miniature: Path) -> None:
    """Greedy answers do not hang on rounding: the best token leads by more than float32 noise."""
    model = AutoModelForMultimodalLM.from_pretrained(miniature, dtype=torch.float32)
    token_ids = torch.arange(120, 200)[None]
    with torch.no_grad():
        logits = model(input_ids=token_ids).logits
    best = logits.topk(2).values
    assert logits.isfinite().all()
    # float32 noise of these sizes is about 1e-5.
    assert (best[..., 0] - best[..., 1]).min() > 1e-4
    # It is no model that repeats its input.
    assert (logits.argmax(-1) == token_ids).float().mean() < 0.5


def test_seeds_give_other_weights_and_the_same_seed_the_same(tmp_path: Path) -> None:
    """Tests can ask for a second model, and get the same one every time."""
    files = [
        (build_miniature("31b", tmp_path / str(index), seed=seed) / "model.safetensors").read_bytes()
        for index, seed in enumerate((0, 0, 1))
    ]
    assert files[0] == files[1]
    assert files[0] != files[2]


def test_an_adapter_changes_the_model(e2b: Path, tmp_path: Path) -> None:
    """The LoRA layout is written as the engine reads it, and the adapter is strong enough to be seen."""
    directory = build_adapter(e2b, tmp_path / "adapter")
    assert {"adapter_config.json", "adapter_model.safetensors", "base"} <= {
        path.name for path in directory.iterdir()
    }
    options = LoadOptions(device=torch.device("cpu"), dtype=torch.float32)
    token_ids = torch.arange(120, 140)[None]
    with torch.no_grad():
        plain, adapted = (
            load_checkpoint(path, options).model.module(input_ids=token_ids).logits
            for path in (e2b, directory)
        )
    assert (plain - adapted).abs().max() > 0.1
