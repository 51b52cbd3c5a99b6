"""Adapters beside one base: each answers as a model of its own would, whoever is in its batch."""

import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from gemma4_block.contract import Answer, Choices, Engine, GenerationConfig, JsonSchema, Prompt
from gemma4_block.demo.scenes import draw_scene
from gemma4_block.engine.loading import LoadOptions, load_checkpoint
from gemma4_block.engine.local import LocalEngine
from gemma4_block.errors import EngineError
from gemma4_block.settings import Settings
from tests.engine.conftest import DEMO_CHECKPOINT
from tests.miniatures import Shape, build_miniature, save_adapter

OPTIONS = LoadOptions(device=torch.device("cpu"), dtype="float32")
IMAGES = [draw_scene(np.random.default_rng(seed)).image for seed in range(2)]
PROMPTS = (
    Prompt(text="Count", images=(IMAGES[0],)),
    Prompt(text="Describe it, please. " * 5, images=(IMAGES[1], IMAGES[0])),
    Prompt(text="Hello"),
)
TEXT = r".*language_model.*\.(q_proj|up_proj)"
TOWERS = r".*tower.*"
RESIZES = {
    "image_pre_processing": {},
    "network_input": {
        "training_input_size": {"height": 96, "width": 96},
        "dynamic_spatial_size_supported": False,
        "color_mode": "rgb",
        "resize_mode": "stretch",
        "input_channels": 3,
    },
}


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base with clipped layers in its tower and layers without keys of their own."""
    return build_miniature("e2b", tmp_path_factory.mktemp("base") / "e2b")


@pytest.fixture
def engine(base: Path) -> LocalEngine:
    """The base, loaded anew."""
    return load(base)


def load(base: Path, **settings: int) -> LocalEngine:
    """Load a base."""
    return LocalEngine(load_checkpoint(base, OPTIONS), Settings(**settings))  # type: ignore[arg-type]


def ask(engine: Engine, prompts: Sequence[Prompt] = PROMPTS, tokens: int = 8) -> list[str]:
    """Return the raw answers of a few tokens each."""
    answers = engine.answer(list(prompts), GenerationConfig(max_new_tokens=tokens))
    return [answer.text if isinstance(answer, Answer) else str(answer) for answer in answers]


def ask_with(engine: LocalEngine, adapter: Path, prompts: Sequence[Prompt] = PROMPTS) -> list[str]:
    """Return what an adapter answers."""
    with engine.adapted(adapter) as adapted:
        return ask(adapted, prompts)


def ask_alone(base: Path, adapter: Path) -> list[str]:
    """Return what a model of its own answers, into which the adapter is merged where that can be."""
    engine = LocalEngine(load_checkpoint(adapter, OPTIONS, base=base), Settings())
    try:
        return ask(engine)
    finally:
        engine.close()


def ask_together(engine: LocalEngine, adapters: Sequence[Path]) -> list[list[str]]:
    """Return what the base and each adapter answer while all of them are asked."""
    with ExitStack() as stack:
        engines = [engine, *(stack.enter_context(engine.adapted(adapter)) for adapter in adapters)]
        engine.forget()
        with ThreadPoolExecutor(len(engines)) as threads:
            return list(threads.map(ask, engines))


def list_adapters(engine: LocalEngine) -> list[Path]:
    """Return where the adapters that are loaded come from."""
    return [held.directory for held in engine.adapters]


def count_rows(engine: LocalEngine) -> list[int]:
    """Return, filled at every pass over the text model, how many rows it had."""
    found: list[int] = []
    layer = engine.checkpoint.model.module.get_decoder().layers[0]  # type: ignore[attr-defined]
    layer.register_forward_pre_hook(lambda _, inputs: found.append(len(inputs[0])))
    return found


def count_tower(engine: LocalEngine) -> list[int]:
    """Return, filled at every pass of the tower, a one."""
    found: list[int] = []
    tower = engine.checkpoint.model.module.model.vision_tower  # type: ignore[attr-defined]
    tower.register_forward_hook(lambda *_: found.append(1))
    return found


@torch.inference_mode()
def read_logits(module: torch.nn.Module) -> torch.Tensor:
    """Return what a model says to some tokens."""
    logits: torch.Tensor = module(input_ids=torch.arange(120, 160)[None]).logits.float()
    return logits


def merge_by_hand(base: Path, adapter: Path | None, rounded: torch.nn.Module) -> torch.nn.Module:
    """Return the base in float32 with the values that the 4 bits stand for, with any adapter merged in."""
    from bitsandbytes.functional import dequantize_4bit

    whole: torch.nn.Module = load_checkpoint(base, OPTIONS).model.module  # type: ignore[attr-defined]
    values = {
        name.replace(".base_layer", ""): dequantize_4bit(one.data, one.quant_state).float()
        for name, one in rounded.named_parameters()
        if hasattr(one, "quant_state")
    }
    whole.load_state_dict(values, strict=False)
    tensors = {} if adapter is None else load_file(adapter / "adapter_model.safetensors")
    scale = 2.0  # lora_alpha 8 by rank 4.
    for name, down in tensors.items():
        if name.endswith("lora_A.weight"):
            up = tensors[name.replace("lora_A", "lora_B")]
            target = name.removeprefix("base_model.model.").removesuffix(".lora_A.weight")
            whole.get_submodule(target).weight.data += scale * up @ down  # type: ignore[union-attr, operator]
    return whole


KINDS: dict[str, dict[str, Any]] = {
    "text": {"target_modules": TEXT},
    "every linear layer": {"target_modules": "all-linear"},
    "text by plain names": {"target_modules": ["o_proj", "down_proj"], "exclude_modules": TOWERS},
    "per-layer inputs": {"target_modules": ["per_layer_input_gate", "per_layer_projection"]},
    "beside the layers": {"target_modules": ["per_layer_model_projection"]},
    "tower": {"target_modules": ["q_proj.linear", "down_proj.linear", "input_proj"]},
    "projector": {"target_modules": r".*embed_vision\.embedding_projection"},
    "ranks": {"target_modules": TEXT, "rank_pattern": {"q_proj": 2}, "alpha_pattern": {"up_proj": 3}},
    "rslora": {"target_modules": TEXT, "use_rslora": True},
    "dora": {"target_modules": TEXT, "use_dora": True},
    "dora in the tower": {"target_modules": ["v_proj.linear"], "use_dora": True},
    "a norm of its own": {"target_modules": TEXT, "modules_to_save": ["post_per_layer_input_norm"]},
    "a projector of its own": {"target_modules": TEXT, "modules_to_save": ["embedding_projection"]},
    "biases of its own": {"target_modules": TEXT, "lora_bias": True},
}


# Said of every layer that has no bias in the base, and of every bias that is saved.
@pytest.mark.filterwarnings("ignore:Adapter 'default'")
@pytest.mark.filterwarnings("ignore:`lora_bias=True` was passed")
@pytest.mark.parametrize("kind", KINDS)
def test_an_adapter_beside_its_base_answers_as_one_merged_into_it(
    kind: str, base: Path, engine: LocalEngine, tmp_path: Path
) -> None:
    """Same greedy tokens as a model of its own, and the base is as it was before, during and after."""
    adapter = save_adapter(base, tmp_path, **KINDS[kind])
    plain = ask(engine)
    expected = ask_alone(base, adapter)

    assert expected != plain
    with engine.adapted(adapter) as adapted:
        assert [ask(adapted), ask(engine), ask(adapted)] == [expected, plain, expected]
    assert ask(engine) == plain


def test_adapters_of_the_text_share_their_passes(base: Path, engine: LocalEngine, tmp_path: Path) -> None:
    """Base and adapters, also one that sees images otherwise, answer in one batch as each does alone."""
    adapters = [
        save_adapter(base, tmp_path / "first", seed=1, target_modules=TEXT),
        save_adapter(base, tmp_path / "second", seed=2, target_modules=["down_proj"], exclude_modules=TOWERS),
        save_adapter(base, tmp_path / "third", seed=3, target_modules=rf"({TEXT})|(.*embedding_projection)"),
    ]
    alone = [ask(engine), *(ask_with(load(base), adapter) for adapter in adapters)]
    batches = count_rows(engine)
    assert ask_together(engine, adapters) == alone
    assert len({tuple(answers) for answers in alone}) == 4
    # All prompts of all of them at once, in some of the passes.
    assert max(batches) > len(PROMPTS)


def test_adapters_that_cannot_share_a_pass_answer_beside_each_other(
    base: Path, engine: LocalEngine, tmp_path: Path
) -> None:
    """What peft cannot switch per row is decoded in batches of its own, also while others are decoded."""
    adapters = [
        save_adapter(base, tmp_path / "first", seed=1, target_modules=TEXT),
        save_adapter(base, tmp_path / "second", seed=2, target_modules=TEXT, use_dora=True),
        save_adapter(base, tmp_path / "third", seed=3, target_modules=["per_layer_model_projection"]),
    ]
    alone = [ask(engine), *(ask_with(load(base), adapter) for adapter in adapters)]
    assert ask_together(engine, adapters) == alone


def test_choices_are_scored_by_the_adapter_that_was_asked(
    base: Path, engine: LocalEngine, tmp_path: Path
) -> None:
    """Scores of several adapters at once are those of each alone."""
    adapters = [save_adapter(base, tmp_path / str(seed), seed=seed) for seed in range(2)]
    choices = Choices(groups=(("red", "blue", "green"),), schema=JsonSchema(text='{"type": "string"}'))
    prompt = Prompt(text="Which?", images=(IMAGES[0],), constraint=choices)

    def score(asked: Engine) -> tuple[float, ...]:
        (answer,) = asked.answer([prompt], GenerationConfig())
        assert isinstance(answer, Answer)
        assert answer.choice_probabilities is not None
        return answer.choice_probabilities[0]

    with ExitStack() as stack:
        engines = [engine, *(stack.enter_context(engine.adapted(adapter)) for adapter in adapters)]
        alone = [score(one) for one in engines]
        engine.forget()
        with ThreadPoolExecutor(len(engines)) as threads:
            together = list(threads.map(score, engines))
    assert together == [pytest.approx(scores, abs=1e-4) for scores in alone]
    assert len(set(alone)) == 3


def test_what_the_tower_saw_is_shared_by_adapters_that_leave_it_alone(
    base: Path, engine: LocalEngine, tmp_path: Path
) -> None:
    """The tower runs once for base and text adapter, and again for an adapter in the tower."""
    text = save_adapter(base, tmp_path / "text", target_modules=TEXT)
    tower = save_adapter(base, tmp_path / "tower", target_modules=["q_proj.linear"])
    seen = count_tower(engine)
    ask(engine, PROMPTS[:1])
    ask_with(engine, text, PROMPTS[:1])
    assert len(seen) == 1
    ask_with(engine, tower, PROMPTS[:1])
    ask_with(engine, tower, PROMPTS[:1])
    assert len(seen) == 2


def test_an_adapter_with_a_size_of_its_own_sees_its_own_image(
    base: Path, engine: LocalEngine, tmp_path: Path
) -> None:
    """A package that resizes images must not find what the base saw in the whole image."""
    adapter = save_adapter(base, tmp_path, target_modules=TEXT)
    (tmp_path / "inference_config.json").write_text(json.dumps(RESIZES), encoding="utf-8")
    expected = ask_alone(base, adapter)
    plain = ask(engine)
    seen = count_tower(engine)
    assert ask_with(engine, adapter) == expected != plain
    assert len(seen) == 2


def test_eight_adapters_cost_their_own_size(base: Path, engine: LocalEngine, tmp_path: Path) -> None:
    """One base in memory, and beside it no more than what the adapters' files hold."""
    before = engine.nbytes
    weights = {one.data_ptr() for one in engine.checkpoint.model.module.parameters()}  # type: ignore[attr-defined]
    held = 0
    with ExitStack() as stack:
        for seed in range(8):
            adapter = save_adapter(base, tmp_path / str(seed), seed=seed)
            held += sum(tensor.nbytes for tensor in load_file(adapter / "adapter_model.safetensors").values())
            stack.enter_context(engine.adapted(adapter))
        module = engine.checkpoint.model.module  # type: ignore[attr-defined]
        found = {one.data_ptr(): one.nbytes for one in module.parameters()}
    assert engine.nbytes == before + held
    assert weights <= found.keys()
    assert sum(size for place, size in found.items() if place not in weights) == held


