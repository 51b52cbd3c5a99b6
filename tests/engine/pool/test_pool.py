"""One engine for each model and precision: loaded once, shared, dropped, loaded again."""

import gc
import logging
import subprocess
import sys
import time
import weakref
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier, Event, Lock
from weakref import WeakSet

import pytest
import torch

from gemma4_block.contract import (
    IMAGE_SEQ_LENGTHS,
    Answer,
    Capabilities,
    Engine,
    GenerationConfig,
    KeepAlive,
    LocalModel,
    ModelReference,
    Prompt,
    Quantization,
    ServedModel,
)
from gemma4_block.engine.pool import (
    EnginePool,
    choose_auto_quantization,
    find_reference,
    get_engine_pool,
    make_engine,
)
from gemma4_block.engine.pool.pool import choose_pause
from gemma4_block.errors import (
    CheckpointError,
    ConfigurationError,
    EngineError,
    EngineLoadingError,
    PromptError,
)
from gemma4_block.servers import Server
from gemma4_block.settings import LogLevel, Settings

TIMEOUT_S = 20
THREADS = 16


class IdleEngine:
    """An engine that holds itself in a cycle, as models do."""

    def __init__(self) -> None:
        self.cycle = self
        self.is_closed = False

    @property
    def capabilities(self) -> Capabilities:
        """All."""
        return Capabilities(image_seq_lengths=IMAGE_SEQ_LENGTHS)

    @property
    def nbytes(self) -> int:
        """Nothing."""
        return 0

    def answer(
        self,
        prompts: Sequence[Prompt],
        generation: GenerationConfig,
        *,
        deadline: float | None = None,
        cancelled: Event | None = None,
    ) -> list[Answer | PromptError]:
        """Never asked."""
        raise NotImplementedError

    def close(self) -> None:
        """Nothing to give back."""
        self.is_closed = True


class RecordingLoader:
    """Loads idle engines, records what was asked of it, and can be held up or made to fail."""

    def __init__(self) -> None:
        self.calls: list[tuple[Path, Quantization]] = []
        self.settings: list[Settings] = []
        self.errors: list[BaseException] = []
        self.engines: WeakSet[IdleEngine] = WeakSet()
        self.may_finish: dict[str, Event] = {}
        self.has_started = Event()
        self._lock = Lock()

    def __call__(self, reference: ModelReference, settings: Settings) -> IdleEngine:
        """Load as the real one does."""
        assert isinstance(reference, LocalModel)
        directory = reference.directory
        with self._lock:
            self.calls.append((directory, reference.quantization))
            self.settings.append(settings)
            error = self.errors.pop() if self.errors else None
        self.has_started.set()
        if directory.name in self.may_finish:
            assert self.may_finish[directory.name].wait(TIMEOUT_S)
        if error is not None:
            raise error
        engine = IdleEngine()
        self.engines.add(engine)
        return engine


