"""Keys and passwords in the tree, as detect-secrets finds them."""

import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from detect_secrets import SecretsCollection
from detect_secrets.settings import transient_settings

# High entropy alone is left out: every hash and every tokenizer has it.
_DETECTORS: Final = (
    *("AWSKeyDetector", "ArtifactoryDetector", "AzureStorageKeyDetector", "BasicAuthDetector"),
    *("GitHubTokenDetector", "JwtTokenDetector", "KeywordDetector", "OpenAIDetector"),
    *("PrivateKeyDetector", "PypiTokenDetector", "SlackDetector", "StripeDetector"),
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Secret:
    """A line that looks like a secret.

    Attributes:
        path: Of the file, from the root of the tree.
        line: From 1.
        kind: What it looks like.

    """

    path: str
    line: int
    kind: str


def find_secrets(root: Path, paths: list[str]) -> list[Secret]:
    """Return what looks like a secret; a line that ends with `pragma: allowlist secret` does not.

    Args:
        root: Of the tree.
        paths: Of its files, from the root.

    Returns:
        In order of files and lines.

    """
    collection = SecretsCollection()
    with transient_settings({"plugins_used": [{"name": name} for name in _DETECTORS]}):
        for path in paths:
            collection.scan_file(str(root / path))
    found = [
        Secret(path=Path(name).relative_to(root).as_posix(), line=secret.line_number, kind=secret.type)
        for name, secret in collection
    ]
    return sorted(found, key=lambda one: (one.path, one.line))


def tracked_files(root: Path) -> list[str]:
    """Return the files of the tree that git keeps.

    Args:
        root: Of the tree.

    Returns:
        Their paths from the root.

    """
    command = ["git", "-C", str(root), "ls-files", "-z"]
    listed = subprocess.run(command, check=True, capture_output=True, text=True)  # noqa: S603 - our own tree
    return [name for name in listed.stdout.split("\0") if name]
