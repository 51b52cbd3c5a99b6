"""`make soak`: everything at once against a server, a table, and exit code 1 where that did not go well.

Usage: `python -m tests.soak [MINUTES [CALLERS]]`
"""

import sys
import tempfile
from pathlib import Path

from gemma4_block.hosting import prepare_host_environment

prepare_host_environment()

import inference.core  # noqa: E402, F401  # isort: split

from tests.soak.soak import soak  # noqa: E402


def main(minutes: float, callers: int) -> int:
    """Run it; return the exit code."""
    with tempfile.TemporaryDirectory(prefix="gemma4-block-soak-") as folder:
        outcome = soak(Path(folder), seconds=60 * minutes, callers=callers)
    print(outcome.describe())
    faults = outcome.find_faults()
    print("\n".join(["", *faults]) if faults else "\nAll is well.")
    return 1 if faults else 0


if __name__ == "__main__":
    given = sys.argv[1:]
    sys.exit(main(float(given[0]) if given else 20, int(given[1]) if len(given) > 1 else 16))
