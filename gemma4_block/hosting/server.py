"""Run the server: what guards the host's application, what is said at the start, and how it ends."""

import os
import shlex
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from threading import Timer
from typing import TYPE_CHECKING, Final

import typer

from gemma4_block.engine.pool import EnginePool
from gemma4_block.hosting.access import ANY, Access, ChecksAccess
from gemma4_block.hosting.disconnects import CancelOnDisconnect
from gemma4_block.hosting.environment import describe_permissions
from gemma4_block.hosting.gate import Gate
from gemma4_block.hosting.health import AlwaysAnswersHealth, State
from gemma4_block.hosting.operator_routes import OperatorRoutes
from gemma4_block.hosting.outgoing import SWITCH
from gemma4_block.hosting.preload import Preloading
from gemma4_block.settings import Settings
from gemma4_block.waiting import PROMPTS

if TYPE_CHECKING:
    from fastapi import FastAPI

DEMO_REQUEST_PATH: Final = "/demo-request"
"""Where the body of a request to try is."""

# How long a request may take to end once it is cancelled: the pass of the model that is under way.
_REQUESTS_TIMEOUT_S: Final = 5
# When the process ends in any case; service managers wait for 10 s or more before they kill.
_EXIT_TIMEOUT_S: Final = 8
_LOOPBACK: Final = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - read, not bound


@dataclass(frozen=True, kw_only=True, slots=True)
class Door:
    """What the operator opens.

    Attributes:
        secret: The token that requests must bring; None for none.
        is_secret_new: Whether it was made up, so that the operator does not know it yet.
        names: Under which the server may be addressed.
        may_call_out: Whether workflows may connect to other servers.

    """

    secret: str | None
    is_secret_new: bool
    names: frozenset[str]
    may_call_out: bool


def run_until_stopped(
    app: "FastAPI",
    settings: Settings,
    door: Door,
    listener: socket.socket,
    *,
    pool: EnginePool,
    preload: Sequence[str] = (),
) -> None:
    """Serve until Ctrl-C, which it raises again as KeyboardInterrupt.

    Args:
        app: The host's.
        settings: The operator's.
        door: What is open.
        listener: A bound socket.
        pool: Holds the engines.
        preload: Models that are loaded before anybody asks for them.

    """
    import uvicorn
    from inference.core.env import ALLOW_ORIGINS, PINNED_MODELS, PRELOAD_MODELS
    from inference.core.utils.cuda_health import check_cuda_health

    cancelling = CancelOnDisconnect(app)
    access = Access(names=door.names, origins=frozenset(ALLOW_ORIGINS), token=door.secret)
    gate = Gate(cancelling, settings)
    preloading = Preloading(pool, preload)

    def find_state() -> State:
        if preloading.state != "ready":
            return preloading.state
        limits = {"max_count": settings.max_waiting, "max_bytes": settings.max_waiting_bytes}
        return "full" if gate.is_full or PROMPTS.is_full(**limits) else "ready"

    guarded = AlwaysAnswersHealth(
        ChecksAccess(OperatorRoutes(gate, pool), access),
        check_cuda_health,
        find_state,
        # Of the models that it loads itself at the start.
        asks_host=bool(PRELOAD_MODELS or PINNED_MODELS),
    )

    class StoppingServer(uvicorn.Server):
        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            if self.started:
                _announce(door, listener)
                preloading.start()

        async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
            _exit_in_any_case(_EXIT_TIMEOUT_S)
            cancelling.cancel_all()
            await super().shutdown(sockets)

    config = uvicorn.Config(
        guarded, log_level="warning", timeout_graceful_shutdown=_REQUESTS_TIMEOUT_S, ws="none"
    )
    StoppingServer(config).run([listener])


def _exit_in_any_case(timeout_s: float) -> None:
    """End the process after a while, also where a thread of the host that Python waits for does not end."""

    def give_up() -> None:
        typer.echo(f"Stopped. What had not ended after {timeout_s:g} s was given up.", err=True)
        # Any other way out would wait for the threads.
        os._exit(1)

    timer = Timer(timeout_s, give_up)
    timer.daemon = True
    timer.start()


def _announce(door: Door, listener: socket.socket) -> None:
    host, port = listener.getsockname()[:2]
    host = _LOOPBACK.get(host, host)
    url = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
    if door.secret is None:
        typer.echo("Whoever reaches this address may run workflows here.")
    else:
        typer.echo("Whoever reaches this address and has the token may run workflows here.")
    for permission in describe_permissions():
        typer.echo(permission)
    if door.may_call_out:
        typer.echo(f"Workflows may call out to other servers, because of {SWITCH}.")
    if ANY in door.names:
        typer.echo("Requests may name any host, because --allowed-host is *.")
    if door.secret is None:
        secret = []
    elif door.is_secret_new:
        typer.echo(f"Token: {door.secret}")
        secret = ["-H", f"Authorization: Bearer {door.secret}"]
    else:
        # The operator's own stays out of the log.
        secret = ["-H", "Authorization: Bearer TOKEN"]
    fetch = ["curl", "-s", *secret, f"{url}{DEMO_REQUEST_PATH}"]
    ask = ["curl", "-s", *secret, "-H", "Content-Type: application/json", "-d", "@-", f"{url}/workflows/run"]
    typer.echo(
        f"Ready at {url}. Ctrl-C stops it. Ask the demo model about a picture:\n\n"
        f"{shlex.join(fetch)} |\n    {shlex.join(ask)}\n"
    )
