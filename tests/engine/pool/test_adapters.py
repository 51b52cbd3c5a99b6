"""All adapters of a base are of its one engine, which is loaded once and lent with each of them."""

import json
from collections.abc import Iterator
from pathlib import Path
from shutil import copytree
from weakref import WeakSet

import pytest

from gemma4_block.contract import Answer, Engine, GenerationConfig, LocalModel, ModelReference, Prompt
from gemma4_block.engine.pool import EnginePool, MemoryGauge
from gemma4_block.engine.pool.factory import make_engine
from gemma4_block.errors import CheckpointError, OutOfMemoryError
from gemma4_block.settings import Settings
from tests.engine.conftest import DEMO_CHECKPOINT
from tests.miniatures import save_adapter

TEXT = r".*language_model.*\.(q_proj|up_proj)"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A root with two adapters of the demo."""
    for seed, name in enumerate(("codes", "polish")):
        save_adapter(
            DEMO_CHECKPOINT,
            tmp_path / name,
            seed=seed,
            base_name="gemma-4-demo",
            target_modules=TEXT,
            lora_alpha=16,
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


def test_an_engine_is_called_by_its_base(pool: EnginePool, tmp_path: Path) -> None:
    """Whoever asks first asks for an adapter; a base that is no variant is named after that."""
    copy = copytree(DEMO_CHECKPOINT, tmp_path / "own")
    save_adapter(DEMO_CHECKPOINT, tmp_path / "terse", base_name=str(copy.resolve()), target_modules=TEXT)
    for name in ("codes", "terse"):
        with pool.lease(name):
            pass
    assert [status.name for status in pool.list_engines()] == ["gemma-4-demo", "the base of terse"]


class SharedMachine(MemoryGauge):
    """A machine of a size, of which the engines that it loads take what they say."""

    def __init__(self) -> None:
        self.total = 10_000_000_000
        self._engines: WeakSet[Engine] = WeakSet()

    def load(self, reference: ModelReference, settings: Settings) -> Engine:
        """Load what is asked for."""
        engine = make_engine(reference, settings)
        self._engines.add(engine)
        return engine

    def read_free(self, device: str) -> int | None:  # noqa: ARG002 - one for all
        """What no engine takes."""
        return self.total - sum(engine.nbytes for engine in self._engines)


def test_an_adapter_is_let_in_as_a_model_is(root: Path, tmp_path: Path) -> None:
    """Idle models are closed for it; where all are in use it is refused, and its base goes on."""
    copytree(DEMO_CHECKPOINT, tmp_path / "other")
    machine = SharedMachine()
    pool = EnginePool(
        Settings(model_roots=(root,), device="cpu", dtype="float32"), make=machine.load, gauge=machine
    )
    with pool.lease("gemma-4-demo") as demo, pool.lease("other"):
        machine.total = sum(status.claimed_bytes or 0 for status in pool.list_engines()) + 1
        with (
            pytest.raises(OutOfMemoryError, match=r"codes needs \d+\.\d MB on cpu beside its base"),
            pool.lease("codes"),
        ):
            pass
        assert ask(demo)
        (first, _) = pool.list_engines()
        assert (first.leases, first.adapters) == (1, ())
    with pool.lease("codes") as codes:
        assert ask(codes)
    assert [status.name for status in pool.list_engines()] == ["gemma-4-demo"]
    pool.close()


def test_two_adapters_that_load_at_once_do_not_count_the_same_bytes(root: Path) -> None:
    """What one is let in with is free again once it is loaded, or was not."""
    machine = SharedMachine()
    pool = EnginePool(
        Settings(model_roots=(root,), device="cpu", dtype="float32"), make=machine.load, gauge=machine
    )
    with pool.lease("gemma-4-demo"):
        (resident,) = pool._residents.values()
        assert resident.claim is not None
        machine.total = resident.claim.footprint.needed + 3000
        with pool._room.admit_adapter(resident, "first", 500):
            second = pool._room.admit_adapter(resident, "second", 500)
            with pytest.raises(OutOfMemoryError, match=r"second needs 0\.0 MB"), second:
                pass
        with pool._room.admit_adapter(resident, "third", 500):
            pass
    pool.close()


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
