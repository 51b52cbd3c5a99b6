"""End the answers of a request whose client has gone, and of all when the server stops."""

import asyncio
from contextlib import suppress
from threading import Event
from typing import TYPE_CHECKING, Final

from gemma4_block.cancellation import cancelled_by
from gemma4_block.hosting.messages import send_message

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

_STOPPED: Final = "The server stopped before the answer was ready. Ask again."


class CancelOnDisconnect:
    """ASGI middleware: when a client has gone before the reply, its answers end where they stand.

    Args:
        app: The application that replies.

    """

    def __init__(self, app: "ASGIApp") -> None:
        self._app = app
        self._under_way: set[Event] = set()
        self._is_stopping = False

    def cancel_all(self) -> None:
        """End the answers of all requests where they stand, and of those that still come.

        Call it in the thread of the event loop.
        """
        self._is_stopping = True
        for cancelled in self._under_way:
            cancelled.set()

    async def __call__(self, scope: "Scope", receive: "Receive", send: "Send") -> None:
        """Serve one connection."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        cancelled = Event()
        if self._is_stopping:
            cancelled.set()
        has_replied = False
        messages: asyncio.Queue[Message] = asyncio.Queue()

        async def listen() -> None:
            # The server reports a disconnect only to `receive`, which an application at work does not call.
            while True:
                message = await receive()
                messages.put_nowait(message)
                if message["type"] == "http.disconnect":
                    cancelled.set()
                    return

        async def reply(message: "Message") -> None:
            nonlocal has_replied
            has_replied = True
            await send(message)

        self._under_way.add(cancelled)
        listening = asyncio.create_task(listen())
        try:
            with cancelled_by(cancelled):
                await self._app(scope, messages.get, reply)
        except asyncio.CancelledError:
            # The server waits for requests no longer.
            if not self._is_stopping or has_replied:
                raise
            await send_message(send, 503, _STOPPED)
        finally:
            self._under_way.discard(cancelled)
            listening.cancel()
            with suppress(asyncio.CancelledError):
                await listening
