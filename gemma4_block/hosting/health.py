"""Say that the server is well while all of the host's threads are busy."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Final

from gemma4_block.hosting.messages import send_json

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.types import ASGIApp, Receive, Scope, Send

PATH: Final = "/healthz"


class AlwaysAnswersHealth:
    """ASGI middleware: `/healthz` waits for no other request; in the host it waits for one of its threads.

    Args:
        app: Replies to everything else.
        check: Says whether the device can be used, and why not; it may block.

    """

    def __init__(self, app: "ASGIApp", check: "Callable[[], tuple[bool, str | None]]") -> None:
        self._app = app
        self._check = check
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="gemma4-block-health")

    async def __call__(self, scope: "Scope", receive: "Receive", send: "Send") -> None:
        """Serve one connection."""
        if scope["type"] != "http" or scope["path"] != PATH:
            await self._app(scope, receive, send)
            return
        is_healthy, _ = await asyncio.get_running_loop().run_in_executor(self._executor, self._check)
        # What the host says.
        if is_healthy:
            await send_json(send, 200, {"status": "healthy"})
        else:
            await send_json(send, 503, {"status": "unhealthy", "reason": "cuda_error"})
