"""Send a request again where it got no answer: elsewhere at once, to the same places a little later."""

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from gemma4_block.engine.remote.failures import BusyServerError, NoAnswerError
from gemma4_block.errors import EngineBusyError

_ROUNDS = 4
_FIRST_WAIT_S = 0.5
_MOST_WAIT_S = 8.0

_Place = TypeVar("_Place")
_Result = TypeVar("_Result")


async def ask_until_answered(
    places: Sequence[_Place],
    ask: Callable[[_Place], Awaitable[_Result]],
    *,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> _Result:
    """Return the first answer: of the places in order, and in a few rounds with growing waits between them.

    Args:
        places: Where to ask, at least one.
        ask: Asks there; what it did before it failed was not used.
        sleep: Waits, in seconds.

    Returns:
        What `ask` returns.

    Raises:
        EngineBusyError: There was none, and a place was busy in the last round, so that asking later helps.
        NoAnswerError: There was none; both say how often it was tried.

    """
    for round_number in range(1, _ROUNDS + 1):
        busy: BusyServerError | None = None
        for place in places:
            try:
                return await ask(place)
            except NoAnswerError as error:  # noqa: PERF203 - each may fail
                last = error
                if isinstance(error, BusyServerError):
                    busy = error
        if round_number < _ROUNDS:
            await sleep(find_wait_s(round_number, last.retry_after_s))
    tried = f"Tried {_ROUNDS * len(places)} times."
    if busy is not None:
        raise EngineBusyError(f"{busy} {tried}") from None
    raise NoAnswerError(f"{last} {tried}") from None


def find_wait_s(round_number: int, retry_after_s: float | None) -> float:
    """Return how long to wait after a round that failed, in seconds.

    Args:
        round_number: From 1.
        retry_after_s: What the server asks for; None where it asks for nothing.

    Returns:
        Drawn by chance, so that many callers do not come back at the same moment; never less than asked for.

    """
    longest = min(_MOST_WAIT_S, _FIRST_WAIT_S * 2 ** (round_number - 1))
    drawn = random.uniform(longest / 2, longest)  # noqa: S311 - no secret
    return drawn if retry_after_s is None else retry_after_s + drawn
