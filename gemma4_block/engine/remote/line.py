"""The way to a served model: where it runs, what it can do, and how many may ask at the same time."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar

from gemma4_block.engine.budgets import TrainedBudgets
from gemma4_block.engine.remote.choices import ChoiceScorer
from gemma4_block.engine.remote.connection import Connection, close_all
from gemma4_block.engine.remote.failures import NoAnswerError
from gemma4_block.engine.remote.probe import Abilities
from gemma4_block.engine.remote.retries import ask_until_answered
from gemma4_block.engine.remote.tower_size import TowerGeometry
from gemma4_block.servers import Server

_Result = TypeVar("_Result")


@dataclass(frozen=True, kw_only=True, slots=True)
class Line:
    """What all calls of a served model share. Used in one event loop.

    Attributes:
        server: The operator's entry.
        connections: One for each URL, in order.
        abilities: What the server can do.
        budgets: That the operator says the model was trained for.
        geometry: How the model sees images.
        in_flight: Bounds the requests of this process.
        scorer: Scores choices; None where the server cannot.

    """

    server: Server
    connections: tuple[Connection, ...]
    abilities: Abilities
    budgets: TrainedBudgets
    geometry: TowerGeometry
    in_flight: asyncio.Semaphore
    scorer: ChoiceScorer | None

    async def ask(self, request: Callable[[Connection], Awaitable[_Result]]) -> _Result:
        """Send a request when its turn has come, and again where it gets no answer.

        Args:
            request: Sends it over a connection.

        Returns:
            What it returns.

        Raises:
            PromptError: The server refuses the prompt.
            EngineError: There is no answer.

        """

        async def attempt(connection: Connection) -> _Result:
            try:
                return await request(connection)
            except NoAnswerError:
                connection.distrust()
                raise

        async with self.in_flight:
            places = sorted(self.connections, key=lambda connection: connection.is_distrusted)
            return await ask_until_answered(places, attempt)

    async def close(self) -> None:
        """Close the connections."""
        await close_all(self.connections)