def _find(model_version: str, quantization: Quantization, settings: Settings) -> ModelReference:
    """Find a reference as on a machine without a GPU."""
    return find_reference(model_version, "none" if quantization == "auto" else quantization, settings)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A root with two models."""
    folder = tmp_path.resolve()
    for name in ("first", "second"):
        (folder / name).mkdir()
        (folder / name / "config.json").write_text("{}", encoding="utf-8")
        (folder / name / "model.safetensors").write_bytes(b"\x02" + bytes(7) + b"{}")
    return folder


@pytest.fixture
def loader() -> RecordingLoader:
    """A loader of engines that do nothing."""
    return RecordingLoader()


@pytest.fixture
def pool(root: Path, loader: RecordingLoader) -> EnginePool:
    """A pool over the two models."""
    return EnginePool(Settings(model_roots=(root,)), find=_find, make=loader)


def take(pool: EnginePool, model_version: str, quantization: Quantization = "auto") -> Engine:
    """Borrow an engine for a moment."""
    with pool.lease(model_version, quantization) as engine:
        return engine


def is_closed(engine: Engine) -> bool:
    """Say whether an engine was closed."""
    assert isinstance(engine, IdleEngine)
    return engine.is_closed


def ready(pool: EnginePool) -> tuple[ModelReference, ...]:
    """Say which models are loaded."""
    return tuple(status.reference for status in pool.list_engines() if status.state == "ready")


def wait_until(holds: Callable[[], bool]) -> None:
    """Wait for what another thread does."""
    deadline = time.monotonic() + TIMEOUT_S
    while not holds():
        assert time.monotonic() < deadline, "it never happened"
        time.sleep(0.01)


def test_asking_again_returns_the_same_engine(pool: EnginePool, root: Path, loader: RecordingLoader) -> None:
    """Weights are loaded once a process, whatever name of the directory is used."""
    engine = take(pool, "first", "none")
    (root / "alias").symlink_to(root / "first")
    for name in ("first", "./first", str(root / "first"), "alias"):
        assert take(pool, name, "none") is engine
    assert loader.calls == [(root / "first", "none")]


def test_models_and_precisions_are_told_apart(pool: EnginePool, root: Path, loader: RecordingLoader) -> None:
    """Each directory and each precision has an engine of its own."""
    engines = [take(pool, "first", "none"), take(pool, "first", "nf4"), take(pool, "second", "none")]
    assert len({id(engine) for engine in engines}) == 3
    assert loader.calls == [(root / "first", "none"), (root / "first", "nf4"), (root / "second", "none")]


def test_auto_shares_the_engine_of_the_precision_it_means(pool: EnginePool, loader: RecordingLoader) -> None:
    """One step that says `auto` and one that says what `auto` is do not load two copies."""
    assert take(pool, "first", "auto") is take(pool, "first", "none")
    assert [quantization for _, quantization in loader.calls] == ["none"]


def test_many_threads_load_once(pool: EnginePool, loader: RecordingLoader) -> None:
    """Sixteen first requests at once cost one load, and all get the same object."""
    loader.may_finish["first"] = Event()
    start = Barrier(THREADS)

    def ask() -> object:
        start.wait(TIMEOUT_S)
        return take(pool, "first", "none")

    with ThreadPoolExecutor(THREADS) as threads:
        asked = [threads.submit(ask) for _ in range(THREADS)]
        assert loader.has_started.wait(TIMEOUT_S)
        loader.may_finish["first"].set()
        engines = [future.result(TIMEOUT_S) for future in asked]
    assert len({id(engine) for engine in engines}) == 1
    assert len(loader.calls) == 1


def test_a_failed_load_raises_for_everyone_who_waited(pool: EnginePool, loader: RecordingLoader) -> None:
    """Nobody waits for ever, and it is tried once however many ask."""
    loader.may_finish["first"] = Event()
    loader.errors = [CheckpointError("cut off")]
    with ThreadPoolExecutor(THREADS) as threads:
        asked = [threads.submit(take, pool, "first", "none") for _ in range(THREADS)]
        wait_until(lambda: pool.list_engines()[0].leases == THREADS if pool.list_engines() else False)
        loader.may_finish["first"].set()
        failures = [future.exception(TIMEOUT_S) for future in asked]
    assert [str(failure) for failure in failures] == ["cut off"] * THREADS
    assert all(isinstance(failure, CheckpointError) for failure in failures)
    assert len(loader.calls) == 1


def test_a_failed_load_is_tried_again_after_a_pause(root: Path, loader: RecordingLoader) -> None:
    """Requests that follow at once do not read the files again; those that come later do."""
    pool = EnginePool(Settings(model_roots=(root,)), find=_find, make=loader, choose_pause=lambda _: 0.3)
    loader.errors = [CheckpointError("cut off")]
    for _ in range(3):
        with pytest.raises(CheckpointError, match="cut off"):
            take(pool, "first", "none")
    (status,) = pool.list_engines()
    assert (status.state, status.failure, len(loader.calls)) == ("failed", "cut off", 1)
    time.sleep(0.3)
    assert isinstance(take(pool, "first", "none"), IdleEngine)
    assert len(loader.calls) == 2


@pytest.mark.parametrize(("load_s", "pause_s"), [(0.0, 1.0), (0.2, 1.0), (3.0, 15.0)])
def test_a_load_that_takes_long_is_tried_again_later(load_s: float, pause_s: float) -> None:
    """A damaged model takes a sixth of the machine's time at most."""
    assert choose_pause(load_s) == pause_s


