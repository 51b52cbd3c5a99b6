"""`gemma4-block serve`, asked to stop while the model answers."""

import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest

from gemma4_block.cli.ask import one_step_workflow
from gemma4_block.cli.serve import demo_request

# Most is the import of the host.
_START_TIMEOUT_S = 240
# What a service manager gives a process before it kills it.
_STOP_TIMEOUT_S = 10
_READY = "Ready at "
_IMAGES = 300


@dataclass(frozen=True, kw_only=True)
class Server:
    """A server in a process of its own."""

    process: "subprocess.Popen[str]"
    url: str

    def ask(self, body: object) -> tuple[int, bytes]:
        """Run a workflow; return the status and the body of the reply."""
        request = urllib.request.Request(  # noqa: S310 - the address is our own
            f"{self.url}/workflows/run",
            data=json.dumps(body).encode(),
            headers={"Content-Type": "application/json"},
        )
        try:
            with urllib.request.urlopen(request, timeout=_START_TIMEOUT_S) as reply:  # noqa: S310
                return reply.status, reply.read()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    """Start a server, wait until it is ready, and leave nothing of it behind."""
    log = (tmp_path / "stderr").open("w")
    process = subprocess.Popen(
        [sys.executable, "-u", "-m", "gemma4_block", "serve", "--port", "0"],
        stdout=subprocess.PIPE,
        stderr=log,
        text=True,
        # The server's own defaults, and not those of the tests.
        env={name: value for name, value in os.environ.items() if not name.startswith("ALLOW_")},
    )
    assert process.stdout is not None
    try:
        ready = next((line for line in process.stdout if line.startswith(_READY)), None)
        assert ready is not None, (tmp_path / "stderr").read_text()
        yield Server(process=process, url=ready.removeprefix(_READY).split(". ")[0])
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
        log.close()


def _long_request() -> dict[str, object]:
    """Ask for what takes minutes: many answers, most of them long because their words are drawn by chance."""
    request = demo_request()
    step = {
        "task_type": "unconstrained",
        "prompt": "What shapes are in the picture?",
        "model_version": "gemma-4-demo",
        "temperature": 50.0,
        "max_new_tokens": 4000,
    }
    outputs = {"answer": "output", "reason": "finish_reason"}
    request["specification"] = one_step_workflow(step, outputs=outputs)
    image = request["inputs"]["image"]  # type: ignore[index]
    request["inputs"] = {"image": [image] * _IMAGES}
    return request


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT], ids=["SIGTERM", "Ctrl-C"])
def test_a_busy_server_ends_soon_and_answers_what_it_can(server: Server, how: signal.Signals) -> None:
    """Answers end where they stand and say so, and the process is gone."""
    # The model is loaded before.
    assert server.ask(demo_request())[0] == 200
    with ThreadPoolExecutor(3) as clients:
        asked = [clients.submit(server.ask, _long_request()) for _ in range(3)]
        time.sleep(4)
        assert not any(request.done() for request in asked)
        server.process.send_signal(how)
        code = server.process.wait(_STOP_TIMEOUT_S)
        replies = [request.result(_STOP_TIMEOUT_S) for request in asked]

    assert code == 0
    for status, body in replies:
        assert status == 200, body
        reasons = [row["reason"] for row in json.loads(body)["outputs"]]
        assert len(reasons) == _IMAGES
        assert reasons[-1] == "cancelled"


def test_a_thread_that_does_not_end_is_given_up() -> None:
    """Python would wait for it, and a service manager would not."""
    code = """
import threading, time
from gemma4_block.cli.server import _exit_in_any_case
_exit_in_any_case(0.5)
threading.Thread(target=time.sleep, args=[60]).start()
"""
    ended = subprocess.run(  # noqa: S603 - the program is the one above
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=50, check=False
    )
    assert ended.returncode == 1
    assert "was given up" in ended.stderr
