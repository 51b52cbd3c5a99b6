"""A small server that speaks the Hugging Face Hub's API as far as fetching a snapshot needs it."""

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from urllib.parse import unquote, urlsplit

COMMIT = "89abcdef0123456789abcdef0123456789abcdef"


@dataclass(frozen=True, kw_only=True)
class Hub:
    """A running hub.

    Attributes:
        url: Of the hub.
        tokens: That were sent, as headers.
        fetched: Paths in repositories whose content was sent.
        refusals: Statuses and error codes for repositories that are not given.

    """

    url: str
    tokens: list[str | None]
    fetched: list[str]
    refusals: dict[str, tuple[int, str]] = field(default_factory=dict)


class _HubServer(ThreadingHTTPServer):
    """Knows its repositories, and keeps what it was asked."""

    def __init__(self, repositories: Mapping[str, Path]) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.repositories = repositories
        self.hub = Hub(url=f"http://127.0.0.1:{self.server_address[1]}", tokens=[], fetched=[])


class _Handler(BaseHTTPRequestHandler):
    server: _HubServer

    def do_GET(self) -> None:
        """Send a description or a file."""
        self._reply(is_wanted=True)

    def do_HEAD(self) -> None:
        """Send the headers of a file."""
        self._reply(is_wanted=False)

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def _reply(self, *, is_wanted: bool) -> None:
        hub, repositories = self.server.hub, self.server.repositories
        hub.tokens.append(self.headers.get("Authorization"))
        parts = unquote(urlsplit(self.path).path).strip("/").split("/")
        is_info = parts[:2] == ["api", "models"]
        repository = "/".join(parts[2:4] if is_info else parts[:2])
        if repository in hub.refusals or repository not in repositories:
            status, code = hub.refusals.get(repository, (404, "RepoNotFound"))
            self._send(status, b"", {"X-Error-Code": code}, is_wanted=is_wanted)
        elif is_info:
            self._send(200, _describe(repository, repositories[repository]), {}, is_wanted=is_wanted)
        else:
            assert parts[2:4] == ["resolve", COMMIT], self.path
            name = "/".join(parts[4:])
            content = (repositories[repository] / name).read_bytes()
            if is_wanted:
                hub.fetched.append(name)
            headers = {"ETag": f'"{hashlib.sha256(content).hexdigest()}"', "X-Repo-Commit": COMMIT}
            self._send(200, content, headers, is_wanted=is_wanted)

    def _send(self, status: int, content: bytes, headers: Mapping[str, str], *, is_wanted: bool) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(content))}.items():
            self.send_header(name, value)
        self.end_headers()
        if is_wanted:
            self.wfile.write(content)


def _describe(repository: str, directory: Path) -> bytes:
    files = [path.relative_to(directory).as_posix() for path in directory.rglob("*") if path.is_file()]
    siblings = [{"rfilename": name} for name in files]
    return json.dumps({"id": repository, "sha": COMMIT, "siblings": siblings}).encode()


@contextmanager
def running_hub(repositories: Mapping[str, Path]) -> Iterator[Hub]:
    """Serve directories as repositories until the context is left."""
    with _HubServer(repositories) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server.hub
        finally:
            server.shutdown()
            thread.join()
