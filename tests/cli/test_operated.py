"""A server as its operator sees it: loaded at the start, listed, watched, closed and stopped."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from gemma4_block.cli.serve import demo_request
from tests.server_process import Server, started

pytestmark = pytest.mark.slow

_TOKEN = "rosebud"  # noqa: S105 - of this test alone
_PAGE = Path(__file__).parents[2] / "docs" / "operating.md"
_TIMEOUT_S = 120


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with a token that loads the demo model at the start, and has answered once."""
    settings = {"GEMMA4_BLOCK_TOKEN": _TOKEN, "GEMMA4_BLOCK_DEVICE": "cpu", "GEMMA4_BLOCK_LOG_LEVEL": "INFO"}
    headers = {"Authorization": f"Bearer {_TOKEN}"}
    folder = tmp_path_factory.mktemp("operated")
    with started(folder, "--preload", "gemma-4-demo", settings=settings, headers=headers) as running:
        yield running


def _run(*arguments: str, **settings: str) -> "subprocess.CompletedProcess[str]":
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GEMMA4_BLOCK_")}
    return subprocess.run(  # noqa: S603 - our own command
        [sys.executable, "-m", "gemma4_block", *arguments],
        env={**environment, "GEMMA4_BLOCK_TOKEN": _TOKEN, "GEMMA4_BLOCK_DEVICE": "cpu", **settings},
        capture_output=True,
        text=True,
        timeout=_TIMEOUT_S,
        check=False,
    )


def _mask(text: str) -> str:
    """Return a text without its figures, and without the widths of its columns."""
    masked = re.sub(r"(?<![\w-])[\d.]+( h \d+ min| min| s)?", "N", text)
    return re.sub(r" +", " ", masked)


def test_a_server_goes_through_what_the_page_shows(server: Server) -> None:
    """Ready when its models are loaded; listed, counted, closed, and loaded again for the next request."""
    url = f"http://127.0.0.1:{server.port}"
    deadline = time.monotonic() + _TIMEOUT_S
    while (reply := server.request("GET", "/readiness")).status == 503 and time.monotonic() < deadline:
        assert json.loads(reply.body) == {"status": "not ready", "state": "loading"}
        time.sleep(0.1)
    assert (reply.status, json.loads(reply.body)) == (200, {"status": "ready", "state": "ready"})
    assert json.loads(server.request("GET", "/healthz").body) == {"status": "healthy", "state": "ready"}
    assert server.ask(demo_request()).status == 200

    examples = re.findall(r"^\$ gemma4-block (engines.*)\n((?:[^$`].*\n)+)", _PAGE.read_text(), re.MULTILINE)
    assert [command.split() for command, _ in examples] == [
        ["engines"],
        ["engines", "--close", "gemma-4-demo"],
    ]
    listed = _run("engines", "--address", url)
    assert (listed.returncode, _mask(listed.stdout)) == (0, _mask(examples[0][1])), listed.stderr
    (engine,) = json.loads(_run("engines", "--address", url, "--json").stdout)["engines"]
    assert (engine["model"], engine["state"], engine["leases"]) == ("gemma-4-demo", "ready", 0)
    models = json.loads(_run("models", "--address", url, "--json").stdout)["models"]
    assert {row["model"]: row["loaded"] for row in models}["gemma-4-demo"] is True
    registry = json.loads(server.request("GET", "/model/registry").body)["models"]
    assert [model["model_id"] for model in registry] == ["gemma-4-demo"]
    metrics = server.request("GET", "/metrics").text
    assert 'gemma4_block_loads_total{model="gemma-4-demo",outcome="loaded"} 1.0' in metrics
    assert "gemma4_block_answers_total 1.0" in metrics
    assert 'gemma4_block_engines{state="ready"} 1.0' in metrics

    closed = _run("engines", "--address", url, "--close", "gemma-4-demo")
    assert (closed.returncode, closed.stdout) == (0, examples[1][1]), closed.stderr
    assert _run("engines", "--address", url).stdout == "No model is loaded.\n"
    assert server.ask(demo_request()).status == 200
    assert server.request("POST", "/model/clear").status == 200
    assert _run("engines", "--address", url).stdout == "No model is loaded.\n"


@pytest.mark.parametrize(
    ("arguments", "settings", "words"),
    [
        pytest.param(["--close", "other"], {}, "No engine of 'other' is loaded", id="no such model"),
        pytest.param([], {"GEMMA4_BLOCK_TOKEN": "wrong"}, "wants its token", id="another token"),
        pytest.param(["--address", "http://127.0.0.1:9"], {}, "No server answers at", id="no server"),
        pytest.param(["--address", "127.0.0.1"], {}, "write it as in http://127.0.0.1:9001", id="no URL"),
    ],
)
def test_what_cannot_be_listed_or_closed_is_said_in_a_line(
    server: Server, arguments: list[str], settings: dict[str, str], words: str
) -> None:
    """And the exit code is 1."""
    done = _run("engines", "--address", f"http://127.0.0.1:{server.port}", *arguments, **settings)
    assert (done.returncode, done.stdout) == (1, "")
    assert words in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_whoever_has_no_token_or_comes_through_a_proxy_closes_nothing(server: Server) -> None:
    """Two guards, one after the other."""
    path = "/gemma4/engines"
    assert server.request("GET", path, Authorization="").status == 401
    assert server.request("GET", path, X_Forwarded_For="192.0.2.7").status == 403
    assert server.request("GET", "/metrics", Authorization="").status == 401


def test_a_model_to_load_that_is_not_here_keeps_the_server_from_starting() -> None:
    """Before the slow start, with the command that fetches it."""
    done = _run(
        "serve", "--port", "0", "--preload", "gemma-4-31b-it", HF_HOME="/nowhere", XDG_CACHE_HOME="/nowhere"
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert "gemma4-block pull gemma-4-31b-it" in done.stderr


def test_the_log_has_a_line_for_each_event_and_no_prompt(server: Server) -> None:
    """What was loaded, asked and closed, with counts and times; the server then ends quietly."""
    server.process.send_signal(signal.SIGTERM)
    assert server.process.wait(20) == 0
    assert server.process.stderr is not None
    log = server.process.stderr.read()
    assert re.search(
        r"Admission: model=gemma-4-demo outcome=granted device=cpu bytes=\d+ parts=\".+\"$", log, re.MULTILINE
    )
    assert re.search(
        r"Load: model=\S+/demo/checkpoint outcome=loaded seconds=[\d.]+ bytes=\d+$", log, re.MULTILINE
    )
    assert re.search(
        r"Request: answers=1 refused=0 input_tokens=\d+ output_tokens=\d+ seconds=\d+\.\d{3}$",
        log,
        re.MULTILINE,
    )
    assert re.search(r"Close: model=\S+/demo/checkpoint$", log, re.MULTILINE)
    assert "What shapes" not in log
    assert "Loading weights" not in log, "bars are for terminals"
    assert "leaked" not in log, "what libraries complain of where memory is given back in another way"
