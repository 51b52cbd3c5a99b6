"""Pictures are prepared beside the model, a little ahead of it and no further."""

import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from gemma4_block.contract import Answer, GenerationConfig, Prompt
from gemma4_block.demo.scenes import draw_scene
from gemma4_block.engine.compat.gemma4_hf import Gemma4HF
from gemma4_block.engine.loading.checkpoint import LoadOptions, load_checkpoint
from gemma4_block.settings import Settings

from .conftest import DEMO_CHECKPOINT

PROMPTS = [
    Prompt(text="Count", images=(draw_scene(np.random.default_rng(seed)).image,)) for seed in range(12)
]


class Watched:
    """An engine that counts prepared pictures, and does something before the tower reads the first time."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, before_vision: Callable[["Watched"], None]) -> None:
        checkpoint = load_checkpoint(DEMO_CHECKPOINT, LoadOptions(device=torch.device("cpu")))
        self.engine = Gemma4HF(checkpoint, settings=Settings(max_batch_size=1))
        self.prepared = threading.Semaphore(0)
        self.count = 0
        self.is_read = False
        processor = self.engine._service._preparer._processor.image_processor
        prepare = type(processor).__call__

        def note(*arguments: Any, **options: Any) -> Any:  # noqa: ANN401 - whatever it takes and gives
            found = prepare(*arguments, **options)
            self.count += 1
            self.prepared.release()
            return found

        def look(*_: object) -> None:
            if not self.is_read:
                self.is_read = True
                before_vision(self)

        monkeypatch.setattr(type(processor), "__call__", note)
        checkpoint.model.model.vision_tower.register_forward_pre_hook(look)

    def ask(self) -> list[str]:
        """Ask about all pictures."""
        answers = self.engine.answer(PROMPTS, GenerationConfig(max_new_tokens=1))
        return [answer.text for answer in answers if isinstance(answer, Answer)]


def test_pictures_are_prepared_while_the_model_reads_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """The tower does not go on before a second and a third picture are ready, and they become ready."""
    arrived: list[bool] = []

    def wait_for_two_more(watched: Watched) -> None:
        arrived.extend(watched.prepared.acquire(timeout=20) for _ in range(3))

    watched = Watched(monkeypatch, wait_for_two_more)
    texts = watched.ask()

    assert arrived == [True] * 3
    assert len(texts) == len(PROMPTS)
    assert watched.count == len(PROMPTS)


def test_no_more_are_prepared_than_may_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    """Four batches of one picture; the fifth is not touched while the first has no answer."""
    waiting: list[int] = []

    def look_after_a_while(watched: Watched) -> None:
        for _ in range(4):
            watched.prepared.acquire(timeout=20)
        waiting.append(watched.prepared.acquire(timeout=0.5))
        waiting.append(watched.count)

    watched = Watched(monkeypatch, look_after_a_while)
    watched.ask()

    assert waiting == [False, 4]
