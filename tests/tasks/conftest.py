"""What the tests of every task share."""

from collections.abc import Callable

import numpy as np
import pytest

from gemma4_block.contract import Answer, FinishReason, TokenScore
from gemma4_block.tasks import TaskRequest

Say = Callable[..., Answer]


@pytest.fixture
def say() -> Say:
    """Make an answer of a text."""

    def make(
        text: str,
        *,
        finish_reason: FinishReason = "stop",
        choice_probabilities: tuple[tuple[float, ...], ...] | None = None,
        group_probabilities: tuple[float, ...] | None = None,
        token_scores: tuple[TokenScore, ...] | None = None,
    ) -> Answer:
        return Answer(
            text=text,
            thinking="",
            finish_reason=finish_reason,
            input_tokens=1,
            output_tokens=1,
            image_tokens=0,
            choice_probabilities=choice_probabilities,
            group_probabilities=group_probabilities,
            token_scores=token_scores,
        )

    return make


@pytest.fixture
def request_classes() -> Callable[..., TaskRequest]:
    """Ask about an image of 200 by 100 pixels."""

    def make(*classes: str) -> TaskRequest:
        return TaskRequest(images=(np.zeros((100, 200, 3), np.uint8),), image_seq_length=70, classes=classes)

    return make
