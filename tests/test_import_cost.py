"""What the host pays for listing this plugin."""

import subprocess
import sys


def test_loading_the_blocks_imports_no_model_library() -> None:
    """A server that lists the plugin loads transformers, peft and bitsandbytes with the first model only."""
    code = (
        "import sys, gemma4_block; gemma4_block.load_blocks(); "
        "print(sorted({'transformers', 'peft', 'bitsandbytes'} & set(sys.modules)))"
    )
    assert _run(code) == "[]"


def test_importing_the_package_imports_neither_the_host_nor_torch() -> None:
    """Whoever imports the package for one of its other rooms does not wait for the host."""
    code = (
        "import sys, gemma4_block; "
        "print(sorted({'inference', 'roboflow_workflows', 'torch', 'numpy'} & set(sys.modules)))"
    )
    assert _run(code) == "[]"


def _run(code: str) -> str:
    command = [sys.executable, "-W", "ignore", "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - our own code
    assert done.returncode == 0, done.stderr
    return done.stdout.strip().splitlines()[-1]
