"""A well-behaved server, and an engine on it."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from gemma4_block.engine.remote import RemoteEngine, connect
from gemma4_block.servers import Server
from tests.engine.remote.fake_server import MODEL, FakeServer, serving

Connect = Callable[..., RemoteEngine]


@pytest.fixture
def server() -> Iterator[FakeServer]:
    """A server; a test changes what it does."""
    with serving() as fake:
        yield fake


@pytest.fixture
def connect_to() -> Iterator[Connect]:
    """Connect to servers; what was connected is closed afterwards."""
    engines: list[RemoteEngine] = []

    def connect_one(*servers: FakeServer, **options: Any) -> RemoteEngine:  # noqa: ANN401 - of an entry
        urls = tuple(server.url for server in servers)
        entry = Server(model_id="gemma-4-e2b-it", urls=urls, model=options.pop("model", MODEL), **options)
        engines.append(connect(entry))
        return engines[-1]

    yield connect_one
    for engine in engines:
        engine.close()
