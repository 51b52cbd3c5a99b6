"""Start vLLM on the embedded checkpoint, in the environment that it has of its own, and end it."""

import os
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

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
    port = find_port()
    with start_vllm(directory, log, port) as child:
        try:
            wait_until_healthy(child, port, log)
            yield f"http://127.0.0.1:{port}/v1"
        finally:
            child.terminate()
            child.wait(60)


def start_vllm(
    directory: Path,
    log: Path,
    port: int,
    *,
    python: Path = PYTHON,
    dtype: str = "float32",
    threads: int = 1,
    rows: int = 8,
) -> "subprocess.Popen[bytes]":
    """Start a server of a checkpoint; it is ready minutes later.

    Args:
        directory: Of the checkpoint.
        log: Gets all that it says.
        port: Where it listens.
        python: Of the environment that has vLLM.
        dtype: Of the weights.
        threads: That it computes with.
        rows: How many requests it works on at the same time.

    Returns:
        Its process, which leads a group of its own.

    """
    environment = {
        **os.environ,
        "OMP_NUM_THREADS": str(threads),
        # Bound to a core, it would wait for whoever else is there.
        "VLLM_CPU_OMP_THREADS_BIND": "nobind",
        "VLLM_CPU_KVCACHE_SPACE": str(_KEY_VALUE_GB),
        "HF_HUB_OFFLINE": "1",
        "VLLM_NO_USAGE_STATS": "1",
        "DO_NOT_TRACK": "1",
    }
    command = [
        *(python, "-m", "vllm.entrypoints.openai.api_server"),
        *("--model", directory, "--served-model-name", MODEL, "--host", "127.0.0.1", "--port", str(port)),
        *("--dtype", dtype, "--max-model-len", "4096", "--max-num-seqs", str(rows)),
        # Compiling adds minutes to the start.
        "--enforce-eager",
        *("--trust-request-mm-kwargs", "--reasoning-parser", "gemma4"),
        *("--chat-template-content-format", "openai"),
    ]
    with log.open("ab") as output:
        return subprocess.Popen(  # noqa: S603 - ours
            command, stdout=output, stderr=output, env=environment, start_new_session=True
        )


def find_port() -> int:
    """Return a port of this machine that is free."""
    with socket.create_server(("127.0.0.1", 0)) as found:
        port: int = found.getsockname()[1]
        return port


def wait_until_healthy(child: "subprocess.Popen[bytes]", port: int, log: Path) -> None:
    """Return when a program answers at `/health`.

    Args:
        child: The program.
        port: Where it listens.
        log: Has what it said.

    Raises:
        RuntimeError: It ended, or is not ready in time.

    """
    deadline = time.monotonic() + _START_S
    while time.monotonic() < deadline:
        if child.poll() is not None:
            raise RuntimeError(f"{child.args} ended with exit code {child.returncode}; see {log}.")
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5):
                return
        except OSError:
            time.sleep(0.2)
    raise RuntimeError(f"{child.args} was not ready after {_START_S} s; see {log}.")
