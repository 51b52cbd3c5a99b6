"""Say what would load on this machine, from where and in which precision, and why not."""

import os
import platform
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer
from dotenv import load_dotenv

import gemma4_block
from gemma4_block.catalogue import VARIANTS, Variant
from gemma4_block.cli.examination import (
    PACKAGES,
    Examination,
    Finding,
    FoundModel,
    Status,
    find_versions,
    write_json,
)
from gemma4_block.cli.memory_table import list_needs, write_table
from gemma4_block.cli.workflows import quiet
from gemma4_block.errors import CheckpointError, ConfigurationError, EngineError, ModelNotFoundError
from gemma4_block.servers import Server
from gemma4_block.settings import Dtype, GenerationDefaults, Settings, get_generation_defaults, get_settings

if TYPE_CHECKING:
    from gemma4_block.engine.footprint import Forecast
    from gemma4_block.engine.hardware import Machine

_COLORS: Final[dict[Status, str]] = {
    "ok": typer.colors.GREEN,
    "-": typer.colors.BRIGHT_BLACK,
    "WARN": typer.colors.YELLOW,
    "FAIL": typer.colors.RED,
}
_GB: Final = 1e9


def doctor(
    json_output: Annotated[  # noqa: FBT002 - typer's way to write a flag
        bool, typer.Option("--json", help="Print all of it as one JSON object, for a program.")
    ] = False,
) -> None:
    """Say what would load here, from where and in which precision, and why not."""
    # A server of the user's own has none of the defaults that our commands set, so none is set here. It does
    # read this file.
    load_dotenv(Path.cwd() / ".env")
    from rich.console import Console

    with quiet(), Console(stderr=True).status("Looking at packages, device and models ..."):
        found = examine()
    if json_output:
        typer.echo(write_json(found))
    else:
        _print(found)
    if any(finding.status == "FAIL" for finding in found.findings):
        raise typer.Exit(code=1)


def _print(found: Examination) -> None:
    width = max(len(finding.subject) for finding in found.findings)
    for finding in found.findings:
        status = typer.style(f"{finding.status:4}", fg=_COLORS[finding.status])
        typer.echo(f"{finding.subject:{width}}  {status}  {' '.join(finding.text.split())}")
    if found.needs:
        typer.echo()
        for line in write_table(found.needs, found.machines[0]):
            typer.echo(line)


def examine() -> Examination:
    """Look at all that a model needs."""
    packages = examine_packages(PACKAGES)
    findings = [packages]
    try:
        settings = get_settings()
        get_generation_defaults()
    except ConfigurationError as error:
        findings.append(Finding(subject="settings", status="FAIL", text=str(error)))
        return Examination(findings=tuple(findings))
    findings.append(examine_settings(settings))
    if packages.status == "FAIL":
        return Examination(findings=tuple(findings), settings=settings)
    findings += [examine_server(server, url) for server in settings.servers for url in server.urls]
    try:
        from gemma4_block.engine.hardware import find_devices, inspect_machine
        from gemma4_block.engine.pool import describe_own_copies

        machines = tuple(inspect_machine(str(device)) for device in find_devices(settings.device))
    except (ConfigurationError, ImportError, OSError) as error:
        # The last two are what a torch that was built for another machine fails with.
        findings.append(Finding(subject="device", status="FAIL", text=str(error)))
        return Examination(findings=tuple(findings), settings=settings)
    findings += [examine_device(machine, settings.dtype) for machine in machines]
    findings.append(examine_threads(machines[0]))
    copies = describe_own_copies()
    if copies is not None:
        findings.append(Finding(subject="processes", status="WARN", text=copies))
    served = {server.model_id for server in settings.servers}
    roomiest = max(machines, key=lambda machine: machine.free_bytes or 0)
    findings += [
        examine_variant(variant, roomiest, settings) for variant in VARIANTS if variant.model_id not in served
    ]
    return Examination(
        findings=tuple(findings),
        settings=settings,
        machines=(roomiest, *(machine for machine in machines if machine is not roomiest)),
        models=tuple(list_models(settings)),
        needs=tuple(list_needs(roomiest, settings)),
    )


def examine_packages(names: Sequence[str]) -> Finding:
    """Return the versions of this package and of others, which must be installed."""
    versions = find_versions(names)
    found = [f"{gemma4_block.__version__} on Python {platform.python_version()}"]
    found += [f"{name} {version}" for name, version in versions.items() if version is not None]
    missing = [name for name, version in versions.items() if version is None]
    if missing:
        found.append(f"without {' and '.join(missing)}: install gemma4-block again")
    return Finding(subject="gemma4-block", status="FAIL" if missing else "ok", text=", ".join(found))


def examine_settings(settings: Settings) -> Finding:
    """Return which variables are set, by name only, and which folders that they name are not there."""
    variables = [
        f"{form.model_config['env_prefix']}{name.upper()}"
        for form in (Settings, GenerationDefaults)
        for name in form.model_fields
    ]
    text = f"set: {', '.join(name for name in variables if name in os.environ) or 'none'}"
    missing = [str(root) for root in settings.model_roots if not root.is_dir()]
    if missing:
        text += f"; GEMMA4_BLOCK_MODEL_ROOTS names what is no folder: {', '.join(missing)}"
    return Finding(subject="settings", status="WARN" if missing else "ok", text=text)


