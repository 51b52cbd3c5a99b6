"""A fault at every seam of the engine: what the caller sees, what the next caller sees, and what is left.

The table of docs/operating.md says the same in words.
"""

import gc
import re
import threading
import time
import weakref
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch

from gemma4_block.contract import (
    Answer,
    Choices,
    GenerationConfig,
    JsonSchema,
    LocalModel,
    ModelReference,
    Prompt,
)
from gemma4_block.demo.scenes import draw_scene
from gemma4_block.engine.local import LocalEngine
from gemma4_block.engine.pool import EnginePool, load_local
from gemma4_block.engine.runner.kv_cache import BatchCache
from gemma4_block.engine.sampling.grammar import Grammar
from gemma4_block.errors import CheckpointError, EngineError, Gemma4BlockError, OutOfMemoryError
from gemma4_block.settings import Settings

from .conftest import DEMO_CHECKPOINT

PAGE = Path(__file__).parents[2] / "docs" / "operating.md"
SETTINGS = Settings(device="cpu", dtype="float32")
GENERATION = GenerationConfig(max_new_tokens=24)
SCHEMA = JsonSchema(text='{"type": "object", "properties": {"count": {"type": "integer", "maximum": 99}}}')
CHOICES = Choices(groups=(("red", "blue"),), schema=JsonSchema(text='{"enum": ["red", "blue"]}'))
ALWAYS = range(1, 10**9)

Break = Callable[[LocalEngine, "Breaker"], None]


MakeError = Callable[[], BaseException]


def _broken() -> BaseException:
    return RuntimeError("broken")


def _no_memory() -> BaseException:
    return torch.OutOfMemoryError("no memory")


class Breaker:
    """Makes calls fail, and mends all of them in the end."""

    def __init__(self) -> None:
        self.failures = 0
        self._mending = ExitStack()

    def break_call(
        self, owner: object, name: str, *, error: MakeError = _broken, at: range | tuple[int, ...] = (1,)
    ) -> None:
        """Make calls of a method fail, counted from 1."""
        monkeypatch = self._mending.enter_context(pytest.MonkeyPatch.context())
        original = getattr(owner, name)
        fail = self._counted(error, at)

        def broken(*arguments: object, **options: object) -> object:
            fail()
            return original(*arguments, **options)

        monkeypatch.setattr(owner, name, broken)

    def break_layer(
        self, engine: LocalEngine, *, error: MakeError = _broken, at: range | tuple[int, ...] = (1,)
    ) -> None:
        """Make passes of the model fail in the middle of it."""
        fail = self._counted(error, at)
        decoder = engine.checkpoint.model.module.get_decoder()  # type: ignore[attr-defined]
        self._mending.callback(decoder.layers[1].register_forward_pre_hook(lambda *_: fail()).remove)

    def mend(self) -> None:
        """Let everything work again."""
        self._mending.close()

    def _counted(self, error: MakeError, at: range | tuple[int, ...]) -> Callable[[], None]:
        calls = 0

        def fail() -> None:
            nonlocal calls
            calls += 1
            if calls in at:
                self.failures += 1
                # One that is raised twice would keep the frames of the first time, and their images.
                raise error()

        return fail


@dataclass(frozen=True, kw_only=True, slots=True)
class Fault:
    """A seam that fails.

    Attributes:
        seam: Its name in the table of docs/operating.md.
        break_it: Makes it fail.
        seen: What the caller gets; None where the answer is right nevertheless.
        words: In its message.
        constraint: Of the prompts.

    """

    seam: str
    break_it: Break
    seen: type[Gemma4BlockError] | None = EngineError
    words: str = "The model failed: RuntimeError: broken"
    constraint: JsonSchema | Choices | None = None


