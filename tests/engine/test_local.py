"""The engine of this process: what it holds, what it gives back, and what it does when things go wrong."""

import gc
import os
import time
import weakref
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from threading import Event

import numpy as np
import pytest
import torch

from gemma4_block.contract import Answer, Choices, GenerationConfig, JsonSchema, LocalModel, Prompt
from gemma4_block.demo.scenes import draw_scene
from gemma4_block.engine.local import LocalEngine
from gemma4_block.engine.pool import EnginePool, load_local
from gemma4_block.errors import EngineError, PromptError
from gemma4_block.settings import Settings

from .conftest import DEMO_CHECKPOINT

QUESTION = "Describe what you see in this image."
CHOICES = Choices(groups=(("red", "blue"),), schema=JsonSchema(text='{"enum": ["red", "blue"]}'))


@pytest.fixture
def local() -> Iterator[LocalEngine]:
    """An engine of its own for each test."""
    model = LocalModel(directory=DEMO_CHECKPOINT, quantization="none")
    engine = load_local(model, Settings(device="cpu", dtype="float32"))
    yield engine
    engine.close()


def make_prompts(count: int) -> list[Prompt]:
    """Ask the same about as many pictures."""
    return [
        Prompt(text=QUESTION, images=(draw_scene(np.random.default_rng(seed)).image,))
        for seed in range(count)
    ]


def texts(answers: list[Answer | PromptError]) -> list[str]:
    """Return the texts of answers that must all be there."""
    return [answer.text for answer in answers if isinstance(answer, Answer)]


def test_the_images_of_a_call_go_with_it(local: LocalEngine) -> None:
    """Nothing waits for the garbage collector: neither one prompt, nor many, nor a call that fails."""
    gc.collect()
    gc.disable()
    try:
        left: list[int] = []
        for count in (1, 4):
            prompts = make_prompts(count)
            images = [weakref.ref(prompt.images[0]) for prompt in prompts]
            assert len(texts(local.answer(prompts, GenerationConfig()))) == count
            del prompts
            # The thread of the model lets go of its last step a moment later.
            deadline = time.monotonic() + 5
            while any(image() is not None for image in images) and time.monotonic() < deadline:
                time.sleep(0.01)
            left.append(sum(image() is not None for image in images))
    finally:
        gc.enable()

    assert left == [0, 0]


