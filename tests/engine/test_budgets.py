"""Whoever asks, a model sees at a budget that it was trained for, and the log says where that is another."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from gemma4_block.contract import Answer, GenerationConfig, ImageSeqLength, LocalModel, Prompt
from gemma4_block.engine.budgets import TrainedBudgets
from gemma4_block.engine.compat import Gemma4HF
from gemma4_block.engine.local import LocalEngine
from gemma4_block.engine.pool import load_local
from gemma4_block.settings import Settings
from tests.demo_copies import copy_demo

# 640 x 480 pixels are 63 soft tokens at 70, and 130 at 140.
FRAME = np.full((480, 640, 3), 240, dtype=np.uint8)


@pytest.fixture
def small(tmp_path: Path) -> Iterator[LocalEngine]:
    """A model that was trained for 70 and 140."""
    model = LocalModel(directory=copy_demo(tmp_path / "small", (70, 140)), quantization="none")
    engine = load_local(model, Settings(device="cpu"))
    yield engine
    engine.close()


def count_image_tokens(engine: LocalEngine, *budgets: ImageSeqLength | None) -> list[int]:
    """Ask about a frame at each of the budgets."""
    prompts = [Prompt(text="Count", images=(FRAME,), image_seq_length=budget) for budget in budgets]
    answers = engine.answer(prompts, GenerationConfig(max_new_tokens=1))
    return [answer.image_tokens for answer in answers if isinstance(answer, Answer)]


@pytest.mark.parametrize(
    ("trained", "asked", "chosen"),
    [
        ((70,), 280, 70),
        ((70, 140, 280), 140, 140),
        ((70, 140, 280), 1120, 280),
        ((70, 1120), 560, 70),
        ((280, 560), 70, 280),
        ((70, 140, 280, 560, 1120), 560, 560),
    ],
)
def test_the_nearest_trained_budget_is_chosen(
    trained: tuple[ImageSeqLength, ...], asked: ImageSeqLength, chosen: ImageSeqLength
) -> None:
    """A trained one stays."""
    assert TrainedBudgets("model", trained).choose(asked) == chosen


def test_a_question_at_another_budget_is_answered_at_the_nearest(small: LocalEngine) -> None:
    """Trained ones, and the checkpoint's own, are taken as they are."""
    assert count_image_tokens(small, None, 70, 140, 280, 1120) == [63, 63, 130, 130, 130]


def test_each_number_is_told_once(small: LocalEngine, caplog: pytest.LogCaptureFixture) -> None:
    """However often it is asked; nothing is said of trained ones, or where no image is seen."""
    small.answer([Prompt(text="Count", image_seq_length=560)], GenerationConfig(max_new_tokens=1))
    assert caplog.messages == []
    for _ in range(2):
        count_image_tokens(small, 1120, 140, 280, 1120)

    assert sorted(message.split(" is none")[0] for message in caplog.messages) == [
        "image_seq_length 1120",
        "image_seq_length 280",
    ]
    assert caplog.messages[0].endswith("/small was trained for (70, 140): 140 is taken instead.")


def test_an_image_is_seen_once_for_all_numbers_that_become_one(small: LocalEngine) -> None:
    """What the tower made of it is kept by the budget that it was seen at."""
    count_image_tokens(small, 280)
    seen = small._features.nbytes
    count_image_tokens(small, 140, 560, 1120)

    assert small._features.nbytes == seen > 0


def test_the_class_of_the_users_does_the_same(tmp_path: Path) -> None:
    """Also with the budget that it was loaded with, and for inputs of the user's own."""
    directory = copy_demo(tmp_path / "small", (70, 140))
    model = Gemma4HF.from_pretrained(directory, device="cpu", gemma_image_seq_length=1120)

    assert model.pre_process_generation(FRAME, "Count")["input_ids"].eq(109).sum() == 130
    assert model.pre_process_generation(FRAME, "Count", image_seq_length=70)["input_ids"].eq(109).sum() == 63
