"""What only the operator may ask for: the list of engines, and to close them; from this machine alone."""

import asyncio
import ipaddress
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Final, TypeVar
from urllib.parse import parse_qs

from gemma4_block.engine.pool import EnginePool
from gemma4_block.hosting.engines import close_model, report_engines
from gemma4_block.hosting.messages import send_content, send_message
from gemma4_block.hosting.reports import ENGINES_PATH

if TYPE_CHECKING:
    from collections.abc import Callable

    from pydantic import BaseModel
    from starlette.types import ASGIApp, Receive, Scope, Send


Report = TypeVar("Report")

# The host's own calls that unload models, which end our engines too.
_HOST_PATHS: Final = ("/model/clear", "/model/remove")
# Whoever passes a request on from elsewhere says so in one of them.
_FORWARDED: Final = frozenset({b"forwarded", b"x-forwarded-for", b"x-real-ip", b"via"})
# One may close, which takes a while, while another lists.
_THREADS: Final = 2


class OperatorRoutes:
    """ASGI middleware: answers the operator's questions about engines, however busy the host is.

    A client of another machine gets 403, also where a proxy on this one passes its request on.

    Args:
        app: Replies to everything else.
        pool: Holds the engines.

    """

    def __init__(self, app: "ASGIApp", pool: EnginePool) -> None:
        self._app = app
        self._pool = pool
        self._executor = ThreadPoolExecutor(_THREADS, thread_name_prefix="gemma4-block-operator")

    async def __call__(self, scope: "Scope", receive: "Receive", send: "Send") -> None:
        """Serve one connection."""
        is_ours = scope["type"] == "http" and scope["path"] == ENGINES_PATH
        if not is_ours and (scope["type"] != "http" or scope["path"] not in _HOST_PATHS):
            await self._app(scope, receive, send)
        elif not _comes_from_here(scope):
            message = "Only the machine that this server runs on may ask for that, and not through a proxy."
            await send_message(send, 403, message)
        elif not is_ours:
            await self._app(scope, receive, send)
        elif scope["method"] == "GET":
            await _reply(send, await self._run(lambda: report_engines(self._pool)))
        elif scope["method"] == "DELETE":
            await self._close(scope, send)
        else:
            allow = ((b"allow", b"GET, DELETE"),)
            await send_message(send, 405, f"{ENGINES_PATH} takes GET and DELETE.", headers=allow)

    async def _close(self, scope: "Scope", send: "Send") -> None:
        models = parse_qs(scope["query_string"].decode("latin-1")).get("model", [])
        if len(models) != 1:
            await send_message(send, 400, f"Say which model, once: {ENGINES_PATH}?model=MODEL.")
            return
        report = await self._run(lambda: close_model(self._pool, models[0]))
        if not report.closed and not report.closing_when_idle:
            await send_message(
                send, 404, f"No engine of {models[0]!r} is loaded. GET {ENGINES_PATH} lists them."
            )
            return
        await _reply(send, report)

    async def _run(self, work: "Callable[[], Report]") -> "Report":
        return await asyncio.get_running_loop().run_in_executor(self._executor, work)


async def _reply(send: "Send", report: "BaseModel") -> None:
    await send_content(send, 200, report.model_dump_json().encode())


def _comes_from_here(scope: "Scope") -> bool:
    client = scope["client"]
    if client is None or any(name in _FORWARDED for name, _ in scope["headers"]):
        return False
    try:
        address = ipaddress.ip_address(client[0])
    except ValueError:
        return False
    # A socket of both kinds writes an address of IPv4 as one of IPv6.
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return (address if mapped is None else mapped).is_loopback
