"""A server of `gemma4-block serve` in a process of its own, for tests that ask it over HTTP."""

import http.client
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

# Most is the import of the host, on a machine that does other things too.
START_TIMEOUT_S = 240
_READY = "Ready at "


@dataclass(frozen=True, kw_only=True)
class Reply:
    """A status, headers with names in small letters, and a body."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def text(self) -> str:
        """The body as text."""
        return self.body.decode()


@dataclass(frozen=True, kw_only=True)
class Server:
    """A server that was started, and where it listens on this machine."""

    process: "subprocess.Popen[str]"
    port: int
    said: str
    headers: Mapping[str, str]

    def request(self, method: str, path: str, body: bytes | None = None, **headers: str) -> Reply:
        """Send a request and wait for its reply; underscores in names of headers are hyphens."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=START_TIMEOUT_S)
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        try:
            connection.request(method, path, body, {**self.headers, **named})
            reply = connection.getresponse()
            return Reply(
                status=reply.status,
                headers={name.lower(): value for name, value in reply.getheaders()},
                body=reply.read(),
            )
        finally:
            connection.close()

    def ask(self, workflow: object) -> Reply:
        """Run a workflow."""
        return self.request(
            "POST", "/workflows/run", json.dumps(workflow).encode(), Content_Type="application/json"
        )


@contextmanager
def started(
    folder: Path,
    *options: str,
    settings: Mapping[str, str] | None = None,
    headers: Mapping[str, str] | None = None,
) -> Iterator[Server]:
    """Start a server, wait until it is ready, and leave nothing of it behind.

    Its output is a pipe that nobody reads; its temporary folder is `folder/tmp`.
    """
    temporary = folder / "tmp"
    temporary.mkdir()
    # The server's own defaults, and not those of the tests.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("ALLOW_")}
    process = subprocess.Popen(  # noqa: S603 - our own program
        [sys.executable, "-m", "gemma4_block", "serve", "--port", "0", *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**environment, "TMPDIR": str(temporary), **(settings or {})},
    )
    assert process.stdout is not None
    assert process.stderr is not None
    try:
        said = ""
        for line in process.stdout:
            said += line
            if line.startswith(_READY):
                break
        else:
            raise AssertionError(process.stderr.read())
        port = int(said.rpartition(_READY)[2].split(". ")[0].rpartition(":")[2])
        yield Server(process=process, port=port, said=said, headers=headers or {})
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
        process.stderr.close()


def wait_until_answered(server: Server, workflow: object, timeout_s: float) -> float:
    """Ask until the server is not busy any more; return the seconds that took.

    A busy server says so at once.
    """
    began = time.monotonic()
    while True:
        reply = server.ask(workflow)
        seconds = time.monotonic() - began
        if reply.status == 200:
            return seconds
        assert reply.status == 503, reply.text
        assert seconds < timeout_s, reply.text
        time.sleep(0.1)
