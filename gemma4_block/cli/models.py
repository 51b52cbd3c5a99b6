"""Say which models are on this machine, where, how large, and whether they fit."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from dotenv import load_dotenv
from pydantic import BaseModel, ConfigDict

from gemma4_block.catalogue import find_named_variant
from gemma4_block.cli.operator_client import ask_for_engines
from gemma4_block.cli.tables import print_table, write_size
from gemma4_block.cli.workflows import quiet, refuse
from gemma4_block.errors import CheckpointError, Gemma4BlockError
from gemma4_block.settings import Settings, get_settings

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gemma4_block.engine.footprint import Forecast
    from gemma4_block.engine.hardware import Machine
    from gemma4_block.engine.loading import Precision
    from gemma4_block.engine.pool import StoredModel
    from gemma4_block.hosting import EngineReport

_HEADS = ("model", "on disk", "precision", "memory", "fits", "loaded", "adapters", "where")
_NOT_HERE = "not here: gemma4-block pull {}"


class ModelRow(BaseModel):
    """What is said of a model.

    Attributes:
        model: Its name.
        directory: Where it is; None where it is not here, or not whole.
        disk_bytes: Size of its files.
        precision: What `auto` makes of it on this machine; None where that is unknown.
        needed_bytes: The memory that it needs in that precision. None where unknown.
        fits: Whether that fits into the memory that is free; None where either is unknown.
        loaded: Whether the server has loaded it; None where none was asked.
        adapters: Names of the models here that are adapters for its weights.
        base: Directory of the weights that it is an adapter for; None where it has its own.
        problem: What keeps it from being loaded; None where nothing does.

    """

    model_config = ConfigDict(frozen=True)

    model: str
    directory: str | None
    disk_bytes: int
    precision: str | None
    needed_bytes: int | None
    fits: bool | None
    loaded: bool | None
    adapters: tuple[str, ...]
    base: str | None
    problem: str | None


def models(
    address: Annotated[
        str | None,
        typer.Option(help="Ask the server that listens here which models it has loaded; see engines."),
    ] = None,
    as_json: Annotated[  # noqa: FBT002 - typer's way to write a flag
        bool, typer.Option("--json", help="Print one line of JSON.")
    ] = False,
) -> None:
    """Say which models are on this machine, where, how large, and whether they fit."""
    load_dotenv(Path.cwd() / ".env")
    from rich.console import Console

    try:
        settings = get_settings()
        engines = None if address is None else ask_for_engines(address).engines
        with quiet(), Console(stderr=True).status("Looking at models and memory ..."):
            rows = list_rows(settings, engines)
    except Gemma4BlockError as error:
        refuse(str(error), error)
    if as_json:
        typer.echo(json.dumps({"models": [row.model_dump(mode="json") for row in rows]}))
        return
    print_table(_HEADS, [_write_row(row) for row in rows])


def list_rows(settings: Settings, engines: "Sequence[EngineReport] | None") -> list[ModelRow]:
    """Return what is said of each model.

    Args:
        settings: The operator's.
        engines: Of a server; None where none was asked.

    Returns:
        The variants, and then whatever else is here.

    Raises:
        ConfigurationError: The operator's device does not exist.

    """
    from gemma4_block.engine.hardware import inspect_machine
    from gemma4_block.engine.pool import list_models

    machine = inspect_machine(settings.device)
    stored = list_models(settings)
    return [_describe(model, stored, engines, machine, settings) for model in stored]


def _describe(
    model: "StoredModel",
    stored: "Sequence[StoredModel]",
    engines: "Sequence[EngineReport] | None",
    machine: "Machine",
    settings: Settings,
) -> ModelRow:
    problem = model.problem
    forecast: Forecast | None = None
    try:
        forecast = _forecast(model, machine, settings)
    except CheckpointError as error:
        problem = str(error)
    footprint = None if forecast is None else forecast.footprint
    needed_bytes = None if footprint is None else footprint.needed
    return ModelRow(
        model=model.name,
        directory=None if model.directory is None else str(model.directory),
        disk_bytes=model.disk_bytes,
        precision=None if forecast is None else _write_precision(forecast.precision),
        needed_bytes=needed_bytes,
        fits=None if needed_bytes is None else _fits(needed_bytes, machine),
        loaded=None if engines is None else _is_loaded(model, engines),
        adapters=tuple(
            other.name for other in stored if other.base is not None and other.base == model.directory
        ),
        base=None if model.base is None else str(model.base),
        problem=problem or None,
    )


def _forecast(model: "StoredModel", machine: "Machine", settings: Settings) -> "Forecast | None":
    """Return what `auto` makes of a model, and what it needs then; None for one that nobody knows.

    An adapter needs its base.
    """
    from gemma4_block.engine.footprint import find_published_files, forecast
    from gemma4_block.engine.loading import read_model_files

    variant = find_named_variant(model.name)
    weights = model.directory if model.base is None else model.base
    if weights is not None:
        files = read_model_files(weights)
    elif variant is not None:
        files = find_published_files(variant)
    else:
        return None
    return forecast(files, machine=machine, settings=settings)


def _write_precision(precision: "Precision") -> str:
    is_whole = precision.quantization == "none"
    return str(precision.dtype).removeprefix("torch.") if is_whole else precision.quantization


def _fits(needed_bytes: int, machine: "Machine") -> bool | None:
    """Say whether a model fits into what is free now."""
    return None if machine.free_bytes is None else needed_bytes <= machine.free_bytes


def _is_loaded(model: "StoredModel", engines: "Sequence[EngineReport]") -> bool:
    def runs(engine: "EngineReport") -> bool:
        if model.base is not None:
            return str(model.directory) in engine.adapters
        # One that another server runs has no directory here.
        return engine.model == model.name or engine.where == str(model.directory)

    return any(engine.state == "ready" and runs(engine) for engine in engines)


def _write_row(row: ModelRow) -> tuple[str, ...]:
    where = row.directory or _NOT_HERE.format(row.model)
    return (
        row.model,
        write_size(row.disk_bytes) if row.directory is not None else "-",
        "-" if row.precision is None else row.precision,
        write_size(row.needed_bytes),
        _write_answer(row.fits),
        _write_answer(row.loaded),
        ", ".join(row.adapters) or "-",
        where if row.problem is None else f"cannot be loaded: {' '.join(row.problem.split())}",
    )


def _write_answer(answer: bool | None) -> str:  # noqa: FBT001 - an answer
    if answer is None:
        return "-"
    return "yes" if answer else "no"
