"""Speak to one server by the official client, which is kept from redirects and from the environment."""

import asyncio
import os
import ssl
import time
from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack
from typing import Protocol

import httpx
import openai

from gemma4_block.engine.remote.affinity import name_images
from gemma4_block.engine.remote.failures import PublicPeerError, explained
from gemma4_block.engine.remote.request_body import Body
from gemma4_block.engine.remote.wire import Chunk, Completion, ServedNames
from gemma4_block.errors import ConfigurationError
from gemma4_block.servers import Server, is_private_address

_CONNECT_S = 10.0
# Between two events of a stream. A request that waits in the queue of a busy server gets none for long.
_SILENCE_S = 600.0
# A machine that is gone takes the whole of the first of these times to say so, at every request.
_DISTRUST_S = 30.0


def read_key(server: Server) -> str | None:
    """Return the key of a server from the environment.

    Args:
        server: Names the variable.

    Returns:
        The key, without blanks around it; None where none is needed.

    Raises:
        ConfigurationError: The variable is unset, or holds what cannot be sent.

    """
    if server.key_env is None:
        return None
    key = os.environ.get(server.key_env, "").strip()
    if not key or not key.isascii() or not key.isprintable() or " " in key:
        raise ConfigurationError(
            f"{server.key_env}, which holds the key of {server.model_id}, is empty or has letters that no "
            "header can carry. Correct it."
        )
    return key


class Connection:
    """One URL of a server, with a pool of connections. Used in one event loop.

    Args:
        server: Whose URL it is.
        url: Which.
        key: Sent with every request; None sends none.

    """

    def __init__(self, server: Server, url: str, key: str | None) -> None:
        self.url = url
        self._distrusted_until = 0.0
        self._server = server
        self._key = key
        headers = {"OpenAI-Organization": openai.Omit(), "OpenAI-Project": openai.Omit()}
        if key is None:
            headers["Authorization"] = openai.Omit()
        self._client = openai.AsyncOpenAI(
            base_url=url,
            # Where none is given, the library takes OPENAI_API_KEY, which is for somebody else.
            api_key="" if key is None else key,
            default_headers=headers,  # type: ignore[arg-type]  # Omit works and is not declared here
            max_retries=0,
            http_client=_make_http_client(server.max_in_flight),
        )

    @property
    def is_distrusted(self) -> bool:
        """Whether it gave no answer a short while ago, so that others are asked first."""
        return time.monotonic() < self._distrusted_until

    def distrust(self) -> None:
        """Note that it gave no answer."""
        self._distrusted_until = time.monotonic() + _DISTRUST_S

    async def stream(self, body: Body, image_urls: Sequence[str] = ()) -> AsyncGenerator[Chunk, None]:
        """Yield the events of a streamed answer; leaving early ends the request on the server too.

        Args:
            body: Of a chat completion.
            image_urls: The images in it, by which a router keeps questions about them together.

        Yields:
            One event after the other.

        Raises:
            PromptError: The server refuses this prompt.
            NoAnswerError: It may be sent again.
            EngineError: It may not.

        """
        with explained(self._server, self.url, self._key):
            async with AsyncExitStack() as stack:
                stream = await self._client.post(
                    "/chat/completions",
                    body=body,
                    options={"headers": name_images(image_urls)},
                    cast_to=object,
                    stream=True,
                    stream_cls=openai.AsyncStream[object],
                )
                stack.push_async_callback(stream.close)
                async for event in stream:
                    yield Chunk.model_validate(event)

    async def complete(self, body: Body, image_urls: Sequence[str] = ()) -> Completion:
        """Return a whole answer.

        Args:
            body: Of a chat completion.
            image_urls: The images in it, by which a router keeps questions about them together.

        Returns:
            The answer.

        Raises:
            PromptError: The server refuses this prompt.
            NoAnswerError: It may be sent again.
            EngineError: It may not.

        """
        with explained(self._server, self.url, self._key):
            found = await self._client.post(
                "/chat/completions",
                body=body,
                options={"headers": name_images(image_urls)},
                cast_to=object,
            )
            return Completion.model_validate(found)

    async def list_models(self) -> ServedNames:
        """Return the models that the server has.

        Returns:
            Their names.

        Raises:
            NoAnswerError: It may be asked again.
            EngineError: It may not.

        """
        with explained(self._server, self.url, self._key):
            found = await self._client.get("/models", cast_to=object)
            return ServedNames.model_validate(found)

    async def close(self) -> None:
        """Close the connections; requests under way fail."""
        await self._client.close()


async def close_all(connections: Iterable[Connection]) -> None:
    """Close the connections of each."""
    await asyncio.gather(*(connection.close() for connection in connections))


class _NetworkStream(Protocol):
    def get_extra_info(self, info: str) -> object: ...

    async def aclose(self) -> None: ...


def _make_http_client(max_connections: int) -> httpx.AsyncClient:
    return httpx.AsyncClient(
        # The library's own client follows redirects, and takes proxies and passwords from the environment.
        follow_redirects=False,
        trust_env=False,
        # OpenSSL's own places, so that SSL_CERT_FILE names the operator's authority.
        verify=ssl.create_default_context(),
        timeout=httpx.Timeout(_SILENCE_S, connect=_CONNECT_S),
        limits=httpx.Limits(max_connections=max_connections, max_keepalive_connections=max_connections),
        event_hooks={"request": [_watch_peer]},
    )


async def _watch_peer(request: httpx.Request) -> None:
    if request.url.scheme == "http":
        request.extensions["trace"] = _check_peer


async def _check_peer(event: str, info: Mapping[str, object]) -> None:
    """Refuse a peer outside of private networks, before a byte is sent to it."""
    if event != "connection.connect_tcp.complete":
        return
    stream: _NetworkStream = info["return_value"]  # type: ignore[assignment]  # as httpcore documents
    address = stream.get_extra_info("server_addr")
    assert isinstance(address, tuple), "TCP has addresses"
    if not is_private_address(str(address[0])):
        await stream.aclose()
        raise PublicPeerError(
            f"its name leads to {address[0]}, no address of this machine or of a private network. Use https."
        )
