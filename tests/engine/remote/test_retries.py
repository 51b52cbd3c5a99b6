"""A request that got no answer is sent elsewhere at once, and to the same places a little later."""

import asyncio

import pytest

from gemma4_block.engine.remote.failures import BusyServerError, NoAnswerError
from gemma4_block.engine.remote.retries import ask_until_answered, find_wait_s
from gemma4_block.errors import EngineBusyError


def test_places_are_asked_in_order_and_in_rounds() -> None:
    """Waits grow, and lie between their rounds."""
    asked: list[str] = []
    waits: list[float] = []

    async def ask(place: str) -> str:
        asked.append(place)
        raise NoAnswerError(f"{place} is gone.")

    async def sleep(seconds: float) -> None:
        waits.append(seconds)

    with pytest.raises(NoAnswerError, match=r"^b is gone. Tried 8 times.$"):
        asyncio.run(ask_until_answered(["a", "b"], ask, sleep=sleep))

    assert asked == ["a", "b"] * 4
    assert [0.25 <= waits[0] <= 0.5, 0.5 <= waits[1] <= 1, 1 <= waits[2] <= 2] == [True] * 3


@pytest.mark.parametrize("gone", ["a", "b"])
def test_where_one_place_is_busy_it_helps_to_ask_later(gone: str) -> None:
    """Whichever place was asked last."""

    async def ask(place: str) -> str:
        raise NoAnswerError("gone.") if place == gone else BusyServerError("busy.")

    async def sleep(_seconds: float) -> None:
        """Not at all."""

    with pytest.raises(EngineBusyError, match=r"^busy. Tried 8 times.$"):
        asyncio.run(ask_until_answered(["a", "b"], ask, sleep=sleep))


@pytest.mark.parametrize(
    ("round_number", "retry_after_s", "low", "high"),
    [
        (1, None, 0.25, 0.5),
        (3, None, 1.0, 2.0),
        (9, None, 4.0, 8.0),
        (1, 7.0, 7.25, 7.5),
        (1, 0.0, 0.25, 0.5),
    ],
)
def test_waits_are_drawn_by_chance(
    round_number: int, retry_after_s: float | None, low: float, high: float
) -> None:
    """Never shorter than what the server asks for, and bounded."""
    drawn = {find_wait_s(round_number, retry_after_s) for _ in range(50)}

    assert len(drawn) > 1
    assert low <= min(drawn)
    assert max(drawn) <= high