def test_an_interrupt_in_the_loading_thread_is_an_error_to_those_who_wait(
    pool: EnginePool, loader: RecordingLoader
) -> None:
    """Whatever ends the loading, a caller is not interrupted by it."""
    loader.errors = [KeyboardInterrupt()]
    with pytest.raises(EngineError, match=r"was interrupted\. Ask for it again"):
        take(pool, "first", "none")


def test_who_gives_up_waiting_leaves_the_load_to_others(root: Path, loader: RecordingLoader) -> None:
    """The error says for how long it has been loading, and the same request works later."""
    settings = Settings(model_roots=(root,), max_loading_seconds=0.1, keep_alive=0)
    pool = EnginePool(settings, find=_find, make=loader)
    loader.may_finish["first"] = Event()
    with pytest.raises(EngineLoadingError, match=r"first has been loading for 0 s. Ask again in a while"):
        take(pool, "first", "none")
    assert [(status.state, status.leases) for status in pool.list_engines()] == [("loading", 0)]
    loader.may_finish["first"].set()
    wait_until(lambda: ready(pool) != ())
    time.sleep(0.1)
    assert isinstance(take(pool, "first", "none"), IdleEngine)
    assert len(loader.calls) == 1


def test_a_slow_load_holds_up_nobody_else(pool: EnginePool, loader: RecordingLoader) -> None:
    """While one model loads, loaded ones are handed out and others load."""
    loader.may_finish["first"] = Event()
    with ThreadPoolExecutor(1) as threads:
        slow = threads.submit(take, pool, "first", "none")
        assert loader.has_started.wait(TIMEOUT_S)
        second = take(pool, "second", "none")
        assert take(pool, "second", "none") is second
        assert not slow.done()
        loader.may_finish["first"].set()
        slow.result(TIMEOUT_S)


def test_the_list_says_what_is_ready(root: Path, loader: RecordingLoader) -> None:
    """A model that is still loading, or failed to, is listed as that."""
    pool = EnginePool(Settings(model_roots=(root,)), find=_find, make=loader, choose_pause=lambda _: 0.0)
    assert ready(pool) == ()
    loader.errors = [CheckpointError("cut off")]
    with pytest.raises(CheckpointError):
        take(pool, "second", "none")
    take(pool, "first", "nf4")
    loader.may_finish["second"] = Event()
    loader.has_started.clear()
    with ThreadPoolExecutor(1) as threads:
        threads.submit(take, pool, "second", "none")
        assert loader.has_started.wait(TIMEOUT_S)
        assert ready(pool) == (LocalModel(directory=root / "first", quantization="nf4"),)
        loader.may_finish["second"].set()
    assert ready(pool) == (
        LocalModel(directory=root / "first", quantization="nf4"),
        LocalModel(directory=root / "second", quantization="none"),
    )


def test_unloading_frees_the_engine_at_once(pool: EnginePool, loader: RecordingLoader) -> None:
    """Memory comes back without waiting for the garbage collector, and the next request loads again."""
    reference = weakref.ref(take(pool, "first", "none"))
    gc.disable()
    try:
        assert pool.unload(ready(pool)[0])
        assert reference() is None
    finally:
        gc.enable()
    assert ready(pool) == ()
    take(pool, "first", "none")
    assert len(loader.calls) == 2


