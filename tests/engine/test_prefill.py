"""Prompts are read by the layers that keep something of them, and by no others."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from gemma4_block.contract import Answer, GenerationConfig, Prompt
from gemma4_block.demo.scenes import draw_scene
from gemma4_block.engine.compat.gemma4_hf import Gemma4HF
from gemma4_block.engine.runner.prefill import Unread
from tests.miniatures import Shape, build_adapter, build_miniature


def count_positions(engine: Gemma4HF) -> list[list[int]]:
    """Return, filled at every call, how many positions each text layer was given."""
    layers = engine._service._passes.model.get_decoder().layers
    seen: list[list[int]] = [[] for _ in layers]
    for place, layer in enumerate(layers):

        def note(_: torch.nn.Module, inputs: tuple[Any, ...], found: list[int] = seen[place]) -> None:
            found.append(inputs[0].shape[1])

        layer.register_forward_pre_hook(note)
    return seen


@pytest.mark.parametrize(("shape", "shared"), [("e2b", 5), ("26b-a4b", 0), ("31b", 0)])
def test_layers_that_keep_nothing_read_the_last_position_only(
    shape: Shape, shared: int, tmp_path: Path
) -> None:
    """The lower layers read the whole prompt once; layers are counted, not times."""
    engine = Gemma4HF.from_pretrained(build_miniature(shape, tmp_path / shape), device="cpu")
    image = draw_scene(np.random.default_rng(2)).image
    seen = count_positions(engine)
    (answer,) = engine.answer([Prompt(text="Count", images=(image,))], GenerationConfig(max_new_tokens=1))

    assert isinstance(answer, Answer)
    length = answer.input_tokens
    own = len(seen) - shared
    whole = [length - 1, 1] if shared else [length]
    assert seen == [whole] * own + [[1]] * shared


@pytest.mark.parametrize(("count", "upper"), [(4, 4), (5, 1)])
def test_a_few_more_tokens_are_read_in_one_pass_and_others_in_two(
    count: int, upper: int, tmp_path: Path
) -> None:
    """On a CPU a second pass pays from five tokens on; the logits are the same."""
    engine = Gemma4HF.from_pretrained(build_miniature("e2b", tmp_path / "e2b"), device="cpu")
    passes = engine._service._passes
    seen = count_positions(engine)
    with torch.inference_mode():
        context, _, _ = passes.begin([[5, 6, 7]], [], prefix_lengths=[0])
        for positions in seen:
            positions.clear()
        logits = passes.extend(context, [[8] * count])
        expected = passes.model(input_ids=torch.tensor([[5, 6, 7, *[8] * count]])).logits[:, -1]

    assert seen[0][:-1] == ([4] if count == 4 else [4, 1])
    assert seen[-1][:-1] == [upper]
    torch.testing.assert_close(logits, expected, atol=1e-3, rtol=0)


@pytest.mark.parametrize("text", ["Count", "Describe the image. " * 9])
def test_what_comes_next_is_what_all_layers_would_say(text: str, tmp_path: Path) -> None:
    """Below and beyond the sliding window, alone and padded: logits equal those of a plain forward pass."""
    engine = Gemma4HF.from_pretrained(build_miniature("e2b", tmp_path / "e2b"), device="cpu")
    image = draw_scene(np.random.default_rng(2)).image
    prompts = [Prompt(text=text, images=(image,)), Prompt(text="Hello, what is it?", images=(image, image))]
    prepared = [engine._service._preparer.prepare(i, p, enable_thinking=False) for i, p in enumerate(prompts)]
    with torch.inference_mode():
        reading = engine._service._runner._reader.read([Unread(prompt=one) for one in prepared])
        for row, prompt in enumerate(prepared):
            expected = engine._service._passes.model(**engine._service.pad([prompt])).logits[0, -1]
            # Measured: below 1e-5; a layer that is left out changes whole units.
            torch.testing.assert_close(reading.logits[row], expected, atol=1e-3, rtol=0)


def test_an_adapter_in_the_skipped_layers_still_speaks(tmp_path: Path) -> None:
    """A LoRA reaches all layers, and the answer is that of plain generation with it."""
    base = build_miniature("e2b", tmp_path / "base")
    adapted = Gemma4HF.from_pretrained(build_adapter(base, tmp_path / "adapted"), device="cpu")
    image = draw_scene(np.random.default_rng(2)).image
    prepared = adapted._service._preparer.prepare(
        0, Prompt(text="Hello", images=(image,)), enable_thinking=False
    )
    inputs = adapted._service.pad([prepared])
    with torch.inference_mode():
        expected = adapted._service._passes.model.generate(**inputs, max_new_tokens=8, do_sample=False)
    generated = adapted.generate(inputs, max_new_tokens=8)

    assert expected[0, len(prepared.input_ids) :].tolist() == generated[0].tolist()
