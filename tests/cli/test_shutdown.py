"""`gemma4-block serve`, asked to stop while the model answers."""

import json
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from gemma4_block.cli.serve import demo_request
from gemma4_block.cli.workflows import one_step_workflow
from tests.server_process import started

# What a service manager gives a process before it kills it.
_STOP_TIMEOUT_S = 10
_IMAGES = 40
_REQUESTS = 3


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
def test_a_busy_server_ends_soon_and_answers_what_it_can(how: signal.Signals, tmp_path: Path) -> None:
    """Answers end where they stand and say so, and the process is gone."""
    with started(tmp_path) as server:
        # The model is loaded before.
        assert server.ask(demo_request()).status == 200
        with ThreadPoolExecutor(_REQUESTS) as clients:
            asked = [clients.submit(server.ask, _long_request()) for _ in range(_REQUESTS)]
            time.sleep(4)
            # Those that would not fit into the queue were refused before.
            waiting = [request for request in asked if not request.done()]
            server.process.send_signal(how)
            code = server.process.wait(_STOP_TIMEOUT_S)
            replies = [request.result(_STOP_TIMEOUT_S) for request in waiting]

    assert code == 0
    assert replies
    for reply in replies:
        assert reply.status == 200, reply.text
        reasons = [row["reason"] for row in json.loads(reply.body)["outputs"]]
        assert len(reasons) == _IMAGES
        assert reasons[-1] == "cancelled"
    assert _list_left(tmp_path / "tmp") == []


@pytest.mark.slow
def test_a_killed_server_leaves_no_files(tmp_path: Path) -> None:
    """It has no chance to remove them, so it has none while it serves."""
    with started(tmp_path) as server:
        assert server.ask(demo_request()).status == 200
        server.process.kill()
        server.process.wait(_STOP_TIMEOUT_S)

    assert _list_left(tmp_path / "tmp") == []


def _list_left(folder: Path) -> list[str]:
    # All processes of a user share the cache of torch's compiler, which makes its folder at import.
    return [path.name for path in folder.iterdir() if not path.name.startswith("torchinductor_")]


def test_a_thread_that_does_not_end_is_given_up() -> None:
    """Python would wait for it, and a service manager would not."""
    code = """
import threading, time
from gemma4_block.hosting.server import _exit_in_any_case
_exit_in_any_case(0.5)
threading.Thread(target=time.sleep, args=[60]).start()
"""
    ended = subprocess.run(  # noqa: S603 - the program is the one above
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=50, check=False
    )
    assert ended.returncode == 1
    assert "was given up" in ended.stderr
