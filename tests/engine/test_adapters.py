"""Adapters beside one base: each answers as a model of its own would, whoever is in its batch."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from gemma4_block.contract import Answer, Choices, Engine, GenerationConfig, Prompt
from gemma4_block.demo.scenes import draw_scene
from gemma4_block.engine.loading import LoadOptions, load_checkpoint
from gemma4_block.engine.local import LocalEngine
from gemma4_block.settings import Settings
from tests.miniatures import build_miniature, save_adapter

OPTIONS = LoadOptions(device=torch.device("cpu"), dtype="float32")
IMAGES = [draw_scene(np.random.default_rng(seed)).image for seed in range(2)]
PROMPTS = (
    Prompt(text="Count", images=(IMAGES[0],)),
    Prompt(text="Describe it, please. " * 5, images=(IMAGES[1], IMAGES[0])),
    Prompt(text="Hello"),
)
TEXT = r".*language_model.*\.(q_proj|up_proj)"


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base with clipped layers in its tower and layers without keys of their own."""
    return build_miniature("e2b", tmp_path_factory.mktemp("base") / "e2b")


@pytest.fixture
def engine(base: Path) -> LocalEngine:
    """The base, loaded anew."""
    return load(base)


def load(base: Path, **settings: Any) -> LocalEngine:
    """Load a base."""
    return LocalEngine(load_checkpoint(base, OPTIONS), Settings(**settings))


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


KINDS: dict[str, dict[str, Any]] = {
    "text": {"target_modules": TEXT},
    "every linear layer": {"target_modules": "all-linear"},
    "text by plain names": {"target_modules": ["o_proj", "down_proj"], "exclude_modules": r".*(tower).*"},
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


# Said of every layer that has no bias in the base.
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
