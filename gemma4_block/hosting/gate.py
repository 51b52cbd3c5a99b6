"""Let only so many requests in, with bodies only so long, before the host reads any of them."""

import asyncio
from contextlib import ExitStack
from typing import TYPE_CHECKING, Final

from gemma4_block.errors import ConfigurationError, EngineBusyError
from gemma4_block.hosting.messages import RETRY_AFTER, send_message
from gemma4_block.meter import get_meter
from gemma4_block.waiting import WaitingRoom

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from gemma4_block.settings import Settings

# A client that has not sent its request by then holds memory for nothing. Our choice.
BODY_TIMEOUT_S: Final = 120.0
_HTTP_TOO_BUSY: Final = 503


class Gate:
    """ASGI middleware: replies 413 to a body that is too long and 503 where too many requests are under way.

    A request counts from when its body is here, so that slow clients keep nobody out.

    Args:
        app: Replies to what is let in.
        settings: The operator's.

    """

    def __init__(self, app: "ASGIApp", settings: "Settings") -> None:
        self._app = app
        self._settings = settings
        self._room = WaitingRoom(
            "requests",
            max_count_setting="GEMMA4_BLOCK_MAX_REQUESTS",
            max_bytes_setting="GEMMA4_BLOCK_MAX_WAITING_BYTES",
        )

    @property
    def is_full(self) -> bool:
        """Whether another request would be refused."""
        return self._room.is_full(
            max_count=self._settings.max_requests, max_bytes=self._settings.max_waiting_bytes
        )

    async def __call__(self, scope: "Scope", receive: "Receive", send: "Send") -> None:
        """Serve one connection."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        try:
            body = await asyncio.wait_for(self._read(receive), BODY_TIMEOUT_S)
        except asyncio.TimeoutError:
            await send_message(send, 408, f"The request was not here after {BODY_TIMEOUT_S:g} s.")
            return
        except ConfigurationError as error:
            await send_message(send, 413, str(error))
            return
        if body is None:
            return
        settings = self._settings
        with ExitStack() as place:
            try:
                place.enter_context(
                    self._room.wait(
                        1, len(body), max_count=settings.max_requests, max_bytes=settings.max_waiting_bytes
                    )
                )
            except EngineBusyError as error:
                get_meter().note_refusal(type(error).__name__)
                await send_message(send, _HTTP_TOO_BUSY, str(error), headers=(RETRY_AFTER,))
                return
            await self._app(scope, _replay(body, receive), _leaving(place, send))

    async def _read(self, receive: "Receive") -> bytes | None:
        """Return the body; None where the client has gone. What is too long is read and dropped.

        A client that still sends would not read a reply.
        """
        limit = self._settings.max_request_bytes
        body, length, has_more = bytearray(), 0, True
        while has_more:
            message = await receive()
            if message["type"] == "http.disconnect":
                return None
            part = message.get("body", b"")
            length += len(part)
            if length <= limit:
                body += part
            else:
                body.clear()
            has_more = message.get("more_body", False)
        if length > limit:
            raise ConfigurationError(
                f"The request has {length} bytes; {limit} are allowed. Send fewer or smaller images, or "
                "raise GEMMA4_BLOCK_MAX_REQUEST_BYTES."
            )
        return bytes(body)


def _replay(body: bytes, receive: "Receive") -> "Receive":
    """Return what gives the body that was read, and then what still comes: that the client has gone."""
    is_given = False

    async def give() -> "Message":
        nonlocal is_given
        if is_given:
            return await receive()
        is_given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return give


def _leaving(place: ExitStack, send: "Send") -> "Send":
    """Return what sends the reply, and gives the place away with its last part.

    What the host does after it waits for a thread, behind the requests that wait already.
    """

    async def send_and_leave(message: "Message") -> None:
        if message["type"] == "http.response.start" and message["status"] == _HTTP_TOO_BUSY:
            message = {**message, "headers": [*message["headers"], RETRY_AFTER]}
        await send(message)
        if message["type"] == "http.response.body" and not message.get("more_body", False):
            place.close()

    return send_and_leave