def test_an_adapter_that_was_trained_again_is_another(
    base: Path, engine: LocalEngine, tmp_path: Path
) -> None:
    """Files that change under a name are loaded anew, and nothing that was kept answers for them."""
    adapter = save_adapter(base, tmp_path, seed=1)
    first = ask_with(engine, adapter)
    save_adapter(base, adapter, seed=2)
    again = ask_with(engine, adapter)
    assert again == ask_alone(base, adapter) != first


def test_the_adapters_used_last_stay(base: Path, tmp_path: Path) -> None:
    """Beyond the operator's number, who was used longest ago goes, with all that was kept for it."""
    engine = load(base, max_adapters=2)
    first, second, third = (save_adapter(base, tmp_path / name, seed=seed) for seed, name in enumerate("abc"))
    expected = ask_with(engine, first)
    ask_with(engine, second)
    ask_with(engine, first)
    ask_with(engine, third)
    assert list_adapters(engine) == [first, third]
    sizes = [held.nbytes for held in engine.adapters]
    assert sizes[0] == sizes[1] > 0
    assert sum(sizes) == engine.checkpoint.adapters.nbytes
    kept = engine.nbytes
    with engine.adapted(second):
        assert list_adapters(engine) == [third, second]
        assert engine.nbytes < kept
    assert ask_with(engine, first) == expected


