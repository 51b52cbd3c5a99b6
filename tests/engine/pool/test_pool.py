"""One engine for each model and precision: loaded once, shared, dropped, loaded again."""

import gc
import logging
import subprocess
import sys
import time
import weakref
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier, Event, Lock

import pytest

from gemma4_block.contract import (
    IMAGE_SEQ_LENGTHS,
    Answer,
    Capabilities,
    GenerationConfig,
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
from gemma4_block.errors import CheckpointError, ConfigurationError, EngineError, PromptError
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
        return IdleEngine()


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
        (folder / name / "model.safetensors").write_bytes(b"weights")
    return folder


@pytest.fixture
def loader() -> RecordingLoader:
    """A loader of engines that do nothing."""
    return RecordingLoader()


@pytest.fixture
def pool(root: Path, loader: RecordingLoader) -> EnginePool:
    """A pool over the two models."""
    return EnginePool(Settings(model_roots=(root,)), find=_find, make=loader)


def test_asking_again_returns_the_same_engine(pool: EnginePool, root: Path, loader: RecordingLoader) -> None:
    """Weights are loaded once a process, whatever name of the directory is used."""
    engine = pool.get("first", "none")
    (root / "alias").symlink_to(root / "first")
    for name in ("first", "./first", str(root / "first"), "alias"):
        assert pool.get(name, "none") is engine
    assert loader.calls == [(root / "first", "none")]


def test_models_and_precisions_are_told_apart(pool: EnginePool, root: Path, loader: RecordingLoader) -> None:
    """Each directory and each precision has an engine of its own."""
    engines = [pool.get("first", "none"), pool.get("first", "nf4"), pool.get("second", "none")]
    assert len({id(engine) for engine in engines}) == 3
    assert loader.calls == [(root / "first", "none"), (root / "first", "nf4"), (root / "second", "none")]


def test_auto_shares_the_engine_of_the_precision_it_means(pool: EnginePool, loader: RecordingLoader) -> None:
    """One step that says `auto` and one that says what `auto` is do not load two copies."""
    assert pool.get("first", "auto") is pool.get("first", "none")
    assert [quantization for _, quantization in loader.calls] == ["none"]


def test_many_threads_load_once(pool: EnginePool, loader: RecordingLoader) -> None:
    """Sixteen first requests at once cost one load, and all get the same object."""
    loader.may_finish["first"] = Event()
    start = Barrier(THREADS)

    def ask() -> object:
        start.wait(TIMEOUT_S)
        return pool.get("first", "none")

    with ThreadPoolExecutor(THREADS) as threads:
        asked = [threads.submit(ask) for _ in range(THREADS)]
        assert loader.has_started.wait(TIMEOUT_S)
        loader.may_finish["first"].set()
        engines = [future.result(TIMEOUT_S) for future in asked]
    assert len({id(engine) for engine in engines}) == 1
    assert len(loader.calls) == 1


def test_a_failed_load_raises_for_everyone_who_waited_and_is_tried_again(
    pool: EnginePool, loader: RecordingLoader
) -> None:
    """Nobody waits for ever, and a failure is not remembered."""
    loader.may_finish["first"] = Event()
    loader.errors = [CheckpointError("cut off")]
    with ThreadPoolExecutor(THREADS) as threads:
        asked = [threads.submit(pool.get, "first", "none")]
        assert loader.has_started.wait(TIMEOUT_S)
        asked += [threads.submit(pool.get, "first", "none") for _ in range(THREADS - 1)]
        _wait_until_all_run(threads)
        loader.may_finish["first"].set()
        failures = [future.exception(TIMEOUT_S) for future in asked]
    # A thread that came after the failure has loaded anew, as it should.
    assert isinstance(failures[0], CheckpointError)
    assert all(failure is None or str(failure) == "cut off" for failure in failures)
    assert isinstance(pool.get("first", "none"), IdleEngine)
    assert len(loader.calls) == 2


def test_an_interrupted_load_does_not_interrupt_those_who_waited(
    pool: EnginePool, loader: RecordingLoader
) -> None:
    """Ctrl-C in one thread is an engine error in the others, who may ask again."""
    loader.may_finish["first"] = Event()
    loader.errors = [KeyboardInterrupt()]
    with ThreadPoolExecutor(2) as threads:
        first = threads.submit(pool.get, "first", "none")
        assert loader.has_started.wait(TIMEOUT_S)
        second = threads.submit(pool.get, "first", "none")
        _wait_until_all_run(threads)
        loader.may_finish["first"].set()
        assert isinstance(first.exception(TIMEOUT_S), KeyboardInterrupt)
        assert isinstance(second.exception(TIMEOUT_S), EngineError | None)
    assert isinstance(pool.get("first", "none"), IdleEngine)


def test_a_slow_load_holds_up_nobody_else(pool: EnginePool, loader: RecordingLoader) -> None:
    """While one model loads, loaded ones are handed out and others load."""
    loader.may_finish["first"] = Event()
    with ThreadPoolExecutor(1) as threads:
        slow = threads.submit(pool.get, "first", "none")
        assert loader.has_started.wait(TIMEOUT_S)
        second = pool.get("second", "none")
        assert pool.get("second", "none") is second
        assert not slow.done()
        loader.may_finish["first"].set()
        slow.result(TIMEOUT_S)


def test_loaded_lists_what_is_ready(pool: EnginePool, root: Path, loader: RecordingLoader) -> None:
    """A model that is still loading, or failed to, is not listed."""
    assert pool.loaded() == ()
    loader.errors = [CheckpointError("cut off")]
    with pytest.raises(CheckpointError):
        pool.get("second", "none")
    pool.get("first", "nf4")
    loader.may_finish["second"] = Event()
    loader.has_started.clear()
    with ThreadPoolExecutor(1) as threads:
        threads.submit(pool.get, "second", "none")
        assert loader.has_started.wait(TIMEOUT_S)
        assert pool.loaded() == (LocalModel(directory=root / "first", quantization="nf4"),)
        loader.may_finish["second"].set()
    assert pool.loaded() == (
        LocalModel(directory=root / "first", quantization="nf4"),
        LocalModel(directory=root / "second", quantization="none"),
    )


def test_unloading_frees_the_engine_at_once(pool: EnginePool, loader: RecordingLoader) -> None:
    """Memory comes back without waiting for the garbage collector, and the next request loads again."""
    reference = weakref.ref(pool.get("first", "none"))
    gc.disable()
    try:
        assert pool.unload(pool.loaded()[0])
        assert reference() is None
    finally:
        gc.enable()
    assert pool.loaded() == ()
    pool.get("first", "none")
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
        asked = threads.submit(pool.get, "first", "none")
        assert loader.has_started.wait(TIMEOUT_S)
        assert not pool.unload(LocalModel(directory=root / "first", quantization="none"))
        loader.may_finish["first"].set()
        assert isinstance(asked.result(TIMEOUT_S), IdleEngine)
    assert len(pool.loaded()) == 1


def test_closing_the_pool_closes_what_is_loaded(pool: EnginePool) -> None:
    """Nothing of it is given out again."""
    engines = [pool.get("first", "none"), pool.get("second", "none")]
    pool.close()
    assert [engine.is_closed for engine in engines if isinstance(engine, IdleEngine)] == [True, True]
    assert pool.loaded() == ()
    assert pool.get("first", "none") not in engines


def test_the_loader_gets_the_operators_settings(root: Path, loader: RecordingLoader) -> None:
    """Device and precision of the environment reach the weights."""
    settings = Settings(model_roots=(root,), device="cuda:1", dtype="float32")
    EnginePool(settings, find=_find, make=loader).get("first")
    assert loader.settings == [settings]


def test_an_unknown_precision_is_refused(pool: EnginePool, loader: RecordingLoader) -> None:
    """A misspelt precision must not load in another one."""
    with pytest.raises(ConfigurationError, match="quantization is 'int8'; it must be one of auto, none, nf4"):
        pool.get("first", "int8")  # type: ignore[arg-type]
    assert loader.calls == []


def test_an_unknown_model_is_refused_before_loading(pool: EnginePool, loader: RecordingLoader) -> None:
    """Names are resolved by the rules of the roots."""
    with pytest.raises(ConfigurationError, match="no known model"):
        pool.get("third", "none")
    assert loader.calls == []


def test_auto_means_the_checkpoints_precision_on_the_cpu(root: Path) -> None:
    """4 bits are slow on the CPU, so they are never chosen there unasked."""
    assert choose_auto_quantization(root / "first", Settings(device="cpu")) == "none"


def test_an_adapter_is_told_apart_from_its_base(root: Path) -> None:
    """The reference names the weights and what is put on top of them."""
    adapter = root / "adapter"
    adapter.mkdir()
    for name in ("adapter_config.json", "adapter_model.safetensors"):
        (adapter / name).write_bytes(b"{}")
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

    assert pool.get("gemma-4-31b-it") is pool.get("gemma-4-31b-it")
    assert made == [served]
    assert pool.loaded() == (served,)


def test_a_server_that_nothing_here_can_ask_is_refused(root: Path) -> None:
    """The error names it."""
    with pytest.raises(ConfigurationError, match="gemma-4-31b-it is a model of the server rack"):
        make_engine(ServedModel(server="rack", model="gemma-4-31b-it"), Settings(model_roots=(root,)))


def test_the_process_has_one_pool() -> None:
    """Every block, request and thread shares the same engines."""
    with ThreadPoolExecutor(THREADS) as threads:
        pools = list(threads.map(lambda _: get_engine_pool(), range(THREADS)))
    assert len({id(pool) for pool in pools}) == 1


def test_the_pool_imports_no_model_library() -> None:
    """Blocks import the pool when a workflow is compiled; transformers waits until a model is loaded."""
    command = (
        "import sys; from gemma4_block.engine.pool import get_engine_pool; get_engine_pool().loaded(); "
        "print({'torch', 'transformers', 'inference_models', 'huggingface_hub'} & set(sys.modules))"
    )
    result = subprocess.run([sys.executable, "-c", command], capture_output=True, text=True, check=True)  # noqa: S603 - our own command
    assert result.stdout == "set()\n"


def test_the_default_loader_loads_the_embedded_model() -> None:
    """Without doubles, the pool hands out an engine that knows the demo's budget."""
    pool = EnginePool(Settings(device="cpu"))
    assert pool.get("gemma-4-demo").capabilities.image_seq_lengths == (70,)
    assert pool.loaded() == (find_reference("gemma-4-demo", "none", Settings(device="cpu")),)


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
    EnginePool(settings, find=_find, make=loader).get("first", "none")
    assert expected == logging.getLogger("gemma4_block").level
