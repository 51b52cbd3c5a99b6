"""The engine on a server: prompts travel there as chat completions, many at once."""

import asyncio
import logging
from collections.abc import Sequence
from threading import Event
from weakref import finalize

from gemma4_block.contract import Answer, Capabilities, GenerationConfig, Prompt
from gemma4_block.engine.budgets import TrainedBudgets
from gemma4_block.engine.remote.asking import Asking
from gemma4_block.engine.remote.choices import ChoiceScorer
from gemma4_block.engine.remote.connection import Connection, close_all, read_key
from gemma4_block.engine.remote.event_loop import EventLoopThread
from gemma4_block.engine.remote.image_urls import ImageUrls
from gemma4_block.engine.remote.line import Line
from gemma4_block.engine.remote.pending import wait_for_all
from gemma4_block.engine.remote.probe import probe
from gemma4_block.engine.remote.retries import ask_until_answered
from gemma4_block.engine.remote.tower_size import find_geometry
from gemma4_block.errors import ConfigurationError, PromptError
from gemma4_block.servers import Server

_LOGGER = logging.getLogger(__name__)


def connect(server: Server) -> "RemoteEngine":
    """Connect to a served model, and find out what its server can do; blocks while it does.

    Args:
        server: The operator's entry.

    Returns:
        The engine, ready to answer.

    Raises:
        ConfigurationError: The key's variable is empty.
        EngineBusyError: The server has too much to do, or is starting.
        EngineError: No server of the entry can be reached, or it refuses the key or has no such model.

    """
    key = read_key(server)
    loop = EventLoopThread(f"gemma4-block-{server.model_id}")
    try:
        line = loop.run(_open_line(server, key))
    except BaseException:
        loop.close()
        raise
    for lack in line.abilities.lacks:
        _LOGGER.warning("%s on %s: %s.", server.model_id, server.urls[0], lack)
    return RemoteEngine(line, loop)


class RemoteEngine:
    """A served model; an `Engine`. Calls of many threads share its connections.

    Args:
        line: To the server.
        loop: In which the line is used.

    """

    def __init__(self, line: Line, loop: EventLoopThread) -> None:
        self._line = line
        self._loop = loop
        # An engine that the pool forgets without closing it gives its thread and connections back as well.
        self._finalizer = finalize(self, loop.close, line.close)

    @property
    def capabilities(self) -> Capabilities:
        """What the server was found to do, and the budgets that the operator names."""
        abilities, own = self._line.abilities, self._line.abilities.image_seq_length
        lengths = self._line.server.image_seq_lengths
        return Capabilities(
            image_seq_lengths=lengths if abilities.has_budgets or own is None else (own,),
            has_token_scores=abilities.has_token_scores,
            has_choices=abilities.opening is not None,
            # Where the server does not hold an answer to it, the answer is checked.
            has_json_schema=True,
            has_thinking_allowance=abilities.has_thinking_allowance,
            has_seed=True,
        )

    @property
    def nbytes(self) -> int:
        """The weights are elsewhere."""
        return 0

    def answer(
        self,
        prompts: Sequence[Prompt],
        generation: GenerationConfig,
        *,
        deadline: float | None = None,
        cancelled: Event | None = None,
    ) -> list[Answer | PromptError]:
        """Answer many prompts, each by requests of its own; see `Engine.answer`.

        Args:
            prompts: Any number, with images of any sizes and counts.
            generation: How to answer all of them.
            deadline: When all answers end where they stand, by `time.monotonic`; their requests are ended on
                the server too.
            cancelled: Set it from another thread to end all answers where they stand.

        Returns:
            One entry for each prompt, in the same order.

        Raises:
            ConfigurationError: Thoughts are wanted, and the server does not tell them from the answer.
            EngineBusyError: The server refuses more for now, also when asked again.
            EngineError: The server cannot be reached or failed, or the engine is closed.

        """
        if generation.enable_thinking and not self._line.abilities.has_thinking:
            raise ConfigurationError(
                f"enable_thinking is on, and the server of {self._line.server.model_id} does not tell "
                "thoughts from answers. Turn it off, or start vLLM with --reasoning-parser gemma4."
            )
        return self._loop.run(self._answer(prompts, generation, deadline, cancelled))

    def close(self) -> None:
        """Close the connections and end the thread; calls that wait fail."""
        self._finalizer()

    async def _answer(
        self,
        prompts: Sequence[Prompt],
        generation: GenerationConfig,
        deadline: float | None,
        cancelled: Event | None,
    ) -> list[Answer | PromptError]:
        urls = ImageUrls()
        works = [Asking(self._line, urls, prompt, generation) for prompt in prompts]
        return await wait_for_all(works, deadline=deadline, cancelled=cancelled)


async def _open_line(server: Server, key: str | None) -> Line:
    connections = tuple(Connection(server, url, key) for url in server.urls)
    geometry = find_geometry(server.model_id)
    try:
        abilities = await ask_until_answered(
            connections, lambda connection: probe(connection, server, geometry)
        )
    except BaseException:
        await close_all(connections)
        raise
    return Line(
        server=server,
        connections=connections,
        abilities=abilities,
        budgets=TrainedBudgets(server.model_id, server.image_seq_lengths),
        geometry=geometry,
        in_flight=asyncio.Semaphore(server.max_in_flight),
        scorer=None if abilities.opening is None else ChoiceScorer(server.model, abilities.opening),
    )
