"""Run the engine on the pretended GPU, and write what came of it as JSON."""

import json
import sys
from dataclasses import asdict
from pathlib import Path

from tests.pretend_cuda.install import install


def main() -> None:
    """Write to the file that the first argument names."""
    install()
    # They import the engine, which must find the GPU.
    from tests.pretend_cuda.experiments import run_all

    Path(sys.argv[1]).write_text(json.dumps(asdict(run_all())), encoding="utf-8")


if __name__ == "__main__":
    main()
