"""Known vulnerabilities of the pinned versions, where a database of them can be reached."""

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final

# Of one database; the network may swallow a request.
_TIMEOUT_S: Final = 300
DATABASES: Final = ("pypi", "osv")
"""What pip-audit calls them. The first that answers is asked."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Vulnerability:
    """A known weakness of a pinned version.

    Attributes:
        package: Its name.
        version: The pinned one.
        name: Of the vulnerability, such as `GHSA-...`.
        fixed_in: The versions without it; empty where there is none.

    """

    package: str
    version: str
    name: str
    fixed_in: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Report:
    """The answer of a database.

    Attributes:
        checked: How many packages it knew.
        skipped: How many it did not.
        found: What it knows of them.

    """

    checked: int
    skipped: int
    found: tuple[Vulnerability, ...]


def ask_database(database: str, requirements: Path) -> Report | None:
    """Ask a database about pinned versions.

    Args:
        database: One of `DATABASES`.
        requirements: A file with a pinned version a line.

    Returns:
        Its answer; None where it cannot be reached.

    """
    command = [
        sys.executable,
        "-m",
        "pip_audit",
        "--requirement",
        str(requirements),
        "--no-deps",
        "--disable-pip",
    ]
    options = ["--vulnerability-service", database, "--format", "json", "--progress-spinner", "off"]
    try:
        done = subprocess.run(  # noqa: S603 - our own command
            [*command, *options], check=False, capture_output=True, text=True, timeout=_TIMEOUT_S
        )
    except subprocess.TimeoutExpired:
        return None
    return read_report(done.stdout)


def read_report(text: str) -> Report | None:
    """Read what pip-audit prints.

    Args:
        text: JSON, or nothing where it failed.

    Returns:
        The report; None where no package was checked, which is what a database out of reach looks like.

    """
    try:
        packages = json.loads(text)["dependencies"]
    except (ValueError, KeyError, TypeError):
        return None
    checked = [package for package in packages if "skip_reason" not in package]
    if not checked:
        return None
    return Report(
        checked=len(checked),
        skipped=len(packages) - len(checked),
        found=tuple(
            Vulnerability(
                package=package["name"],
                version=package["version"],
                name=one["id"],
                fixed_in=tuple(one["fix_versions"]),
            )
            for package in checked
            for one in package["vulns"]
        ),
    )
