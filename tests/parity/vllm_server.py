"""Start vLLM on the embedded checkpoint, in the environment that it has of its own, and end it."""

import os
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

ROOT = Path(__file__).parents[2]
PYTHON = ROOT / ".venv-vllm" / "bin" / "python"
MODEL = "gemma-4-demo"
_START_S = 900
_KEY_VALUE_GB = 1


@contextmanager
def running_vllm(directory: Path, log: Path) -> Iterator[str]:
    """Run a server of a checkpoint in float32 until the end of the block.

    Args:
        directory: Of the checkpoint.
        log: Gets all that it says.

    Yields:
        Its base URL.

    """
    port = _find_port()
    environment = {
        **os.environ,
        "OMP_NUM_THREADS": "1",
        # Bound to a core, it would wait for whoever else is there.
        "VLLM_CPU_OMP_THREADS_BIND": "nobind",
        "VLLM_CPU_KVCACHE_SPACE": str(_KEY_VALUE_GB),
        "HF_HUB_OFFLINE": "1",
        "VLLM_NO_USAGE_STATS": "1",
        "DO_NOT_TRACK": "1",
    }
    command = [
        *(PYTHON, "-m", "vllm.entrypoints.openai.api_server"),
        *("--model", directory, "--served-model-name", MODEL, "--host", "127.0.0.1", "--port", str(port)),
        *("--dtype", "float32", "--max-model-len", "4096", "--max-num-seqs", "8"),
        # Compiling adds minutes to the start.
        "--enforce-eager",
        *("--trust-request-mm-kwargs", "--reasoning-parser", "gemma4"),
        *("--chat-template-content-format", "openai"),
    ]
    with log.open("wb") as output:
        child = _start(command, environment, output)
        try:
            _wait(child, f"http://127.0.0.1:{port}/health", log)
            yield f"http://127.0.0.1:{port}/v1"
        finally:
            child.terminate()
            child.wait(60)


def _start(
    command: list[str | Path], environment: dict[str, str], output: "IO[bytes]"
) -> "subprocess.Popen[bytes]":
    return subprocess.Popen(command, stdout=output, stderr=output, env=environment)  # noqa: S603 - ours


def _find_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as found:
        port: int = found.getsockname()[1]
        return port


def _wait(child: "subprocess.Popen[bytes]", url: str, log: Path) -> None:
    deadline = time.monotonic() + _START_S
    while time.monotonic() < deadline:
        if child.poll() is not None:
            raise RuntimeError(f"vLLM ended with exit code {child.returncode}; see {log}.")
        try:
            with urllib.request.urlopen(url, timeout=5):  # noqa: S310 - ours
                return
        except OSError:
            time.sleep(1)
    raise RuntimeError(f"vLLM was not ready after {_START_S} s; see {log}.")
