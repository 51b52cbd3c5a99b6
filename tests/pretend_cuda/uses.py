"""Uses of an engine, one for each of its mechanisms."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event
from time import monotonic
from typing import Final

import numpy as np

from gemma4_block.cli.selftest.uses import CHOICES, COUNT
from gemma4_block.contract import Answer, Engine, GenerationConfig, JsonSchema, Prompt
from gemma4_block.demo.scenes import draw_scene
from gemma4_block.engine.local import LocalEngine
from gemma4_block.errors import PromptError
from tests.pretend_cuda.report import Outcome

FRAMES: Final = [draw_scene(np.random.default_rng(seed), shape_count=2).image for seed in range(3)]
_NUMBERS: Final = JsonSchema(text='{"type": "array", "items": {"type": "integer"}, "minItems": 40}')
_ENDLESS: Final = JsonSchema(text='{"type": "array", "items": {"type": "integer"}, "minItems": 4000}')
_QUESTIONS: Final = ("How many shapes are there?", "Describe the picture.")


def ask(engine: Engine, prompts: Sequence[Prompt], **options: object) -> Outcome:
    """Return what an engine answers to prompts in one call."""
    return gather(engine.answer(prompts, GenerationConfig(**options)))  # type: ignore[arg-type]


def gather(answers: Sequence[Answer | PromptError]) -> Outcome:
    """Return answers in a form that can be written."""
    texts, scores = [], []
    for answer in answers:
        if isinstance(answer, PromptError):
            texts.append(f"failed: {answer}")
            continue
        texts.append(f"{answer.finish_reason} {answer.output_tokens} {answer.thinking!r} {answer.text!r}")
        for group in answer.choice_probabilities or ():
            scores += group
        for token in answer.token_scores or ():
            free = token.free_log_probability
            scores += [token.log_probability] if free is None else [token.log_probability, free]
    return Outcome(texts=texts, scores=scores)


def _join(outcomes: Sequence[Outcome]) -> Outcome:
    return Outcome(
        texts=[text for one in outcomes for text in one.texts],
        scores=[score for one in outcomes for score in one.scores],
    )


def _alone(engine: LocalEngine, _: Path) -> Outcome:
    prompts = [Prompt(text=text, images=(FRAMES[0],)) for text in _QUESTIONS]
    return _join([ask(engine, [prompt], max_new_tokens=12) for prompt in prompts])


def _in_a_batch_that_shrinks(engine: LocalEngine, _: Path) -> Outcome:
    prompts = [Prompt(text=text, images=(frame,)) for frame in FRAMES for text in _QUESTIONS]
    prompts += [Prompt(text="Hello"), Prompt(text="Count", images=(FRAMES[0], FRAMES[1][:70]))]
    return ask(engine, prompts, max_new_tokens=12)


def _in_batches_that_others_join(engine: LocalEngine, _: Path) -> Outcome:
    calls = [
        [Prompt(text=f"Describe the picture. {'Please. ' * place}", images=(FRAMES[place % 3],))]
        for place in range(4)
    ]
    with ThreadPoolExecutor(len(calls)) as threads:
        found = threads.map(lambda place: ask(engine, calls[place], max_new_tokens=6 + 4 * place), range(4))
        return _join(list(found))


def _after_a_prefix(engine: LocalEngine, _: Path) -> Outcome:
    engine.forget()
    asked = [[Prompt(text=text, images=(FRAMES[1],))] for text in (*_QUESTIONS, "Count the circles")]
    return _join([ask(engine, prompts, max_new_tokens=8) for prompts in asked])


def _with_several_images(engine: LocalEngine, _: Path) -> Outcome:
    prompts = [
        Prompt(text="How many shapes are there?", images=tuple(FRAMES)),
        Prompt(text="Describe the picture.", images=(FRAMES[2], FRAMES[0][:, :90])),
        Prompt(text="Describe the picture.", images=(FRAMES[0], FRAMES[0])),
    ]
    return ask(engine, prompts, max_new_tokens=10)


def _with_grammar(engine: LocalEngine, _: Path) -> Outcome:
    prompts = [Prompt(text="Count", images=(frame,), constraint=COUNT) for frame in FRAMES]
    return ask(engine, prompts, max_new_tokens=40)


def _with_scores_of_tokens(engine: LocalEngine, _: Path) -> Outcome:
    prompts = [Prompt(text="Count", images=(FRAMES[0],), constraint=COUNT, needs_token_scores=True)]
    prompts.append(Prompt(text="Describe the picture.", images=(FRAMES[0],), needs_token_scores=True))
    return ask(engine, prompts, max_new_tokens=20)


def _with_choices(engine: LocalEngine, _: Path) -> Outcome:
    prompts = [Prompt(text="Choose", images=(frame,), constraint=CHOICES) for frame in FRAMES]
    return ask(engine, prompts)


def _with_thoughts(engine: LocalEngine, _: Path) -> Outcome:
    prompts = [Prompt(text="Count", images=(FRAMES[0],)), Prompt(text="Choose", constraint=CHOICES)]
    return ask(engine, prompts, max_new_tokens=8, enable_thinking=True, max_thinking_tokens=4)


def _with_chance(engine: LocalEngine, _: Path) -> Outcome:
    prompts = [Prompt(text="Describe the picture.", images=(frame,)) for frame in FRAMES]
    return ask(engine, prompts, max_new_tokens=10, do_sample=True, temperature=1.2, seed=7)


def _with_a_penalty(engine: LocalEngine, _: Path) -> Outcome:
    return ask(
        engine, [Prompt(text="Describe it", images=FRAMES[:2])], max_new_tokens=10, repetition_penalty=1.4
    )


def _long(engine: LocalEngine, _: Path) -> Outcome:
    # It passes the window of the miniature and 512 places.
    prompts = [Prompt(text="Count " * 100, constraint=_NUMBERS), Prompt(text="Hi", constraint=_NUMBERS)]
    return ask(engine, prompts, max_new_tokens=60)


def _free_and_long(engine: LocalEngine, _: Path) -> Outcome:
    prompts = [Prompt(text="Count " * 30), Prompt(text="Describe the image. " * 20), Prompt(text="Hi")]
    return ask(engine, prompts, max_new_tokens=80)


def _beside_an_adapter(engine: LocalEngine, adapter: Path) -> Outcome:
    prompts = [Prompt(text=text, images=(FRAMES[0],)) for text in _QUESTIONS]
    with engine.adapted(adapter) as adapted, ThreadPoolExecutor(2) as threads:
        found = threads.map(lambda one: ask(one, prompts, max_new_tokens=10), [engine, adapted])
        together = list(found)
    return _join([*together, ask(engine, prompts, max_new_tokens=10)])


class _SetLater(Event):
    """Is set after it was asked so many times."""

    def __init__(self, times: int) -> None:
        super().__init__()
        self._times = times

    def is_set(self) -> bool:
        """Count."""
        self._times -= 1
        return self._times < 0


def _beside_those_that_are_cut_off(engine: LocalEngine, _: Path) -> Outcome:
    prompt, endless = Prompt(text="Hi", constraint=_ENDLESS), GenerationConfig(max_new_tokens=4000)
    whole = engine.answer([prompt], GenerationConfig(max_new_tokens=40))
    with ThreadPoolExecutor(3) as threads:
        staying = threads.submit(ask, engine, [Prompt(text="Count " * 30)], max_new_tokens=60)
        cut = [
            threads.submit(engine.answer, [prompt], endless, cancelled=_SetLater(30)),
            threads.submit(engine.answer, [prompt], endless, deadline=monotonic() + 0.4),
        ]
        found = [*whole, *(answer for one in cut for answer in one.result())]
        texts = [answer.text for answer in found if isinstance(answer, Answer)]
        return Outcome(
            texts=[
                *staying.result().texts,
                *(one.finish_reason for one in found if isinstance(one, Answer)),
                *(str(text.startswith(texts[0]) or texts[0].startswith(text)) for text in texts),
            ],
            scores=[],
        )


Use = Callable[[LocalEngine, Path], Outcome]

OF_THE_DEMO: Final[dict[str, Use]] = {
    "alone": _alone,
    "batch that shrinks": _in_a_batch_that_shrinks,
    "batches that others join": _in_batches_that_others_join,
    "prefix": _after_a_prefix,
    "several images": _with_several_images,
    "grammar": _with_grammar,
    "scores of tokens": _with_scores_of_tokens,
    "choices": _with_choices,
    "thoughts": _with_thoughts,
    "chance": _with_chance,
    "penalty": _with_a_penalty,
}
OF_A_MINIATURE: Final[dict[str, Use]] = {
    "window and bucket": _long,
    "long": _free_and_long,
    "adapter": _beside_an_adapter,
}
A_FEW: Final[dict[str, Use]] = {
    "batch that shrinks": _in_a_batch_that_shrinks,
    "prefix": _after_a_prefix,
    "grammar": _with_grammar,
}
OF_EXPERTS: Final = {
    **A_FEW,
    "choices": _with_choices,
    "cut off": _beside_those_that_are_cut_off,
}