@pytest.mark.parametrize("count", [1, 4])
def test_a_failure_in_preparing_is_an_error_of_the_engine(
    local: LocalEngine, monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    """It names what went wrong, whichever thread prepares."""

    def fail(*_: object, **__: object) -> None:
        raise TypeError("no such patch")

    monkeypatch.setattr(type(local.checkpoint.image_processor), "cut", fail)
    with pytest.raises(EngineError, match="could not be prepared: TypeError: no such patch"):
        local.answer(make_prompts(count), GenerationConfig())


def test_a_preparing_thread_that_is_ended_does_not_leave_its_caller_waiting(
    local: LocalEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not even what is no Exception, such as SystemExit, is lost."""

    def leave(*_: object, **__: object) -> None:
        raise SystemExit

    monkeypatch.setattr(type(local.checkpoint.image_processor), "cut", leave)
    with ThreadPoolExecutor(1) as threads:
        asked = threads.submit(local.answer, make_prompts(3), GenerationConfig())
        with pytest.raises(EngineError, match="SystemExit"):
            asked.result(20)


def test_a_deadline_holds_while_prompts_are_prepared(
    local: LocalEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A slow picture does not keep its caller longer than allowed."""
    cut = type(local.checkpoint.image_processor).cut
    may_go_on = Event()

    def wait(*arguments: object, **options: object) -> object:
        may_go_on.wait(20)
        return cut(*arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(type(local.checkpoint.image_processor), "cut", wait)
    started = time.monotonic()
    answers = local.answer(make_prompts(3), GenerationConfig(), deadline=started + 0.3)
    seconds = time.monotonic() - started
    may_go_on.set()

    assert [one.finish_reason for one in answers if isinstance(one, Answer)] == ["deadline"] * 3
    assert seconds < 5


def test_running_out_of_memory_in_a_step_does_not_read_the_others_again(local: LocalEngine) -> None:
    """A layer fails in the middle of a pass: the cache is restored, and only the youngest is read again."""
    prompts = make_prompts(4)
    expected = texts(local.answer(prompts, GenerationConfig()))
    local.forget()
    passes: list[tuple[int, int]] = []
    failed: list[int] = []

    def note(_: object, __: object, options: dict[str, torch.Tensor]) -> None:
        passes.append(
            (options["input_ids"] if "input_ids" in options else options["inputs_embeds"]).shape[:2]
        )

    def fail_once(*_: object) -> None:
        if len(passes) == 8 and not failed:
            failed.append(1)
            raise torch.OutOfMemoryError("no memory")

    decoder = local.checkpoint.model.module.get_decoder()  # type: ignore[attr-defined]
    hooks = [
        decoder.register_forward_pre_hook(note, with_kwargs=True),
        decoder.layers[1].register_forward_pre_hook(fail_once),
    ]
    answers = texts(local.answer(prompts, GenerationConfig()))
    for hook in hooks:
        hook.remove()

    assert failed
    assert answers == expected
    # Rows of the pass that failed, and of the next one.
    assert passes[7][0] > passes[8][0] >= 1
    assert sum(length > 1 for rows, length in passes[8:]) <= 2


@pytest.mark.parametrize("constraint", [None, CHOICES], ids=["text", "choices"])
def test_numbers_that_are_none_are_no_answer(local: LocalEngine, constraint: Choices | None) -> None:
    """Damaged weights, or a picture that overflows: the prompt has the reason, its neighbour an answer."""
    good, bad = make_prompts(2)
    good, bad = replace(good, constraint=constraint), replace(bad, constraint=constraint)
    (expected,) = local.answer([good], GenerationConfig())
    encode = local.checkpoint.model.encode_images
    seen: list[int] = []

    def damage(pixel_values: torch.Tensor, position_ids: torch.Tensor) -> list[torch.Tensor]:
        seen.append(len(pixel_values))
        return [features * torch.nan for features in encode(pixel_values, position_ids)]

    # The picture of the good prompt is known already.
    local.checkpoint.model.encode_images = damage  # type: ignore[method-assign]
    answered, refused = local.answer([good, bad], GenerationConfig())

    assert seen == [1]
    assert isinstance(refused, PromptError)
    assert "not finite" in str(refused)
    assert isinstance(answered, Answer)
    assert isinstance(expected, Answer)
    assert answered.text == expected.text


def test_a_pad_inside_of_an_answer_does_not_end_it(local: LocalEngine) -> None:
    """Only those after the last token fill up a row."""
    tokens, encode = local.checkpoint.special_tokens, local.checkpoint.template.encode_text
    ids = [*encode("red"), tokens.pad_id, *encode(" blue"), tokens.pad_id, tokens.pad_id]
    reply = local.checkpoint.detokenizer.read(ids)

    assert reply.text == "red blue"
    assert reply.output_tokens == len(ids) - 2


def test_closing_gives_back_the_weights(local: LocalEngine) -> None:
    """The threads end, later calls are refused, and nothing but the caller holds the model."""
    local.answer(make_prompts(2), GenerationConfig())
    weights = local.checkpoint.model.nbytes
    with_caches = local.nbytes
    local.close()

    # The file is in bfloat16, the model in float32.
    assert weights == pytest.approx(2 * (DEMO_CHECKPOINT / "model.safetensors").stat().st_size, rel=0.05)
    assert with_caches > weights
    assert local.nbytes == weights
    with pytest.raises(EngineError, match="closed"):
        local.answer(make_prompts(1), GenerationConfig())
    with pytest.raises(EngineError, match="closed"):
        local.answer(make_prompts(3), GenerationConfig())


def test_an_engine_that_nobody_holds_frees_its_model() -> None:
    """Also where nobody closed it."""
    model = LocalModel(directory=DEMO_CHECKPOINT, quantization="none")
    engine = load_local(model, Settings(device="cpu"))
    engine.answer(make_prompts(2), GenerationConfig(max_new_tokens=1))
    module = weakref.ref(engine.checkpoint.model.module)  # type: ignore[attr-defined]
    del engine
    deadline = time.monotonic() + 10
    while module() is not None and time.monotonic() < deadline:
        gc.collect()
        time.sleep(0.05)

    assert module() is None


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_process_is_refused_before_torch_could_end_it(tmp_path: Path) -> None:
    """The parent's engine and a model of the child's own are both refused, and the parent goes on."""
    pool = EnginePool(Settings(device="cpu", dtype="float32"))
    with pool.lease("gemma-4-demo") as engine:
        pass
    prompts = make_prompts(4)
    expected = texts(engine.answer(prompts, GenerationConfig()))
    said = tmp_path / "said"
    child = os.fork()
    if child == 0:
        try:
            with pytest.raises(EngineError, match="forked"):
                engine.answer(prompts, GenerationConfig())
            with pytest.raises(EngineError, match="forked"):
                pool.lease("gemma-4-demo").__enter__()
            said.write_text("both refused", encoding="utf-8")
        finally:
            os._exit(0)
    deadline = time.monotonic() + 60
    while os.waitpid(child, os.WNOHANG) == (0, 0):
        if time.monotonic() > deadline:
            os.kill(child, 9)
        time.sleep(0.05)

    assert said.read_text(encoding="utf-8") == "both refused"
    assert texts(engine.answer(prompts, GenerationConfig())) == expected