def examine_server(server: Server, url: str) -> Finding:
    """Return what a server was found to be, and what it cannot do."""
    from gemma4_block.engine.remote import inspect_server

    try:
        report = inspect_server(server, url)
    except (ConfigurationError, EngineError) as error:
        return Finding(subject=server.model_id, status="FAIL", text=str(error))
    tokens = "unknown" if report.context_tokens is None else str(report.context_tokens)
    text = "; ".join((f"{server.model} on {url}, tokens at most: {tokens}", *report.lacks))
    return Finding(subject=server.model_id, status="WARN" if report.lacks else "ok", text=text)


def examine_device(machine: "Machine", dtype: Dtype) -> Finding:
    """Return where models work, how much memory is free there, and whether it computes in bfloat16."""
    from gemma4_block.engine.loading import SLOW_BFLOAT16

    free = "unknown" if machine.free_bytes is None else f"{machine.free_bytes / _GB:.2f} GB"
    weights = "each checkpoint's own precision" if dtype == "auto" else dtype
    text = f"{machine.device}, memory free: {free}; weights in {weights}"
    if machine.has_bfloat16 is None:
        return Finding(subject="device", status="ok", text=f"{text}; torch 2.11 could say if it has bfloat16")
    if machine.has_bfloat16:
        return Finding(subject="device", status="ok", text=f"{text}; it has bfloat16")
    if dtype == "float32":
        return Finding(subject="device", status="ok", text=f"{text}; it has no bfloat16 and needs none")
    if dtype == "auto" and machine.device.type == "cpu":
        text += (
            "; it has no bfloat16, so that models are in float32 where that leaves a quarter of the memory"
        )
        return Finding(subject="device", status="ok", text=text)
    text += f"; it has no bfloat16, so that {SLOW_BFLOAT16}, which takes twice the memory"
    return Finding(subject="device", status="WARN", text=f"{text}: GEMMA4_BLOCK_DTYPE=float32")


def examine_threads(machine: "Machine") -> Finding:
    """Return how many threads torch has, and whether idle ones are in the way."""
    if machine.spinning is not None:
        text = f"{machine.spinning}; gemma4-block demo, ask, bench and serve do the first by themselves"
        return Finding(subject="threads", status="WARN", text=text)
    are_passive = machine.threads > 1 and machine.device.type == "cpu"
    text = f"torch has {machine.threads}{', which wait passively' if are_passive else ''}"
    return Finding(subject="threads", status="ok", text=text)


def examine_variant(variant: Variant, machine: "Machine", settings: Settings) -> Finding:
    """Return where a model is, what `auto` makes of it, and whether it fits and works fast."""
    from gemma4_block.engine.footprint import find_published_files, forecast
    from gemma4_block.engine.loading import is_slow_in, read_model_files
    from gemma4_block.engine.pool import locate

    try:
        found = locate(variant.model_id, settings)
        files = read_model_files(found.directory)
    except ModelNotFoundError:
        need = describe_need(
            forecast(find_published_files(variant), machine=machine, settings=settings), machine
        )
        text = f"not found here: {variant.fetch_command}; {need}"
        return Finding(subject=variant.model_id, status="-", text=text)
    except CheckpointError as error:
        return Finding(subject=variant.model_id, status="FAIL", text=str(error))
    forecasted = forecast(files, machine=machine, settings=settings)
    text = f"{found.place}; {describe_need(forecasted, machine)}"
    is_bad = is_slow_in(forecasted.precision.dtype, machine) or not has_room(forecasted, machine)
    return Finding(subject=variant.model_id, status="WARN" if is_bad else "ok", text=text)


def list_models(settings: Settings) -> Iterator[FoundModel]:
    """Yield the variants that are on this machine, and whole."""
    from gemma4_block.engine.pool import locate

    for variant in VARIANTS:
        try:
            found = locate(variant.model_id, settings)
        except CheckpointError:
            continue
        yield FoundModel(model_id=variant.model_id, place=found.place, directory=str(found.directory))


def describe_need(found: "Forecast", machine: "Machine") -> str:
    """Say what `auto` takes and how much memory that needs, and where it is too large or slow."""
    from gemma4_block.engine.footprint import format_gb
    from gemma4_block.engine.loading import is_slow_in

    needed = "an unknown amount" if found.footprint is None else f"{format_gb(found.footprint.needed)} GB"
    need = f"auto: {found.precision}, needs {needed}"
    if not has_room(found, machine):
        need += ", more than is free"
    if is_slow_in(found.precision.dtype, machine):
        need += ", slow on this processor"
    return need


def has_room(found: "Forecast", machine: "Machine") -> bool:
    """Say whether a model fits into what is free; True where either is unknown."""
    footprint, free_bytes = found.footprint, machine.free_bytes
    return footprint is None or free_bytes is None or footprint.needed <= free_bytes
