"""Guesses come from what was there before, get longer while they are right, and rarer while they are not."""

import pytest

from gemma4_block.engine.runner.drafts import Drafter


@pytest.mark.parametrize(
    ("prompt", "last_answer", "written", "guess"),
    [
        pytest.param([1, 2, 3, 4, 5, 6, 7, 8], [], [9, 1, 2, 3], [4, 5, 6, 7], id="repeats the prompt"),
        pytest.param([], [], [1, 2, 3, 4, 5, 1, 2, 3], [4, 5, 1, 2], id="repeats itself"),
        pytest.param([7, 7, 7], [5, 6, 7, 8], [5], [6, 7, 8], id="begins as the last answer"),
        pytest.param([], [5, 6, 7, 8], [], [5, 6, 7, 8], id="has not begun"),
        pytest.param([], [1, 1, 1, 1, 2, 1, 1, 1, 3], [1, 1, 1], [1, 2, 1, 1], id="the place decides"),
        pytest.param([], [5, 6, 1, 2, 3, 4], [5, 9, 1, 2, 3], [4], id="joins the last answer again"),
        pytest.param([1, 2, 3, 4], [1, 2, 3, 5], [8, 1, 2, 3], [5], id="the last answer is likelier"),
        pytest.param([1, 2, 3, 4], [], [8, 2, 3], [], id="two tokens are too few"),
        pytest.param([1, 2, 3], [], [9, 1, 2, 3], [], id="nothing follows"),
        pytest.param([], [5, 6], [5, 6], [], id="the last answer is over"),
    ],
)
def test_what_followed_before_is_guessed(
    prompt: list[int], last_answer: list[int], written: list[int], guess: list[int]
) -> None:
    """After three tokens that were there before come those that followed then; texts do not run together."""
    drafter = Drafter(prompt, last_answer, most=7)
    drafter.follow(written)

    assert drafter.guess(4) == guess


def test_right_guesses_get_longer() -> None:
    """Up to the most, and a wrong one makes them short again."""
    drafter = Drafter([], range(100), most=7)
    lengths = []
    for _ in range(3):
        lengths.append(len(drafter.guess(100)))
        drafter.judge(lengths[-1], lengths[-1])
    drafter.judge(7, 0)
    drafter.guess(100), drafter.guess(100)

    assert lengths == [4, 7, 7]
    assert len(drafter.guess(100)) == 4


def test_wrong_guesses_get_rare() -> None:
    """Whoever repeats nothing guesses at 1 of 3 steps, then at 1 of 5, 9, 17, 33 and 65, and no rarer."""
    drafter = Drafter([], range(100), most=7)
    guessed = []
    for step in range(300):
        if guess := drafter.guess(100):
            guessed.append(step)
            drafter.judge(len(guess), 0)

    assert guessed == [0, 3, 8, 17, 34, 67, 132, 197, 262]


def test_a_short_guess_is_worth_it_where_all_of_it_is_right() -> None:
    """One token at the end of a text is no miss."""
    drafter = Drafter([1, 2, 3, 4], [], most=7)
    drafter.judge(1, 1)
    drafter.follow([9, 1, 2, 3])

    assert drafter.guess(7) == [4]