def test_an_adapter_in_use_is_not_removed(base: Path, tmp_path: Path) -> None:
    """Who holds one keeps it, and more than the operator's number are loaded while all of them are held."""
    engine = load(base, max_adapters=1)
    first, second, third = (save_adapter(base, tmp_path / name, seed=seed) for seed, name in enumerate("abc"))
    with engine.adapted(first) as held:
        expected = ask(held)
        with engine.adapted(second):
            assert list_adapters(engine) == [first, second]
            assert ask(held) == expected
    with engine.adapted(third):
        assert list_adapters(engine) == [third]
    assert ask_with(engine, first) == expected


def test_many_who_ask_for_a_new_adapter_load_it_once(base: Path, engine: LocalEngine, tmp_path: Path) -> None:
    """Sixteen threads get the same answer from one adapter."""
    adapter = save_adapter(base, tmp_path)
    with ThreadPoolExecutor(16) as threads:
        answers = list(threads.map(lambda _: ask_with(engine, adapter, PROMPTS[:1]), range(16)))
    assert answers == [answers[0]] * 16
    assert list_adapters(engine) == [adapter]


def test_a_closed_engine_has_no_adapters(base: Path, engine: LocalEngine, tmp_path: Path) -> None:
    """Asking for one says so, and does not wait for a thread that is gone."""
    adapter = save_adapter(base, tmp_path)
    engine.close()
    with pytest.raises(EngineError, match="closed"):
        ask_with(engine, adapter)


