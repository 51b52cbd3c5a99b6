"""What docs/replicas.md and docs/nginx.conf tell operators is what is run here."""

import shlex
import subprocess
from pathlib import Path

import pytest

from tests.parity.vllm_server import ROOT
from tests.replicas.fronts import NGINX, NGINX_FILE, ROUTER_OPTIONS, ROUTER_VARIABLES, write_nginx_file

PAGE = ROOT / "docs" / "replicas.md"


def test_the_page_has_the_options_of_the_router() -> None:
    """All of them, and no others but for the addresses."""
    text = PAGE.read_text(encoding="utf-8").partition("```bash\n")[2].partition("```")[0]
    words = shlex.split(text.replace("\\\n", ""))
    variables = dict(word.split("=") for word in words[: words.index("vllm-router")])

    assert variables == ROUTER_VARIABLES
    assert tuple(words[words.index("--policy") :]) == ROUTER_OPTIONS


def test_the_file_of_nginx_gets_other_addresses_and_stays_as_it_is(tmp_path: Path) -> None:
    """What is run is the file, but for where the servers and folders are."""
    text = write_nginx_file(["127.0.0.1:1", "127.0.0.1:2"], 3, tmp_path)
    shown = NGINX_FILE.read_text(encoding="utf-8").splitlines()
    changed = [line.strip() for line in shown if line not in text.splitlines()]

    assert changed == [
        "server 10.0.0.11:8000 max_fails=1 fail_timeout=5s;",
        "server 10.0.0.12:8000 max_fails=1 fail_timeout=5s;",
        "listen 8080;",
    ]
    assert "server 127.0.0.1:2 max_fails=1 fail_timeout=5s;" in text


@pytest.mark.skipif(NGINX is None, reason="nginx is not installed")
def test_nginx_reads_its_file(tmp_path: Path) -> None:
    """As docs/nginx.conf has it, but for its folders."""
    file = tmp_path / "nginx.conf"
    file.write_text(write_nginx_file(["127.0.0.1:1", "127.0.0.1:2"], 3, tmp_path), encoding="utf-8")
    done = subprocess.run(  # noqa: S603 - of the machine
        [str(NGINX), "-t", "-c", str(file), "-e", str(tmp_path / "log")],
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
