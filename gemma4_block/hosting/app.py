"""Build the stock inference application with this plugin listed, without Docker."""

import os
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from gemma4_block.engine.pool import EnginePool
from gemma4_block.hosting.endpoint import publish_to_host
from gemma4_block.hosting.environment import prepare_host_environment

if TYPE_CHECKING:
    from fastapi import FastAPI


def make_app(pool: EnginePool) -> "FastAPI":
    """Build the stock inference application with this plugin listed.

    It prepares the host environment before the host is imported, and changes the working directory
    for a moment.

    Args:
        pool: Holds the engines, which the host lists and closes with its own models.

    Returns:
        The host's application.

    """
    prepare_host_environment()
    from fastapi.staticfiles import StaticFiles
    from inference.core.env import MAX_ACTIVE_MODELS
    from inference.core.interfaces.http.http_api import HttpInterface
    from inference.core.managers.base import ModelManager
    from inference.core.registries.roboflow import RoboflowModelRegistry
    from inference.models.utils import ROBOFLOW_MODEL_TYPES
    from starlette.routing import Mount

    from gemma4_block.hosting.model_registry import WithEngines

    manager = WithEngines(
        ModelManager(model_registry=RoboflowModelRegistry(ROBOFLOW_MODEL_TYPES)),
        max_size=MAX_ACTIVE_MODELS,
        pool=pool,
    )
    manager.init_pingback()
    publish_to_host()
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
