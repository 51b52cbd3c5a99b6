"""A model is loaded where memory has room for it: what is closed, waited for and refused on the way."""

import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from threading import Event

import pytest

from gemma4_block.contract import Engine, LocalModel, ModelReference, Quantization
from gemma4_block.engine.footprint import Footprint
from gemma4_block.engine.pool import EnginePool, MemoryGauge
from gemma4_block.engine.pool.placement import Claim
from gemma4_block.errors import EngineLoadingError, OutOfMemoryError
from gemma4_block.settings import Settings
from gemma4_block.testing import ScriptedEngine

TIMEOUT_S = 20
NOTHING = Footprint(
    weights=0,
    left_in_files=0,
    read_pages=0,
    mapped=0,
    kv_cache=0,
    work=0,
    images=0,
    caches=0,
    framework=0,
)


class SizedEngine(ScriptedEngine):
    """An engine that takes memory of a machine until it is closed."""

    def __init__(self, machine: "FakeMachine", size: int) -> None:
        super().__init__([])
        self._machine = machine
        self._size = size
        machine.used += size

    @property
    def nbytes(self) -> int:
        """As it was said."""
        return self._size

    def close(self) -> None:
        """Give it back."""
        self._machine.used -= self._size


class FakeMachine(MemoryGauge):
    """A machine with so much memory, and models whose names begin with their size."""

    def __init__(self, total: int) -> None:
        self.total = total
        self.used = 0
        self.loaded: list[str] = []
        self.may_finish: dict[str, Event] = {}

    def list_devices(self, settings: Settings) -> tuple[str, ...]:
        """One."""
        return (settings.device,)

    def read_free(self, device: str) -> int | None:
        """What no engine has taken."""
        assert device == "cpu"
        return self.total - self.used

    def claim(
        self, reference: LocalModel, settings: Settings, free: Mapping[str, int | None]
    ) -> tuple[Claim, ...]:
        """By the name."""
        footprint = replace(NOTHING, weights=size_of(reference))
        return tuple(
            Claim(
                device=device, footprint=footprint, settings=settings.model_copy(update={"dtype": "float32"})
            )
            for device in free
        )

    def load(self, reference: ModelReference, settings: Settings) -> Engine:
        """Take the memory that was claimed."""
        assert isinstance(reference, LocalModel)
        assert settings.dtype == "float32", "the precision that was estimated is the one that is loaded"
        name = reference.directory.name
        self.loaded.append(name)
        if name in self.may_finish:
            assert self.may_finish[name].wait(TIMEOUT_S)
        return SizedEngine(self, size_of(reference))


def size_of(reference: LocalModel) -> int:
    """Read a model's size."""
    return int(reference.directory.name.split("-")[0])


def _find(model_version: str, quantization: Quantization, settings: Settings) -> ModelReference:  # noqa: ARG001
    return LocalModel(directory=Path(model_version), quantization="none")


def make_pool(machine: FakeMachine, *, max_loading_seconds: float = TIMEOUT_S) -> EnginePool:
    """Make a pool on a machine."""
    settings = Settings(device="cpu", max_loading_seconds=max_loading_seconds)
    return EnginePool(settings, find=_find, make=machine.load, gauge=machine)


def use(pool: EnginePool, name: str) -> None:
    """Use a model for a moment."""
    with pool.lease(name):
        pass


def ready(pool: EnginePool) -> list[str]:
    """Say which models are loaded."""
    return [status.name for status in pool.list_engines() if status.state == "ready"]


def wait_until(holds: Callable[[], bool]) -> None:
    """Wait for what another thread does."""
    deadline = time.monotonic() + TIMEOUT_S
    while not holds():
        assert time.monotonic() < deadline, "it never happened"
        time.sleep(0.01)


def test_what_nobody_used_for_longest_is_closed_for_another() -> None:
    """Only as many as have to go."""
    machine = FakeMachine(10)
    pool = make_pool(machine)
    for name in ("4-first", "4-second", "4-first"):
        use(pool, name)
    use(pool, "5-third")
    assert ready(pool) == ["4-first", "5-third"]


def test_an_engine_that_is_used_is_waited_for() -> None:
    """And not closed; it makes room as soon as nobody uses it."""
    machine = FakeMachine(10)
    pool = make_pool(machine)
    with ThreadPoolExecutor(1) as threads:
        with pool.lease("6-first"):
            asked = threads.submit(use, pool, "5-second")
            wait_until(lambda: len(pool.list_engines()) == 2)
            time.sleep(0.1)
            assert ready(pool) == ["6-first"]
        asked.result(TIMEOUT_S)
    assert ready(pool) == ["5-second"]


