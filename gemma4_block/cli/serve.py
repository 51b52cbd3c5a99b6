"""Serve workflows over HTTP with the stock inference server and this plugin, without Docker."""

import base64
import os
import secrets
import signal
import socket
import sys
import warnings
from collections.abc import Sequence
from typing import Annotated

import typer

from gemma4_block.cli.ending import QuickEnd
from gemma4_block.cli.options import DEFAULT_MODEL_VERSION
from gemma4_block.cli.workflows import one_step_workflow, refuse
from gemma4_block.engine.pool import get_engine_pool, resolve
from gemma4_block.errors import ConfigurationError, Gemma4BlockError
from gemma4_block.hosting import (
    DEMO_REQUEST_PATH,
    SWITCH,
    Door,
    close_outgoing_blocks,
    log_in_lines,
    make_app,
    never_wait_for_readers,
    prepare_host_environment,
    run_until_stopped,
)
from gemma4_block.settings import Settings, get_generation_defaults, get_settings


def serve(  # noqa: PLR0917 - typer's options have no order
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
    allow_outgoing: Annotated[  # noqa: FBT002 - typer's way to write a flag
        bool,
        typer.Option(
            SWITCH,
            help="Let workflows call out: webhooks, e-mail, databases, and the models of other servers.",
        ),
    ] = False,
    token: Annotated[  # noqa: FBT002 - typer's way to write a flag
        bool,
        typer.Option(
            "--token",
            help="Answer only who brings a token: the one in GEMMA4_BLOCK_TOKEN, else one that is made up "
            "and printed.",
        ),
    ] = False,
    allowed_host: Annotated[
        list[str] | None,
        typer.Option(
            help="A name under which clients reach this server, beside localhost, --host and any address; "
            "may be given again. * allows every name, and so pages of other sites."
        ),
    ] = None,
    preload: Annotated[
        list[str] | None,
        typer.Option(
            help="A model that is loaded at the start, before anybody asks for it; may be given again."
        ),
    ] = None,
) -> None:
    """Serve workflows over HTTP until Ctrl-C."""
    ending = QuickEnd()
    # Also reads .env, where the operator's settings may be.
    prepare_host_environment(allow_local_packages=allow_local_packages)
    # The requests of others would be refused for what only the operator can mend.
    try:
        settings = get_settings()
        get_generation_defaults()
    except ConfigurationError as error:
        refuse(str(error), error)
    preloaded = tuple(dict.fromkeys(preload or ()))
    _refuse_missing(preloaded, settings)
    # OpenCV reads it when it is loaded, and then refuses an image whose header says that it is larger.
    os.environ.setdefault("OPENCV_IO_MAX_IMAGE_PIXELS", str(settings.max_image_pixels))
    if not sys.stderr.isatty():
        # Loading is a line of the log; bars are redrawn for eyes, and in a file each drawing stays.
        os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    secret = None if settings.token is None else settings.token.get_secret_value()
    if secret is None and token:
        secret = secrets.token_urlsafe()
    door = Door(
        secret=secret,
        is_secret_new=settings.token is None,
        names=frozenset({"localhost", host.lower(), *(name.lower() for name in allowed_host or ())}),
        may_call_out=allow_outgoing,
    )
    never_wait_for_readers()
    pool = get_engine_pool()
    # SIGTERM then ends as cleanly as Ctrl-C, also while the host is still being imported.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with _bound_socket(host, port) as listener:
            typer.echo("Starting the inference server ...")
            with warnings.catch_warnings():
                # The operator cannot mend the host's own deprecations.
                warnings.simplefilter("ignore")
                app = make_app(pool)
                app.add_api_route(DEMO_REQUEST_PATH, demo_request)
                if not allow_outgoing:
                    close_outgoing_blocks()
            log_in_lines()
            run_until_stopped(app, settings, door, listener, pool=pool, preload=preloaded)
    except KeyboardInterrupt:
        # Whoever asks a second time does not want to wait for what is still under way.
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        pool.close()
        ending.want()
        typer.echo("Stopped.")


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


def _refuse_missing(preloaded: Sequence[str], settings: Settings) -> None:
    """Refuse a model that is not here before the slow start."""
    served = {server.model_id for server in settings.servers}
    for name in preloaded:
        if name not in served:
            try:
                resolve(name, settings)
            except Gemma4BlockError as error:
                refuse(f"--preload: {error}", error)


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
