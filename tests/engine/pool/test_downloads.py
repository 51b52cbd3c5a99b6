"""A model is fetched once however many ask, by a process that is told to go online."""

import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from gemma4_block.engine.pool.downloads import Downloads
from gemma4_block.errors import EngineError, EngineLoadingError

_PATIENCE_S = 60.0
# Writes a line for each time that it is run, waits until it may end, and fails where it should.
_PROGRAM = """
import os, pathlib, sys, time
folder = pathlib.Path(sys.argv[1])
with (folder / "runs").open("a") as file:
    file.write(f"{sys.argv[2]} {os.environ.get('HF_HUB_OFFLINE')}\\n")
while not (folder / "go").exists():
    time.sleep(0.02)
if (folder / "fail").exists():
    sys.exit("Noise.\\nThe hub is closed.")
"""


def _make(folder: Path, *, pause_s: float = 60.0) -> Downloads:
    return Downloads([sys.executable, "-c", _PROGRAM, str(folder)], pause_s=pause_s)


def test_many_who_ask_have_one_download(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All wait for the same one, which may go online although the host keeps this process offline."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    downloads = _make(tmp_path)
    with ThreadPoolExecutor(8) as threads:
        waiting = [threads.submit(downloads.fetch, "a", patience_s=_PATIENCE_S) for _ in range(8)]
        time.sleep(0.1)
        assert downloads.is_under_way("a")
        (tmp_path / "go").touch()
        assert [one.result() for one in waiting] == [None] * 8
    assert not downloads.is_under_way("a")
    assert (tmp_path / "runs").read_text() == "a None\n"


def test_who_does_not_want_to_wait_is_told_for_how_long_it_has_gone_on(tmp_path: Path) -> None:
    """The download goes on, and whoever asks later has it."""
    downloads = _make(tmp_path)
    with pytest.raises(
        EngineLoadingError, match=r"^a has been downloading for \d+ s\. Ask again in a while\.$"
    ):
        downloads.fetch("a", patience_s=0.05)
    (tmp_path / "go").touch()
    downloads.fetch("a", patience_s=_PATIENCE_S)
    assert (tmp_path / "runs").read_text() == "a None\n"


def test_a_failure_is_told_and_tried_again_after_a_pause(tmp_path: Path) -> None:
    """The hub is not asked by every request."""
    (tmp_path / "go").touch()
    (tmp_path / "fail").touch()
    downloads = _make(tmp_path)
    for _ in range(2):
        with pytest.raises(EngineError, match=r"^a was not downloaded: The hub is closed\.$"):
            downloads.fetch("a", patience_s=_PATIENCE_S)
    assert (tmp_path / "runs").read_text() == "a None\n"

    eager = _make(tmp_path, pause_s=0)
    with pytest.raises(EngineError):
        eager.fetch("a", patience_s=_PATIENCE_S)
    (tmp_path / "fail").unlink()
    eager.fetch("a", patience_s=_PATIENCE_S)
    assert (tmp_path / "runs").read_text() == "a None\n" * 3


def test_a_program_that_cannot_be_run_is_a_failure() -> None:
    """And nobody waits for it."""
    with pytest.raises(EngineError, match="no-such-program"):
        Downloads(["/no-such-program"]).fetch("a", patience_s=_PATIENCE_S)