def test_unloading_what_is_not_loaded_does_nothing(pool: EnginePool, root: Path) -> None:
    """The answer says that there was nothing to unload."""
    assert not pool.unload(LocalModel(directory=root / "first", quantization="none"))


def test_a_model_that_is_loading_cannot_be_unloaded(
    pool: EnginePool, root: Path, loader: RecordingLoader
) -> None:
    """Those who wait for it get it."""
    loader.may_finish["first"] = Event()
    with ThreadPoolExecutor(1) as threads:
        asked = threads.submit(take, pool, "first", "none")
        assert loader.has_started.wait(TIMEOUT_S)
        assert not pool.unload(LocalModel(directory=root / "first", quantization="none"))
        loader.may_finish["first"].set()
        assert isinstance(asked.result(TIMEOUT_S), IdleEngine)
    assert len(ready(pool)) == 1


def test_an_engine_that_is_lent_is_not_closed(pool: EnginePool) -> None:
    """Unloading waits for those who use it, and those who come meanwhile get it too."""
    with pool.lease("first", "none") as engine:
        assert pool.unload(ready(pool)[0])
        with pool.lease("first", "none") as again:
            assert again is engine
        assert not is_closed(engine)
    wait_until(lambda: is_closed(engine))
    assert ready(pool) == ()


@pytest.mark.parametrize(
    ("operator", "step", "is_kept"),
    [
        ("forever", None, True),
        ("forever", "forever", True),
        ("forever", 0, False),
        (0.05, None, False),
        (0.05, "forever", False),
        (0.05, 3600, False),
        (3600, None, True),
        (3600, 0.05, False),
    ],
)
def test_an_idle_engine_is_closed_when_its_time_is_up(
    root: Path, loader: RecordingLoader, operator: KeepAlive, step: KeepAlive | None, *, is_kept: bool
) -> None:
    """The operator's time is the most; a step may ask for less."""
    pool = EnginePool(Settings(model_roots=(root,), keep_alive=operator), find=_find, make=loader)
    with pool.lease("first", "none", keep_alive=step) as engine:
        # Longer than the short times: while it is lent, no time runs.
        time.sleep(0.15)
        assert not is_closed(engine)
    if is_kept:
        time.sleep(0.15)
        assert (is_closed(engine), len(ready(pool))) == (False, 1)
    else:
        wait_until(lambda: pool.list_engines() == ())
        assert is_closed(engine)


def test_the_time_begins_anew_with_every_use(root: Path, loader: RecordingLoader) -> None:
    """An engine that is asked again and again stays, however short its time is."""
    pool = EnginePool(Settings(model_roots=(root,), keep_alive=0.4), find=_find, make=loader)
    engine = take(pool, "first", "none")
    for _ in range(4):
        time.sleep(0.2)
        assert take(pool, "first", "none") is engine
    (status,) = pool.list_engines()
    assert status.closes_in_seconds is not None
    assert 0 < status.closes_in_seconds <= 0.4


def test_nobody_gets_an_engine_that_is_closing(root: Path, loader: RecordingLoader) -> None:
    """Sixteen threads lend and return while the time is always up: no engine that is lent is ever closed."""
    pool = EnginePool(Settings(model_roots=(root,), keep_alive=0), find=_find, make=loader)
    start = Barrier(THREADS)

    def borrow() -> int:
        start.wait(TIMEOUT_S)
        closed = 0
        for _ in range(20):
            with pool.lease("first", "none") as engine:
                closed += is_closed(engine)
                time.sleep(0.001)
                closed += is_closed(engine)
        return closed

    with ThreadPoolExecutor(THREADS) as threads:
        assert [future.result(TIMEOUT_S) for future in [threads.submit(borrow) for _ in range(THREADS)]] == [
            0
        ] * THREADS
    wait_until(lambda: pool.list_engines() == ())
    assert all(engine.is_closed for engine in loader.engines)


