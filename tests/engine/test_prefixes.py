"""What prompts begin with is read once, within a call and across calls, and answers stay what they were."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModelForMultimodalLM

from gemma4_block.contract import Answer, GenerationConfig, Prompt, RgbImage
from gemma4_block.demo.scenes import draw_scene
from gemma4_block.engine.compat.gemma4_hf import Gemma4HF
from gemma4_block.engine.loading.checkpoint import LoadOptions, load_checkpoint
from gemma4_block.engine.runner.prefill import Unread
from gemma4_block.settings import Settings
from tests.miniatures import SLIDING_WINDOW, Shape, build_miniature

CPU = LoadOptions(device=torch.device("cpu"), dtype="float32")
SHAPES: tuple[Shape, ...] = ("e2b", "12b", "26b-a4b", "31b")
FRAMES = [draw_scene(np.random.default_rng(seed)).image for seed in range(2)]
# Shorter and longer than the window of the miniatures, and than what is worth a pass of its own.
QUESTIONS = ("Hi", "Count the shapes, please", "Describe the image. " * 9, "Read the number that you see")
NEW_TOKENS = 10


def load(directory: Path, **settings: int) -> tuple[Gemma4HF, list[tuple[int, int]]]:
    """Load an engine that notes the shape, rows and positions, of what the first layer is given."""
    checkpoint = load_checkpoint(directory, CPU)
    shapes: list[tuple[int, int]] = []

    def note(_: torch.nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
        shapes.append((inputs[0].shape[0], inputs[0].shape[1]))

    checkpoint.model.get_decoder().layers[0].register_forward_pre_hook(note)
    return Gemma4HF(checkpoint, settings=Settings(**settings)), shapes  # type: ignore[arg-type]


def ask(engine: Gemma4HF, prompts: Sequence[Prompt]) -> list[str]:
    """Return the texts."""
    answers = engine.answer(prompts, GenerationConfig(max_new_tokens=NEW_TOKENS))
    return [answer.text if isinstance(answer, Answer) else str(answer) for answer in answers]


def ask_plainly(directory: Path, engine: Gemma4HF, prompts: Sequence[Prompt]) -> list[str]:
    """Return what transformers' own `generate` answers to each prompt alone."""
    model = AutoModelForMultimodalLM.from_pretrained(directory, dtype="float32").eval()
    texts = []
    for prompt in prompts:
        prepared = engine._service._preparer.prepare(0, prompt, enable_thinking=False)
        inputs = engine._service.pad([prepared])
        with torch.inference_mode():
            ids = model.generate(**inputs, max_new_tokens=NEW_TOKENS, do_sample=False)
        texts += engine.post_process_generation(ids[:, len(prepared.input_ids) :], skip_special_tokens=True)
    return texts


def questions(frame: RgbImage, *more: RgbImage) -> list[Prompt]:
    """Ask all questions about the same images."""
    return [Prompt(text=text, images=(frame, *more)) for text in QUESTIONS]


@pytest.mark.parametrize("shape", SHAPES)
def test_answers_from_a_shared_beginning_are_those_of_plain_generation(shape: Shape, tmp_path: Path) -> None:
    """Together in one call, alone in later calls, with two images, and without any memory."""
    directory = build_miniature(shape, tmp_path / shape)
    engine, _ = load(directory)
    forgetful, _ = load(directory, prefix_cache_bytes=0, vision_cache_bytes=0)
    prompts = [*questions(FRAMES[0]), *questions(*FRAMES), Prompt(text="Hello")]
    expected = ask_plainly(directory, engine, prompts)

    assert len(set(expected)) > 4
    assert ask(engine, prompts) == expected
    assert [ask(engine, [prompt])[0] for prompt in prompts] == expected
    assert ask(engine, prompts[::-1]) == expected[::-1]
    assert ask(forgetful, prompts) == expected


@pytest.mark.parametrize("shape", SHAPES)
def test_only_the_question_is_read_the_second_time(shape: Shape, tmp_path: Path) -> None:
    """Positions are counted, not times."""
    engine, shapes = load(build_miniature(shape, tmp_path / shape))
    first, second = questions(FRAMES[0])[1:3]
    (answer,) = engine.answer([first], GenerationConfig(max_new_tokens=1))
    assert isinstance(answer, Answer)
    own = len(engine._service._preparer.prepare(0, second, enable_thinking=False).input_ids)
    prefix = engine._service._preparer.prepare(0, second, enable_thinking=False).prefix_length
    assert sum(size for _, size in shapes) == answer.input_tokens
    shapes.clear()
    engine.answer([second], GenerationConfig(max_new_tokens=1))

    assert prefix > SLIDING_WINDOW
    assert sum(size for _, size in shapes) == own - prefix
    shapes.clear()
    engine.forget()
    engine.answer([second], GenerationConfig(max_new_tokens=1))
    assert sum(size for _, size in shapes) == own


def test_within_a_call_a_beginning_is_read_once_even_where_nothing_is_kept(tmp_path: Path) -> None:
    """Four questions of one batch: one row reads all, three rows read on."""
    engine, shapes = load(build_miniature("31b", tmp_path / "31b"), prefix_cache_bytes=0)
    prompts = questions(FRAMES[0])
    prepared = [
        engine._service._preparer.prepare(i, one, enable_thinking=False) for i, one in enumerate(prompts)
    ]
    with torch.inference_mode():
        engine._service._runner._reader.read([Unread(prompt=one) for one in prepared])

    longest = max(len(one.input_ids) - one.prefix_length for one in prepared[1:])
    assert shapes == [(1, len(prepared[0].input_ids)), (3, longest)]


def test_what_is_kept_is_not_written_into(tmp_path: Path) -> None:
    """Rows that go on from a beginning leave it as it was."""
    engine, _ = load(build_miniature("e2b", tmp_path / "e2b"))
    prompts = questions(FRAMES[0])
    first = ask(engine, prompts[:1])
    (prefix,) = engine._service._prefixes._values.values()
    before = [(keys.clone(), values.clone()) for keys, values in prefix.layers]
    ask(engine, prompts)

    for (keys, values), (old_keys, old_values) in zip(prefix.layers, before, strict=True):
        assert torch.equal(keys, old_keys)
        assert torch.equal(values, old_values)
    assert ask(engine, prompts[:1]) == first


def test_beginnings_are_bounded_in_bytes(tmp_path: Path) -> None:
    """One that does not fit is not even copied; the one that was asked for last stays."""
    directory = build_miniature("e2b", tmp_path / "e2b")
    engine, _ = load(directory)
    ask(engine, questions(FRAMES[0])[:1])
    (prefix,) = engine._service._prefixes._values.values()
    assert engine._service._passes.size_of(prefix.length) == prefix.nbytes
    tight, shapes = load(directory, prefix_cache_bytes=prefix.nbytes)
    for frame in (*FRAMES, FRAMES[1]):
        ask(tight, questions(frame)[:1])
    assert len(tight._service._prefixes._values) == 1
    assert [size > prefix.length // 2 for _, size in shapes].count(True) == 2
    none, _ = load(directory, prefix_cache_bytes=prefix.nbytes - 1)
    ask(none, questions(FRAMES[0])[:1])
    assert not none._service._prefixes._values
