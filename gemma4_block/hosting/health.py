"""Answer whether the server works, and whether it takes more work, while all of its threads are at work."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Final, Literal

from gemma4_block.hosting.messages import RETRY_AFTER, send_json

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.types import ASGIApp, Receive, Scope, Send

HEALTH_PATH: Final = "/healthz"
READINESS_PATH: Final = "/readiness"

State = Literal["ready", "loading", "full", "failed"]
"""`loading`: models that the operator named are not loaded yet; `full`: more requests would be refused as
busy; `failed`: a model that the operator named could not be loaded."""


class AlwaysAnswersHealth:
    """ASGI middleware: health waits for no other request; in the host it waits for one of its threads.

    `/healthz` says whether the process must be started anew: 503 where the device is lost, else 200, also
    while models load or the queue is full. `/readiness` says whether more requests should come: 503 where
    they should not.

    Args:
        app: Replies to everything else.
        check: Says whether the device can be used, and why not; it may block.
        find_state: Says how it is with models and queue.
        asks_host: Whether the host has something to say of readiness, too.

    """

    def __init__(
        self,
        app: "ASGIApp",
        check: "Callable[[], tuple[bool, str | None]]",
        find_state: "Callable[[], State]",
        *,
        asks_host: bool,
    ) -> None:
        self._app = app
        self._check = check
        self._find_state = find_state
        self._asks_host = asks_host
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="gemma4-block-health")

    async def __call__(self, scope: "Scope", receive: "Receive", send: "Send") -> None:
        """Serve one connection."""
        path = scope["path"] if scope["type"] == "http" else None
        if path == HEALTH_PATH:
            await self._say_health(send)
        elif path == READINESS_PATH:
            state = self._find_state()
            # The words of the host.
            if state != "ready":
                body = {"status": "not ready", "state": state}
                await send_json(send, 503, body, headers=(RETRY_AFTER,))
            elif self._asks_host:
                await self._app(scope, receive, send)
            else:
                await send_json(send, 200, {"status": "ready", "state": state})
        else:
            await self._app(scope, receive, send)

    async def _say_health(self, send: "Send") -> None:
        is_healthy, _ = await asyncio.get_running_loop().run_in_executor(self._executor, self._check)
        # The words of the host.
        if is_healthy:
            await send_json(send, 200, {"status": "healthy", "state": self._find_state()})
        else:
            await send_json(send, 503, {"status": "unhealthy", "reason": "cuda_error"})
