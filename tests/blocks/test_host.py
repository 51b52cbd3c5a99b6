"""The plugin beside the host, in processes of its own."""

import os
import subprocess
import sys

import pytest


@pytest.mark.slow
def test_the_server_can_be_imported_after_the_blocks() -> None:
    """Whoever imports the plugin first must not freeze other settings than the server's."""
    code = "import gemma4_block; gemma4_block.load_blocks(); import inference.core; print('ok')"
    assert _run(code) == "ok"


@pytest.mark.slow
def test_the_blocks_load_without_the_server() -> None:
    """`roboflow_workflows` alone is enough to compile and run the step."""
    code = (
        "import sys; sys.modules['inference'] = None; "
        "import gemma4_block; print(gemma4_block.load_blocks()[0].__name__)"
    )
    assert _run(code) == "Gemma4Block"


def _run(code: str) -> str:
    command = [sys.executable, "-W", "ignore", "-c", code]
    environment = {**os.environ, "OFFLINE_MODE": "true"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)  # noqa: S603 - our own code
    assert done.returncode == 0, done.stderr
    return done.stdout.strip().splitlines()[-1]