def test_closing_the_pool_closes_what_is_loaded(pool: EnginePool) -> None:
    """Nothing of it is given out again."""
    engines = [take(pool, "first", "none"), take(pool, "second", "none")]
    pool.close()
    assert [engine.is_closed for engine in engines if isinstance(engine, IdleEngine)] == [True, True]
    assert ready(pool) == ()
    assert take(pool, "first", "none") not in engines


def test_the_loader_gets_the_operators_settings(root: Path, loader: RecordingLoader) -> None:
    """Device and precision of the environment reach the weights."""
    settings = Settings(model_roots=(root,), device="cpu", dtype="float32")
    take(EnginePool(settings, find=_find, make=loader), "first")
    assert loader.settings == [settings]


def test_an_unknown_precision_is_refused(pool: EnginePool, loader: RecordingLoader) -> None:
    """A misspelt precision must not load in another one."""
    with pytest.raises(ConfigurationError, match="quantization is 'int4'; it must be one of auto, none, nf4"):
        take(pool, "first", "int4")  # type: ignore[arg-type]
    assert loader.calls == []


def test_an_unknown_model_is_refused_before_loading(pool: EnginePool, loader: RecordingLoader) -> None:
    """Names are resolved by the rules of the roots."""
    with pytest.raises(ConfigurationError, match="no known model"):
        take(pool, "third", "none")
    assert loader.calls == []


def test_auto_means_the_checkpoints_precision_on_the_cpu(root: Path) -> None:
    """4 bits are slow on the CPU, so they are never chosen there unasked."""
    assert choose_auto_quantization(root / "first", Settings(device="cpu")) == "none"


def test_an_adapter_is_told_apart_from_its_base(root: Path) -> None:
    """The reference names the weights and what is put on top of them."""
    adapter = root / "adapter"
    adapter.mkdir()
    for name in ("adapter_config.json", "adapter_model.safetensors"):
        (adapter / name).write_bytes(b"\x02" + bytes(7) + b"{}")
    (adapter / "base").symlink_to(root / "first")
    settings = Settings(model_roots=(root,))

    assert find_reference("adapter", "none", settings) == LocalModel(
        directory=root / "first", quantization="none", adapter=adapter
    )


def test_a_second_kind_of_engine_needs_nothing_but_a_reference_and_a_maker(root: Path) -> None:
    """The pool does not know where an engine's model is."""
    served = ServedModel(server="rack", model="gemma-4-31b-it")
    made: list[ModelReference] = []

    def make(reference: ModelReference, _: Settings) -> IdleEngine:
        made.append(reference)
        return IdleEngine()

    pool = EnginePool(Settings(model_roots=(root,)), find=lambda *_: served, make=make)

    assert take(pool, "gemma-4-31b-it") is take(pool, "gemma-4-31b-it")
    assert made == [served]
    assert ready(pool) == (served,)


SERVED = Settings(
    servers=(Server(model_id="first", urls=("http://127.0.0.1:9",), model="there", quantization="nf4"),)
)


@pytest.mark.parametrize("quantization", ["auto", "nf4"])
def test_an_id_that_the_operator_maps_is_of_a_server(root: Path, quantization: Quantization) -> None:
    """Also where a directory of that name is on this machine; the precision is the server's."""
    settings = SERVED.model_copy(update={"model_roots": (root,)})

    assert find_reference("first", quantization, settings) == ServedModel(server="first", model="there")


def test_a_precision_that_a_server_is_not_said_to_have_is_refused() -> None:
    """It could not be kept, and is not dropped in silence."""
    with pytest.raises(ConfigurationError, match=r"quantization is none, and first runs on a server.*nf4"):
        find_reference("first", "none", SERVED)


