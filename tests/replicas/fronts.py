"""What stands before several servers: vllm-router, nginx, or nothing where the client has all URLs."""

import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from tests.parity.vllm_server import ROOT, find_port, wait_until_healthy

Urls = tuple[str, ...]
Front = Callable[[Sequence[str], Path], AbstractContextManager[Urls]]
"""From the addresses of servers and a folder to the URLs that a client needs."""

ROUTER = ROOT / ".venv-router" / "bin" / "vllm-router"
NGINX = shutil.which("nginx", path=os.environ.get("PATH", "") + ":/usr/sbin")
NGINX_FILE = ROOT / "docs" / "nginx.conf"

ROUTER_VARIABLES = {"VLLM_ROUTER_SLL_SESSION_EXPIRATION_IN_S": "60"}
ROUTER_OPTIONS = (
    *("--policy", "sticky_least_loaded"),
    *("--health-check-interval-secs", "2", "--health-check-timeout-secs", "2"),
    *("--health-failure-threshold", "1", "--health-success-threshold", "1"),
    *("--cb-failure-threshold", "3", "--cb-success-threshold", "1", "--cb-timeout-duration-secs", "5"),
    *("--log-level", "warning"),
)
"""As docs/replicas.md has them."""


def routed_by(*options: str) -> Front:
    """Return what starts vllm-router with these options."""

    @contextmanager
    def front(addresses: Sequence[str], folder: Path) -> Iterator[Urls]:
        port, prometheus_port = find_port(), find_port()
        workers = [f"http://{address}" for address in addresses]
        command = [
            *(str(ROUTER), "--host", "127.0.0.1", "--port", str(port)),
            *("--prometheus-port", str(prometheus_port), "--worker-urls", *workers, *options),
        ]
        with _running(command, folder / "router.log", port):
            yield (f"http://127.0.0.1:{port}/v1",)

    return front


@contextmanager
def nginx(addresses: Sequence[str], folder: Path) -> Iterator[Urls]:
    """Run nginx with the file of the documentation, which gets other servers, port and folders."""
    assert NGINX is not None, "tests that need it are skipped"
    port = find_port()
    file = folder / "nginx.conf"
    file.write_text(write_nginx_file(addresses, port, folder), encoding="utf-8")
    command = [NGINX, "-c", str(file), "-e", str(folder / "nginx.log"), "-g", "daemon off;"]
    with _running(command, folder / "nginx.out", port):
        yield (f"http://127.0.0.1:{port}/v1",)


@contextmanager
def every_url(addresses: Sequence[str], folder: Path) -> Iterator[Urls]:  # noqa: ARG001 - as the others
    """Put nothing before them."""
    yield tuple(f"http://{address}/v1" for address in addresses)


@contextmanager
def first_url(addresses: Sequence[str], folder: Path) -> Iterator[Urls]:  # noqa: ARG001 - as the others
    """Use the first of them alone."""
    yield (f"http://{addresses[0]}/v1",)


def write_nginx_file(addresses: Sequence[str], port: int, folder: Path) -> str:
    """Return the file of the documentation for other servers, in order, another port and a folder."""
    left = list(addresses)
    text = re.sub(
        r"server 10\.0\.0\.\d+:8000",
        lambda _: f"server {left.pop(0)}",
        NGINX_FILE.read_text(encoding="utf-8"),
    )
    assert not left, "the file names fewer servers"
    # Folders and files that belong to the nginx of the machine, and what health checks ask.
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    folders = "\n".join(f"    {kind}_temp_path {folder / kind};" for kind in kinds)
    text = text.replace("http {", f"pid {folder / 'pid'};\nhttp {{\n    access_log off;\n{folders}", 1)
    health = "location /health { return 200; }\n\n        location /v1/ {"
    return text.replace("listen 8080;", f"listen 127.0.0.1:{port};").replace("location /v1/ {", health)


@contextmanager
def _running(command: Sequence[str], log: Path, port: int) -> Iterator[None]:
    variables: Mapping[str, str] = {**os.environ, **ROUTER_VARIABLES}
    with log.open("wb") as output:
        child = subprocess.Popen(  # noqa: S603 - ours
            command, stdout=output, stderr=subprocess.STDOUT, env=variables
        )
    try:
        wait_until_healthy(child, port, log)
        yield
    finally:
        child.terminate()
        child.wait(60)
