"""Calls of many threads share one model, and every answer is the one that plain generation gives alone."""

import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event, Thread
from typing import Any

import numpy as np
import pytest
import torch

from gemma4_block.contract import Answer, Choices, GenerationConfig, JsonSchema, Prompt
from gemma4_block.demo.scenes import draw_scene
from gemma4_block.engine.compat.gemma4_hf import Gemma4HF
from gemma4_block.engine.loading.checkpoint import LoadOptions, load_checkpoint
from gemma4_block.errors import OutOfMemoryError, PromptError
from gemma4_block.settings import Settings
from tests.miniatures import Shape, build_miniature

from .test_prefixes import FRAMES, NEW_TOKENS, QUESTIONS, ask_plainly

CPU = LoadOptions(device=torch.device("cpu"), dtype="float32")
CROPS = [draw_scene(np.random.default_rng(seed)).image[: 90 + 40 * seed] for seed in range(3)]
FORM = JsonSchema(
    text=json.dumps(
        {
            "type": "object",
            "properties": {"number_of_shapes": {"type": "integer", "minimum": 0, "maximum": 99}},
            "required": ["number_of_shapes"],
            "additionalProperties": False,
        }
    )
)
ENDLESS = JsonSchema(text='{"type": "array", "items": {"type": "integer"}, "minItems": 3000}')
WORDS = Choices(groups=(("red", "blue", "a circle"), ("yes", "no")), schema=JsonSchema(text="{}"))


def load(directory: Path, *, most_cells: int | None = None, **settings: object) -> Gemma4HF:
    """Load an engine whose device holds so many tokens of all rows."""
    checkpoint = load_checkpoint(directory, CPU)

    def check_memory(_: torch.nn.Module, __: object, inputs: dict[str, Any]) -> None:
        rows, size = inputs["position_ids"].shape
        cells = rows * (inputs["past_key_values"].get_seq_length() + size)
        if most_cells is not None and cells > most_cells:
            raise torch.OutOfMemoryError

    checkpoint.model.get_decoder().register_forward_pre_hook(check_memory, with_kwargs=True)
    return Gemma4HF(checkpoint, settings=Settings(**settings))  # type: ignore[arg-type]


def whole(answers: Sequence[Answer | PromptError]) -> list[Answer]:
    """Return the answers, all of which must be some."""
    found = [answer for answer in answers if isinstance(answer, Answer)]
    assert len(found) == len(answers)
    return found


def free_prompts() -> list[Prompt]:
    """Ask about shared frames and own crops, and without any image."""
    asked = [Prompt(text=text, images=(frame,)) for frame in FRAMES for text in QUESTIONS]
    asked += [Prompt(text="Count", images=(crop, FRAMES[0])) for crop in CROPS]
    return [*asked, Prompt(text="Hello"), Prompt(text="Describe yourself", system="Be brief.")]


@pytest.mark.parametrize("most_cells", [None, 1500], ids=["enough memory", "little memory"])
@pytest.mark.parametrize("shape", ["e2b", "26b-a4b", "31b"])
def test_answers_of_many_threads_are_those_of_plain_generation(
    shape: Shape, most_cells: int | None, tmp_path: Path
) -> None:
    """Greedy and free, beside sampled, bound, scored and thinking calls; with memory for a few rows only."""
    directory = build_miniature(shape, tmp_path / shape)
    engine = load(directory, most_cells=most_cells, max_batch_size=5)
    prompts = free_prompts()
    others: list[tuple[list[Prompt], GenerationConfig]] = [
        (
            [Prompt(text="Count", images=(FRAMES[0],), constraint=FORM)] * 3,
            GenerationConfig(max_new_tokens=20),
        ),
        ([Prompt(text="Choose", images=(crop,), constraint=WORDS) for crop in CROPS], GenerationConfig()),
        (prompts[:3], GenerationConfig(max_new_tokens=12, do_sample=True, seed=5)),
        (prompts[3:6], GenerationConfig(max_new_tokens=9, repetition_penalty=1.4)),
        (prompts[:2], GenerationConfig(max_new_tokens=8, enable_thinking=True, max_thinking_tokens=4)),
        (
            [Prompt(text="Choose", constraint=WORDS)],
            GenerationConfig(enable_thinking=True, max_thinking_tokens=3),
        ),
    ]
    alone = [
        whole([load(directory).answer([prompt], config)[0] for prompt in asked]) for asked, config in others
    ]
    calls = [(prompts, GenerationConfig(max_new_tokens=NEW_TOKENS)), *others] + [
        ([prompt], GenerationConfig(max_new_tokens=NEW_TOKENS)) for prompt in prompts
    ]
    with ThreadPoolExecutor(len(calls)) as threads:
        found = list(threads.map(lambda call: whole(engine.answer(*call)), calls))
    texts = [[answer.text for answer in answers] for answers in found]
    expected = ask_plainly(directory, engine, prompts)

    assert texts[0] == expected
    assert texts[1 + len(others) :] == [[text] for text in expected]
    for answers, wanted in zip(found[1 : 1 + len(others)], alone, strict=True):
        assert [answer.text for answer in answers] == [answer.text for answer in wanted]
        assert [answer.thinking for answer in answers] == [answer.thinking for answer in wanted]
        for one, other in zip(answers, wanted, strict=True):
            if other.choice_probabilities is not None:
                assert one.choice_probabilities is not None
                np.testing.assert_allclose(
                    one.choice_probabilities[0], other.choice_probabilities[0], atol=1e-3
                )
    assert (engine._service._scheduler._room._max_cells is None) == (most_cells is None)


def test_a_prompt_that_does_not_fit_alone_is_refused_and_the_model_goes_on(tmp_path: Path) -> None:
    """The message says what to do."""
    engine = load(build_miniature("e2b", tmp_path / "e2b"), most_cells=200)
    config = GenerationConfig(max_new_tokens=3)
    with pytest.raises(OutOfMemoryError, match="image_seq_length"):
        engine.answer([Prompt(text="Count", images=(FRAMES[0],))], config)

    whole(engine.answer([Prompt(text="Hello")], config))


def test_an_answer_that_takes_too_long_ends_where_it_stands(tmp_path: Path) -> None:
    """The operator's limit and the caller's, whichever is shorter; prompts that were not begun say so too."""
    directory = build_miniature("e2b", tmp_path / "e2b")
    endless = GenerationConfig(max_new_tokens=100_000)
    prompts = [Prompt(text="Hello", constraint=ENDLESS)] * 40
    for engine, limit in ((load(directory, max_seconds=0.7), 60.0), (load(directory), 0.7)):
        engine.answer([Prompt(text="Hello")], GenerationConfig(max_new_tokens=1))
        answers = whole(engine.answer(prompts, endless, max_seconds=limit))

        assert {answer.finish_reason for answer in answers} == {"deadline"}
        assert answers[0].text
        assert not answers[-1].text


def test_a_cancelled_call_returns_what_there_is(tmp_path: Path) -> None:
    """Another thread says so while the model writes."""
    engine = load(build_miniature("e2b", tmp_path / "e2b"))
    cancelled, begun = Event(), Event()
    engine._service._passes.model.get_decoder().register_forward_pre_hook(lambda *_: begun.set())
    prompt = Prompt(text="Hello", constraint=ENDLESS)

    def cancel() -> None:
        begun.wait(30)
        cancelled.set()

    helper = Thread(target=cancel)
    helper.start()
    (answer,) = whole(engine.answer([prompt], GenerationConfig(max_new_tokens=100_000), cancelled=cancelled))
    helper.join()

    assert answer.finish_reason == "cancelled"
    assert answer.output_tokens > 0