def test_a_server_that_is_not_there_is_an_error_that_names_it() -> None:
    """Nothing listens at the port."""
    with pytest.raises(EngineError, match=r"first on http://127.0.0.1:9 cannot be reached.*Tried 4 times"):
        make_engine(ServedModel(server="first", model="there"), SERVED)


def test_a_server_that_the_operator_does_not_name_is_refused(root: Path) -> None:
    """The error names it."""
    with pytest.raises(ConfigurationError, match="rack is in no entry of GEMMA4_BLOCK_SERVERS"):
        make_engine(ServedModel(server="rack", model="gemma-4-31b-it"), Settings(model_roots=(root,)))


def test_the_process_has_one_pool() -> None:
    """Every block, request and thread shares the same engines."""
    with ThreadPoolExecutor(THREADS) as threads:
        pools = list(threads.map(lambda _: get_engine_pool(), range(THREADS)))
    assert len({id(pool) for pool in pools}) == 1


def test_the_pool_imports_no_model_library() -> None:
    """Blocks import the pool when a workflow is compiled; transformers waits until a model is loaded."""
    command = (
        "import sys; from gemma4_block.engine.pool import get_engine_pool; get_engine_pool().list_engines(); "
        "print({'torch', 'transformers', 'inference_models', 'huggingface_hub'} & set(sys.modules))"
    )
    result = subprocess.run([sys.executable, "-c", command], capture_output=True, text=True, check=True)  # noqa: S603 - our own command
    assert result.stdout == "set()\n"


def test_the_default_loader_loads_the_embedded_model() -> None:
    """Without doubles, the pool hands out an engine that knows the demo's budgets."""
    pool = EnginePool(Settings(device="cpu"))
    assert take(pool, "gemma-4-demo").capabilities.image_seq_lengths == (70, 140, 280)
    assert ready(pool) == (find_reference("gemma-4-demo", "none", Settings(device="cpu")),)


def _wait_until_all_run(threads: ThreadPoolExecutor) -> None:
    while threads._work_queue.qsize():
        time.sleep(0.01)


@pytest.mark.parametrize(("level", "expected"), [(None, logging.ERROR), ("DEBUG", logging.DEBUG)])
def test_the_operator_says_what_is_logged(
    root: Path,
    loader: RecordingLoader,
    level: LogLevel | None,
    expected: int,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """From the first model on; without a level the program's own stays."""
    caplog.set_level(logging.ERROR, "gemma4_block")
    settings = Settings(model_roots=(root,), log_level=level)
    take(EnginePool(settings, find=_find, make=loader), "first", "none")
    assert expected == logging.getLogger("gemma4_block").level


def test_a_program_may_end_while_a_model_loads() -> None:
    """A process whose interpreter goes while a thread loads would be aborted by torch."""
    command = (
        "from gemma4_block.engine.pool import EnginePool\n"
        "from gemma4_block.errors import EngineLoadingError\n"
        "from gemma4_block.settings import Settings\n"
        "import gemma4_block.engine.local\n"
        "pool = EnginePool(Settings(device='cpu', max_loading_seconds=0.05))\n"
        "try:\n"
        "    with pool.lease('gemma-4-demo'): pass\n"
        "except EngineLoadingError: print('still loading')\n"
    )
    result = subprocess.run([sys.executable, "-c", command], capture_output=True, text=True, check=False)  # noqa: S603 - our own command
    assert (result.returncode, "outcome=failed" in result.stderr) == (0, False), result.stderr


def test_two_models_that_load_at_once_leave_torch_as_it_was() -> None:
    """While it builds a model, transformers changes torch's default dtype for all threads of the process."""
    before = torch.get_default_dtype()
    pools = [EnginePool(Settings(device="cpu", dtype=dtype)) for dtype in ("bfloat16", "float32") * 2]
    with ThreadPoolExecutor(len(pools)) as threads:
        list(threads.map(lambda pool: take(pool, "gemma-4-demo"), pools))
    assert torch.get_default_dtype() == before