_UNPREPARED = "could not be prepared: RuntimeError: broken"
FAULTS = (
    Fault(
        seam="image processor",
        break_it=lambda e, b: b.break_call(e.checkpoint.image_processor, "cut"),
        words=_UNPREPARED,
    ),
    Fault(
        seam="chat template",
        break_it=lambda e, b: b.break_call(e.checkpoint.template, "render"),
        words=_UNPREPARED,
    ),
    Fault(
        seam="grammar, compiling",
        break_it=lambda e, b: b.break_call(e._submitter._grammars, "start"),
        words=_UNPREPARED,
        constraint=SCHEMA,
    ),
    Fault(
        seam="grammar, in a step",
        break_it=lambda _, b: b.break_call(Grammar, "allowed", at=(3,)),
        constraint=SCHEMA,
    ),
    Fault(seam="vision tower", break_it=lambda e, b: b.break_call(e.checkpoint.model, "encode_images")),
    Fault(seam="vision cache", break_it=lambda e, b: b.break_call(e._features, "keep")),
    Fault(seam="prefix cache", break_it=lambda e, b: b.break_call(e._prefixes, "keep")),
    Fault(seam="prefill", break_it=lambda e, b: b.break_layer(e)),
    Fault(seam="scoring of choices", break_it=lambda e, b: b.break_layer(e, at=(2,)), constraint=CHOICES),
    Fault(seam="decode step", break_it=lambda e, b: b.break_layer(e, at=(5,))),
    Fault(seam="KV cache", break_it=lambda _, b: b.break_call(BatchCache, "grow", at=(2,))),
    Fault(seam="scheduler", break_it=lambda e, b: b.break_call(e._scheduler._loop._admission, "has_place")),
    Fault(
        seam="worker thread",
        break_it=lambda e, b: b.break_layer(e, error=lambda: SystemExit("ended"), at=(5,)),
        words="The model failed: SystemExit: ended",
    ),
    Fault(seam="memory, once", break_it=lambda e, b: b.break_layer(e, error=_no_memory, at=(2,)), seen=None),
    Fault(
        seam="memory, always",
        break_it=lambda e, b: b.break_layer(e, error=_no_memory, at=ALWAYS),
        seen=OutOfMemoryError,
        words="too little memory",
    ),
    Fault(
        seam="detokenizer",
        break_it=lambda e, b: b.break_call(e.checkpoint.detokenizer, "read"),
        words="could not be read: RuntimeError: broken",
    ),
)


@pytest.fixture(scope="module")
def local() -> Iterator[LocalEngine]:
    """One engine for all faults: each begins where the one before it left."""
    engine = load_local(LocalModel(directory=DEMO_CHECKPOINT, quantization="none"), SETTINGS)
    yield engine
    engine.close()


@pytest.fixture
def breaker() -> Iterator[Breaker]:
    """What is broken is mended, also where a test fails."""
    breaker = Breaker()
    yield breaker
    breaker.mend()


def _prompts(constraint: JsonSchema | Choices | None = None) -> list[Prompt]:
    pictures = [draw_scene(np.random.default_rng(seed)).image for seed in (1, 2)]
    # Its answer takes more than the few passes after which some faults come.
    prompt = Prompt(text="What shapes are in the picture?", constraint=constraint)
    return [replace(prompt, images=(picture,)) for picture in pictures]


def _ask(engine: LocalEngine, prompts: list[Prompt]) -> list[tuple[str, str]]:
    """Return texts and why they ended; scores differ in their last digits with what is known already."""
    answers = engine.answer(prompts, GENERATION)
    assert all(isinstance(answer, Answer) for answer in answers)
    return [(one.text, one.finish_reason) for one in answers if isinstance(one, Answer)]


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.seam)
def test_a_fault_is_told_to_its_caller_and_to_nobody_else(
    local: LocalEngine, breaker: Breaker, fault: Fault
) -> None:
    """Who calls gets our own error or a right answer, who calls next a right answer, and nothing is left."""
    expected = _ask(local, _prompts(fault.constraint))
    # Whatever is kept would go around the seam.
    local.forget()
    threads = _count_threads()
    prompts = _prompts(fault.constraint)
    images = [weakref.ref(prompt.images[0]) for prompt in prompts]

    fault.break_it(local, breaker)
    with ThreadPoolExecutor(1) as caller:
        asked = caller.submit(_ask, local, prompts)
        if fault.seen is None:
            assert asked.result(60) == expected
        else:
            with pytest.raises(fault.seen, match=re.escape(fault.words)):
                asked.result(60)
    breaker.mend()

    assert breaker.failures > 0
    assert _ask(local, _prompts(fault.constraint)) == expected
    del asked, prompts
    _check_that_nothing_is_left(local, images)
    # Those of earlier tests may end meanwhile, and make no room for one that is left over.
    assert _count_threads() <= threads


