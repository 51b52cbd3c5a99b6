"""End the answers of a request whose client has gone."""

import asyncio
from contextlib import suppress
from threading import Event
from typing import TYPE_CHECKING

from gemma4_block.cancellation import cancelled_by

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send


class CancelOnDisconnect:
    """ASGI middleware: when a client has gone before the reply, its answers end where they stand.

    Args:
        app: The application that replies.

    """

    def __init__(self, app: "ASGIApp") -> None:
        self._app = app

    async def __call__(self, scope: "Scope", receive: "Receive", send: "Send") -> None:
        """Serve one connection."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        gone = Event()
        messages: asyncio.Queue[Message] = asyncio.Queue()

        async def listen() -> None:
            # The server reports a disconnect only to `receive`, which an application at work does not call.
            while not gone.is_set():
                message = await receive()
                messages.put_nowait(message)
                if message["type"] == "http.disconnect":
                    gone.set()

        listening = asyncio.create_task(listen())
        try:
            with cancelled_by(gone):
                await self._app(scope, messages.get, send)
        finally:
            listening.cancel()
            with suppress(asyncio.CancelledError):
                await listening
