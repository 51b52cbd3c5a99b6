"""Say what would load on this machine, from where and in which precision, and why not."""

import os
import platform
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

import typer
from dotenv import load_dotenv

import gemma4_block
from gemma4_block.catalogue import VARIANTS, Variant
from gemma4_block.cli.workflows import quiet
from gemma4_block.errors import CheckpointError, ConfigurationError, EngineError, ModelNotFoundError
from gemma4_block.servers import Server
from gemma4_block.settings import Dtype, GenerationDefaults, Settings, get_generation_defaults, get_settings

if TYPE_CHECKING:
    from gemma4_block.engine.hardware import Machine
    from gemma4_block.engine.loading import Precision

Status = Literal["ok", "-", "WARN", "FAIL"]
"""`-`: is not there and need not be; `WARN`: works, but badly; `FAIL`: who needs it gets an error."""

_COLORS: Final[dict[Status, str]] = {
    "ok": typer.colors.GREEN,
    "-": typer.colors.BRIGHT_BLACK,
    "WARN": typer.colors.YELLOW,
    "FAIL": typer.colors.RED,
}
_PACKAGES: Final = ("torch", "transformers", "inference")
_GB: Final = 1e9


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """One line of the report.

    Attributes:
        subject: What was looked at.
        status: How it is.
        text: What was found, and what to do.

    """

    subject: str
    status: Status
    text: str


def doctor() -> None:
    """Say what would load here, from where and in which precision, and why not."""
    # A server of the user's own has none of the defaults that our commands set, so none is set here. It does
    # read this file.
    load_dotenv(Path.cwd() / ".env")
    from rich.console import Console

    with quiet(), Console(stderr=True).status("Looking at packages, device and models ..."):
        findings = list(examine())
    width = max(len(finding.subject) for finding in findings)
    for finding in findings:
        status = typer.style(f"{finding.status:4}", fg=_COLORS[finding.status])
        typer.echo(f"{finding.subject:{width}}  {status}  {' '.join(finding.text.split())}")
    if any(finding.status == "FAIL" for finding in findings):
        raise typer.Exit(code=1)


def examine() -> Iterator[Finding]:
    """Yield the lines of the report, in order; none about what a failure keeps from being looked at."""
    packages = examine_packages(_PACKAGES)
    yield packages
    try:
        settings = get_settings()
        get_generation_defaults()
    except ConfigurationError as error:
        yield Finding(subject="settings", status="FAIL", text=str(error))
        return
    yield examine_settings(settings)
    if packages.status == "FAIL":
        return
    for server in settings.servers:
        for url in server.urls:
            yield examine_server(server, url)
    try:
        from gemma4_block.engine.hardware import inspect_machine

        machine = inspect_machine(settings.device)
    except (ConfigurationError, ImportError, OSError) as error:
        # The last two are what a torch that was built for another machine fails with.
        yield Finding(subject="device", status="FAIL", text=str(error))
        return
    yield examine_device(machine, settings.dtype)
    yield examine_threads(machine)
    served = {server.model_id for server in settings.servers}
    for variant in VARIANTS:
        if variant.model_id not in served:
            yield examine_variant(variant, machine, settings)


def examine_packages(names: Sequence[str]) -> Finding:
    """Return the versions of this package and of others, which must be installed."""
    found = [f"{gemma4_block.__version__} on Python {platform.python_version()}"]
    missing = []
    for name in names:
        try:
            found.append(f"{name} {metadata.version(name)}")
        except metadata.PackageNotFoundError:  # noqa: PERF203 - each may be missing
            missing.append(name)
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
    """Return where a model is, what `auto` makes of it, and whether its weights fit and work fast."""
    from gemma4_block.engine.loading import forecast_precision, forecast_variant_precision, is_slow_in
    from gemma4_block.engine.pool import locate

    try:
        found = locate(variant.model_id, settings)
        precision = forecast_precision(found.directory, machine=machine, dtype=settings.dtype)
    except ModelNotFoundError:
        precision = forecast_variant_precision(variant, machine=machine, dtype=settings.dtype)
        need = describe_need(variant, precision, machine)
        text = f"not found here: {variant.fetch_command}; {need}"
        return Finding(subject=variant.model_id, status="-", text=text)
    except CheckpointError as error:
        return Finding(subject=variant.model_id, status="FAIL", text=str(error))
    text = f"{found.place}; {describe_need(variant, precision, machine)}"
    is_bad = is_slow_in(precision.dtype, machine) or not has_room(variant, precision, machine)
    return Finding(subject=variant.model_id, status="WARN" if is_bad else "ok", text=text)


def describe_need(variant: Variant, precision: "Precision", machine: "Machine") -> str:
    """Say what `auto` takes and how large the weights are, and where they are too large or slow."""
    from gemma4_block.engine.loading import find_weights_gb, is_slow_in

    size_gb = find_weights_gb(variant, precision)
    name = "4 bits" if precision.quantization == "nf4" else str(precision.dtype).removeprefix("torch.")
    need = f"auto: {name}, {'size unknown' if size_gb is None else f'{size_gb:.2f} GB'}"
    if not has_room(variant, precision, machine):
        need += ", more than is free"
    if is_slow_in(precision.dtype, machine):
        need += f", slow on this processor; {2 * variant.weights_gb:.2f} GB in float32"
    return need


def has_room(variant: Variant, precision: "Precision", machine: "Machine") -> bool:
    """Say whether the weights alone fit into what is free; True where either is unknown."""
    from gemma4_block.engine.loading import find_weights_gb

    size_gb = find_weights_gb(variant, precision)
    return size_gb is None or machine.free_bytes is None or size_gb * _GB <= machine.free_bytes