def _count_threads() -> Counter[str]:
    return Counter(thread.name for thread in threading.enumerate())


def _check_that_nothing_is_left(local: LocalEngine, images: list[weakref.ref[np.ndarray]]) -> None:
    # The thread of the model lets go of its last step a moment later.
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        gc.collect()
        running, queue = local._runner._running, local._scheduler._queue
        left = (
            [one for batch in running.values() for one in batch.sequences],
            [batch for batch in running.values() if batch._batch is not None],
            queue._requests,
            [one for one in images if one() is not None],
        )
        if left == ([], [], [], []):
            return
        time.sleep(0.05)
    raise AssertionError(f"left are {left}")


def test_a_fault_does_not_end_the_answers_of_another_caller(local: LocalEngine) -> None:
    """Prefill fails for those that begin; those that run go on."""
    ours, theirs = _prompts()
    long = GenerationConfig(max_new_tokens=60)
    expected = local.answer([ours], long)
    local.forget()
    encode = local.checkpoint.model.encode_images
    is_running = threading.Event()

    def fail_for_the_second(pixels: torch.Tensor, positions: torch.Tensor) -> Sequence[torch.Tensor]:
        if is_running.is_set():
            raise RuntimeError("broken")
        is_running.set()
        return encode(pixels, positions)

    local.checkpoint.model.encode_images = fail_for_the_second  # type: ignore[method-assign]
    try:
        with ThreadPoolExecutor(2) as callers:
            first = callers.submit(local.answer, [ours], long)
            assert is_running.wait(20)
            second = callers.submit(local.answer, [theirs], long)
            with pytest.raises(EngineError, match="broken"):
                second.result(60)
            assert first.result(60) == expected
    finally:
        del local.checkpoint.model.encode_images


def test_a_loader_that_fails_once_is_asked_again() -> None:
    """Who waits gets the error, the next caller an engine; no lease is left, whatever happens under it."""
    attempts: list[ModelReference] = []

    def make(reference: ModelReference, settings: Settings) -> LocalEngine:
        attempts.append(reference)
        if len(attempts) == 1:
            raise CheckpointError("the file is cut off")
        assert isinstance(reference, LocalModel)
        return load_local(reference, settings)

    pool = EnginePool(SETTINGS, make=make, choose_pause=lambda _: 0.0)
    with pytest.raises(CheckpointError, match="cut off"), pool.lease("gemma-4-demo"):
        pass
    assert _leases(pool) == [0]
    with pytest.raises(EngineError, match="broken"), pool.lease("gemma-4-demo"):
        raise EngineError("broken, whatever the caller did with it")
    assert _leases(pool) == [0]
    with pool.lease("gemma-4-demo") as engine:
        answers = engine.answer(_prompts(), GENERATION)
    assert _leases(pool) == [0]
    pool.close()

    assert all(isinstance(answer, Answer) for answer in answers)
    assert len(attempts) == 2


def _leases(pool: EnginePool) -> list[int]:
    return [resident.leases for resident in pool._residents.values()]


def test_the_page_names_every_seam() -> None:
    """And in the same order; those of a server, which follow, are those of remote/test_faults.py."""
    page = PAGE.read_text(encoding="utf-8")
    rows = re.findall(r"^\| ([^|`]+) \| [^|]+ \| [^|]+ \|$", page.partition("## Faults")[2], re.MULTILINE)
    ours = [row for row in rows[1:] if not row.startswith("server, ")]
    assert ours == [*(fault.seam for fault in FAULTS), "loader"]
