"""Serve workflows over HTTP with the stock inference server and this plugin, without Docker."""

import base64
import gc
import json
import os
import shlex
import signal
import socket
import sys
import warnings
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Timer
from typing import TYPE_CHECKING, Annotated, Final

import typer

from gemma4_block.cli.disconnects import CancelOnDisconnect
from gemma4_block.cli.environment import describe_permissions, prepare_host_environment
from gemma4_block.cli.options import DEFAULT_MODEL_VERSION
from gemma4_block.cli.workflows import one_step_workflow, refuse
from gemma4_block.errors import ConfigurationError
from gemma4_block.settings import get_generation_defaults, get_settings

if TYPE_CHECKING:
    from fastapi import FastAPI

# How long a request may take to end once it is cancelled: the pass of the model that is under way.
_REQUESTS_TIMEOUT_S: Final = 5
# When the process ends in any case; service managers wait for 10 s or more before they kill.
_EXIT_TIMEOUT_S: Final = 8
_LOOPBACK: Final = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - read, not bound


def serve(
    host: Annotated[
        str, typer.Option(help="Address to listen on; any but loopback opens it to the network.")
    ] = "127.0.0.1",
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="Port to listen on; 0 picks a free one.")
    ] = 9001,
    allow_local_packages: Annotated[  # noqa: FBT002 - typer's way to write a flag
        bool,
        typer.Option(
            "--allow-local-packages",
            help="Let requests name model directories, such as the shipped detector's. Python code that a "
            "directory brings is run, so only on a machine where all who can send requests may do that.",
        ),
    ] = False,
) -> None:
    """Serve workflows over HTTP until Ctrl-C."""
    # Also reads .env, where the operator's settings may be.
    prepare_host_environment(allow_local_packages=allow_local_packages)
    # The requests of others would be refused for what only the operator can mend.
    try:
        get_settings()
        get_generation_defaults()
    except ConfigurationError as error:
        refuse(str(error), error)
    # SIGTERM then ends as cleanly as Ctrl-C, also while the host is still being imported.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with _bound_socket(host, port) as listener, TemporaryDirectory(prefix="gemma4-block-") as folder:
            typer.echo("Starting the inference server ...")
            with warnings.catch_warnings():
                # The operator cannot mend the host's own deprecations.
                warnings.simplefilter("ignore")
                app = make_app()
            _run(CancelOnDisconnect(app), listener, Path(folder))
    except KeyboardInterrupt:
        # Whoever asks a second time does not want to wait for what is still under way.
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        _close_engines()
        # The last collections of garbage would walk through all of the host, for seconds.
        gc.freeze()
        typer.echo("Stopped.")


def make_app() -> "FastAPI":
    """Build the stock inference application with this plugin listed.

    It prepares the host environment before the host is imported, and changes the working directory
    for a moment.
    """
    prepare_host_environment()
    from fastapi.staticfiles import StaticFiles
    from inference.core.env import MAX_ACTIVE_MODELS
    from inference.core.interfaces.http.http_api import HttpInterface
    from inference.core.managers.base import ModelManager
    from inference.core.managers.decorators.fixed_size_cache import WithFixedSizeCache
    from inference.core.registries.roboflow import RoboflowModelRegistry
    from inference.models.utils import ROBOFLOW_MODEL_TYPES
    from starlette.routing import Mount

    manager = WithFixedSizeCache(
        ModelManager(model_registry=RoboflowModelRegistry(ROBOFLOW_MODEL_TYPES)),
        max_size=MAX_ACTIVE_MODELS,
    )
    manager.init_pingback()
    started_in = Path.cwd()
    with TemporaryDirectory(prefix="gemma4-block-landing-") as folder:
        # The host mounts landing pages from below the working directory, and its wheel has none.
        landing = Path(folder, "inference", "landing", "out")
        for name in ("static", "_next/static"):
            (landing / name).mkdir(parents=True)
        os.chdir(folder)
        try:
            app: FastAPI = HttpInterface(manager).app
        finally:
            os.chdir(started_in)
    app.router.routes[:] = [
        route
        for route in app.router.routes
        if not (isinstance(route, Mount) and isinstance(route.app, StaticFiles))
    ]
    return app


def demo_request() -> dict[str, object]:
    """Build the body of a `/workflows/run` request that asks the demo model about a drawn scene."""
    import cv2
    import numpy as np

    from gemma4_block.demo.scenes import draw_scene

    scene = draw_scene(np.random.default_rng(7))
    _, png = cv2.imencode(".png", scene.image[..., ::-1])
    return {
        "specification": one_step_workflow(
            {
                "task_type": "unconstrained",
                "prompt": "What shapes are in the picture?",
                "model_version": DEFAULT_MODEL_VERSION,
            },
            outputs={"answer": "output"},
        ),
        "inputs": {"image": {"type": "base64", "value": base64.b64encode(png.tobytes()).decode()}},
    }


def _bound_socket(host: str, port: int) -> socket.socket:
    """Reserve the address before the slow start, so that one in use is refused at once."""
    listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        typer.echo(
            f"Cannot listen on {host}, port {port}: {error.strerror}. Choose another --port.", err=True
        )
        raise typer.Exit(code=1) from error
    return listener


def _run(app: CancelOnDisconnect, listener: socket.socket, folder: Path) -> None:
    import uvicorn

    class StoppingServer(uvicorn.Server):
        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            if self.started:
                _announce(listener, folder)

        async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
            _exit_in_any_case(_EXIT_TIMEOUT_S)
            app.cancel_all()
            await super().shutdown(sockets)

    config = uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=_REQUESTS_TIMEOUT_S)
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


def _close_engines() -> None:
    # Without it no model can have been loaded.
    if "gemma4_block.engine.pool" in sys.modules:
        from gemma4_block.engine.pool import get_engine_pool

        get_engine_pool().close()


def _announce(listener: socket.socket, folder: Path) -> None:
    host, port = listener.getsockname()[:2]
    host = _LOOPBACK.get(host, host)
    url = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
    typer.echo("Whoever reaches this address may run workflows here.")
    for permission in describe_permissions():
        typer.echo(permission)
    request = folder / "request.json"
    request.write_text(json.dumps(demo_request()), encoding="utf-8")
    curl = [
        *("curl", "-s", "-X", "POST", f"{url}/workflows/run"),
        *("-H", "Content-Type: application/json", "-d", f"@{request}"),
    ]
    typer.echo(
        f"Ready at {url}. Ctrl-C stops it. Ask the demo model about a picture:\n\n{shlex.join(curl)}\n"
    )
