"""What `doctor` found, and how a program reads it."""

import json
import platform
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib import metadata
from typing import TYPE_CHECKING, Final, Literal

import gemma4_block
from gemma4_block.cli.memory_table import MemoryNeed
from gemma4_block.settings import Settings

if TYPE_CHECKING:
    from gemma4_block.engine.hardware import Machine

Status = Literal["ok", "-", "WARN", "FAIL"]
"""`-`: is not there and need not be; `WARN`: works, but badly; `FAIL`: who needs it gets an error."""

PACKAGES: Final = ("torch", "transformers", "inference")
"""What must be installed beside this package."""

# Secrets, and what has a part of its own.
_UNTOLD: Final = {"token", "servers"}


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


@dataclass(frozen=True, kw_only=True, slots=True)
class FoundModel:
    """A variant that is on this machine.

    Attributes:
        model_id: Its name in workflows.
        place: Where it was found, for people.
        directory: Absolute.

    """

    model_id: str
    place: str
    directory: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Examination:
    """All that was found.

    Attributes:
        findings: The lines of the report, in order; none about what a failure keeps from being looked at.
        settings: The operator's; None where they cannot be read.
        machines: One for each device that models may be loaded on.
        models: The variants that are here, and whole.
        needs: What the variants need on the first of them.

    """

    findings: tuple[Finding, ...]
    settings: Settings | None = None
    machines: "tuple[Machine, ...]" = ()
    models: tuple[FoundModel, ...] = ()
    needs: tuple[MemoryNeed, ...] = ()


def write_json(found: Examination) -> str:
    """Write all that was found as one JSON object; keys and tokens are left out.

    Args:
        found: By the examination.

    Returns:
        One line.

    """
    settings = found.settings
    return json.dumps(
        {
            "versions": {
                "gemma4-block": gemma4_block.__version__,
                "python": platform.python_version(),
                **find_versions(PACKAGES),
            },
            "findings": [asdict(finding) for finding in found.findings],
            "settings": None if settings is None else settings.model_dump(mode="json", exclude=_UNTOLD),
            "servers": [] if settings is None else [asdict(server) for server in settings.servers],
            "devices": [_describe(machine) for machine in found.machines],
            "models": [asdict(model) for model in found.models],
            "memory": [asdict(need) for need in found.needs],
        }
    )


def find_versions(names: Sequence[str]) -> dict[str, str | None]:
    """Return the versions of packages; None of those that are not installed."""
    return {name: _find_version(name) for name in names}


def _find_version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _describe(machine: "Machine") -> dict[str, object]:
    return {
        "device": str(machine.device),
        "free_bytes": machine.free_bytes,
        "has_bfloat16": machine.has_bfloat16,
        "threads": machine.threads,
        "spinning": machine.spinning,
    }
