"""All adapters of a base are of its one engine, which is loaded once and lent with each of them."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from gemma4_block.contract import Answer, Engine, GenerationConfig, LocalModel, Prompt
from gemma4_block.engine.pool import EnginePool
from gemma4_block.errors import CheckpointError
from gemma4_block.settings import Settings
from tests.engine.conftest import DEMO_CHECKPOINT
from tests.miniatures import save_adapter

TEXT = r".*language_model.*\.(q_proj|up_proj)"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A root with two adapters of the demo."""
    for seed, name in enumerate(("codes", "polish")):
        save_adapter(
            DEMO_CHECKPOINT, tmp_path / name, seed=seed, base_name="gemma-4-demo", target_modules=TEXT
        )
    return tmp_path.resolve()


@pytest.fixture
def pool(root: Path) -> Iterator[EnginePool]:
    """A pool over them."""
    pool = EnginePool(Settings(model_roots=(root,)))
    yield pool
    pool.close()


def ask(engine: Engine) -> str:
    """Return a short answer."""
    (answer,) = engine.answer([Prompt(text="Describe the image.")], GenerationConfig(max_new_tokens=6))
    assert isinstance(answer, Answer)
    return answer.text


def test_base_and_adapters_are_one_engine(pool: EnginePool, root: Path) -> None:
    """Three models by name, one in memory, and the operator sees what is beside it."""
    with pool.lease("codes") as codes, pool.lease("polish") as polish, pool.lease("gemma-4-demo") as demo:
        assert len({ask(codes), ask(polish), ask(demo)}) == 3
        (status,) = pool.list_engines()
    assert status.reference == LocalModel(directory=DEMO_CHECKPOINT, quantization="none")
    assert (status.leases, status.adapters) == (3, (root / "codes", root / "polish"))
    assert codes.capabilities == demo.capabilities
    assert codes.nbytes == demo.nbytes


def test_who_holds_an_adapter_holds_its_base(pool: EnginePool) -> None:
    """The base is not closed under it, and with the base its adapters go."""
    with pool.lease("codes") as codes:
        assert pool.unload(pool.list_engines()[0].reference)
        assert ask(codes)
        assert len(pool.list_engines()) == 1
    with pool.lease("polish"):
        (status,) = pool.list_engines()
        assert [adapter.name for adapter in status.adapters] == ["polish"]


def test_an_adapter_that_does_not_fit_loads_no_base(pool: EnginePool, root: Path) -> None:
    """It is refused from its files, before memory is taken for weights."""
    path = root / "codes" / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"r": 8}), encoding="utf-8")
    with pytest.raises(CheckpointError, match="rank 4 where r"), pool.lease("codes"):
        pass
    assert pool.list_engines() == ()
