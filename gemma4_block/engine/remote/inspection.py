"""Look at every server of the operator's, for a report."""

from dataclasses import dataclass

from gemma4_block.engine.remote.connection import Connection, read_key
from gemma4_block.engine.remote.event_loop import EventLoopThread
from gemma4_block.engine.remote.probe import Abilities, probe
from gemma4_block.engine.remote.tower_size import find_geometry
from gemma4_block.servers import Server


@dataclass(frozen=True, kw_only=True, slots=True)
class ServerReport:
    """What one URL of a server was found to do.

    Attributes:
        context_tokens: Positions for prompt and answer; None where it does not say.
        lacks: What it cannot do, in words, each with what to do about it.

    """

    context_tokens: int | None
    lacks: tuple[str, ...]


def inspect_server(server: Server, url: str) -> ServerReport:
    """Find out what a server can do, once; blocks while it does.

    Args:
        server: The operator's entry.
        url: One of its URLs.

    Returns:
        The report.

    Raises:
        ConfigurationError: The key's variable is empty.
        EngineError: It cannot be reached, refuses the key, or has no such model.

    """
    key = read_key(server)
    loop = EventLoopThread("gemma4-block-inspection")
    try:
        abilities = loop.run(_inspect(server, url, key))
    finally:
        loop.close()
    return ServerReport(context_tokens=abilities.context_tokens, lacks=abilities.lacks)


async def _inspect(server: Server, url: str, key: str | None) -> Abilities:
    connection = Connection(server, url, key)
    try:
        return await probe(connection, server, find_geometry(server.model_id))
    finally:
        await connection.close()