@pytest.mark.parametrize("dtype", ["bfloat16", "float32"])
def test_an_adapter_on_4_bits_is_as_near_as_the_base_is(tmp_path: Path, dtype: str) -> None:
    """Beside NF4 weights an adapter adds no error of its own; what there is comes from packed products."""
    adapter = save_adapter(DEMO_CHECKPOINT, tmp_path, target_modules=TEXT)
    rounded = load_checkpoint(
        DEMO_CHECKPOINT, LoadOptions(device=torch.device("cpu"), dtype=dtype, quantization="nf4")
    )
    module = rounded.model.module  # type: ignore[attr-defined]
    # Before a pass, which packs the weights anew.
    exact = {one: read_logits(merge_by_hand(DEMO_CHECKPOINT, one, module)) for one in (None, adapter)}
    plain = read_logits(module)
    bank = rounded.adapters
    fitting = bank.check(adapter)
    tag = bank.add(fitting, bank.fetch(fitting), sees_as_base=True)
    with bank.rows([None]):
        assert torch.equal(read_logits(module), plain)
    with bank.rows([tag.name]):
        adapted = read_logits(module)
    base_error, error = measure_error(plain, exact[None]), measure_error(adapted, exact[adapter])
    # The adapter changes the logits by 0.28 of their norm, and spreads the base's error further. Where the
    # processor has no packed products, that is none but rounding in float32.
    assert base_error < 0.02
    assert error < 2 * base_error + 1e-3
    assert measure_error(plain, exact[adapter]) > 0.05


def measure_error(found: torch.Tensor, expected: torch.Tensor) -> float:
    """Return how far logits are from the expected ones, as a share of their norm."""
    return float((found - expected).norm() / expected.norm())


@pytest.mark.parametrize(
    ("shape", "options"),
    [
        pytest.param("31b", {"target_modules": "all-linear"}, id="31b"),
        pytest.param("26b-a4b", {"target_modules": TEXT}, id="26b-a4b"),
        pytest.param("26b-a4b", {"target_modules": [r"router.proj", "o_proj.linear"]}, id="a router"),
        pytest.param("12b", {"target_modules": ["q_proj", "patch_dense"]}, id="12b"),
    ],
)
def test_other_variants_take_adapters_too(shape: Shape, options: dict[str, Any], tmp_path: Path) -> None:
    """Experts beside the layers, images seen in both directions, and patches without a tower."""
    base = build_miniature(shape, tmp_path / "base")
    adapter = save_adapter(base, tmp_path / "adapter", **options)
    engine = load(base)
    expected = ask_alone(base, adapter)
    with engine.adapted(adapter) as adapted:
        assert ask(adapted) == expected != ask(engine)
