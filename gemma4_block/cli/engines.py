"""List the models that a running server has loaded, and close them."""

from pathlib import Path
from typing import Annotated

import typer
from dotenv import load_dotenv

from gemma4_block.cli.operator_client import DEFAULT_ADDRESS, Address, ask_for_engines, ask_to_close
from gemma4_block.cli.tables import print_table, write_seconds, write_size
from gemma4_block.cli.workflows import refuse
from gemma4_block.errors import Gemma4BlockError
from gemma4_block.hosting import EngineReport

_HEADS = ("model", "precision", "device", "memory", "state", "for", "users", "unused", "adapters")


def engines(
    address: Address = DEFAULT_ADDRESS,
    close: Annotated[
        str | None,
        typer.Option(help="Close this model, as soon as nobody uses it, and give its memory back."),
    ] = None,
    as_json: Annotated[  # noqa: FBT002 - typer's way to write a flag
        bool, typer.Option("--json", help="Print one line of JSON.")
    ] = False,
) -> None:
    """List the models that a running server has loaded, or close one."""
    # The server reads this file too, and its token may be there.
    load_dotenv(Path.cwd() / ".env")
    try:
        if close is None:
            _list(address, as_json=as_json)
        else:
            _close(address, close, as_json=as_json)
    except Gemma4BlockError as error:
        refuse(str(error), error)


def _list(address: str, *, as_json: bool) -> None:
    report = ask_for_engines(address)
    if as_json:
        typer.echo(report.model_dump_json())
        return
    if not report.engines:
        typer.echo("No model is loaded.")
        return
    print_table(_HEADS, [_write_row(engine) for engine in report.engines])
    for engine in report.engines:
        if engine.failure is not None:
            typer.echo(f"{engine.model} could not be loaded: {' '.join(engine.failure.split())}")


def _close(address: str, model: str, *, as_json: bool) -> None:
    report = ask_to_close(address, model)
    if as_json:
        typer.echo(report.model_dump_json())
        return
    later = f", and {report.closing_when_idle} when nobody uses it" if report.closing_when_idle else ""
    typer.echo(f"{model}: {report.closed} closed{later}.")


def _write_row(engine: EngineReport) -> tuple[str, ...]:
    return (
        engine.model,
        "-" if engine.precision is None else engine.precision,
        "-" if engine.device is None else engine.device,
        write_size(engine.nbytes),
        engine.state,
        write_seconds(engine.state_seconds),
        str(engine.leases),
        write_seconds(engine.unused_seconds),
        ", ".join(engine.adapters) or "-",
    )