def test_who_waits_for_memory_too_long_is_told_what_for() -> None:
    """With the numbers; the same works once the other model is free, and nothing is loaded for nobody."""
    machine = FakeMachine(10_000_000_000)
    pool = make_pool(machine, max_loading_seconds=0.1)
    with pool.lease("6000000000-first"):
        with pytest.raises(
            EngineLoadingError,
            match=r"second has been loading for 0 s\. It waits for memory: it needs 5\.00 GB on cpu, where "
            r"4\.00 GB are left beside models that are in use\. Ask again",
        ):
            use(pool, "5000000000-second")
        wait_until(lambda: len(pool.list_engines()) == 1)
    assert machine.loaded == ["6000000000-first"]
    use(make_pool(machine), "4000000000-third")


def test_two_that_load_at_once_do_not_count_the_same_bytes() -> None:
    """The second waits for the first, which is then closed for it."""
    machine = FakeMachine(10)
    pool = make_pool(machine)
    machine.may_finish["6-first"] = Event()
    with ThreadPoolExecutor(2) as threads:
        first = threads.submit(use, pool, "6-first")
        wait_until(lambda: machine.loaded == ["6-first"])
        second = threads.submit(use, pool, "5-second")
        wait_until(lambda: len(pool.list_engines()) == 2)
        time.sleep(0.1)
        assert machine.loaded == ["6-first"]
        machine.may_finish["6-first"].set()
        first.result(TIMEOUT_S)
        second.result(TIMEOUT_S)
    assert machine.loaded == ["6-first", "5-second"]
    assert ready(pool) == ["5-second"]


def test_two_that_fit_load_at_once() -> None:
    """Neither waits for the other."""
    machine = FakeMachine(11)
    pool = make_pool(machine)
    machine.may_finish["6-first"] = Event()
    with ThreadPoolExecutor(1) as threads:
        first = threads.submit(use, pool, "6-first")
        wait_until(lambda: machine.loaded == ["6-first"])
        use(pool, "5-second")
        assert not first.done()
        machine.may_finish["6-first"].set()


def test_an_operator_sees_what_is_claimed() -> None:
    """Device and bytes stand in the list of engines."""
    pool = make_pool(FakeMachine(10))
    use(pool, "6-first")
    (status,) = pool.list_engines()
    assert (status.device, status.claimed_bytes) == ("cpu", 6)


DEMO_NEEDS = r"gemma-4-demo never fits into the memory of cpu: it needs \d\.\d\d GB: weights 0\.0\d"


class SmallMachine(MemoryGauge):
    """This machine, with less memory free."""

    def __init__(self, free_bytes: int) -> None:
        self._free_bytes = free_bytes

    def read_free(self, device: str) -> int | None:  # noqa: ARG002 - one for all
        """As it was said."""
        return self._free_bytes


def test_what_never_fits_is_refused_at_once_with_what_does() -> None:
    """The numbers, and the nearest choice: here the same model with nothing kept."""
    pool = EnginePool(Settings(device="cpu"), gauge=SmallMachine(400_000_000))
    with pytest.raises(
        OutOfMemoryError,
        match=DEMO_NEEDS
        + r".*; and 0\.40 GB are there with every other model closed\. What fits is the same "
        r"model with GEMMA4_BLOCK_MAX_BATCH_SIZE=1, GEMMA4_BLOCK_VISION_CACHE_BYTES=0 and "
        r"GEMMA4_BLOCK_PREFIX_CACHE_BYTES=0 \(0\.\d\d GB\)\. Or free memory",
    ):
        use(pool, "gemma-4-demo")


def test_where_nothing_fits_that_is_said() -> None:
    """No choice is named that would be refused as well."""
    pool = EnginePool(Settings(device="cpu"), gauge=SmallMachine(1_000_000))
    with pytest.raises(OutOfMemoryError, match=DEMO_NEEDS + r".*Nothing smaller that is known here fits"):
        use(pool, "gemma-4-demo")


def test_the_demo_is_loaded_in_what_was_estimated() -> None:
    """The estimate and the engine are of one device and one precision."""
    pool = EnginePool(Settings(device="cpu", dtype="float32"), gauge=SmallMachine(4_000_000_000))
    use(pool, "gemma-4-demo")
    (status,) = pool.list_engines()
    assert status.nbytes is not None
    assert status.claimed_bytes is not None
    assert 13_000_000 < status.nbytes < status.claimed_bytes < 4_000_000_000
