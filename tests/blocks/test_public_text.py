"""What a client is told names no folder of the operator's machine."""

from pathlib import Path

import pytest

from gemma4_block.blocks.public_text import hide_folders
from gemma4_block.settings import get_settings


@pytest.mark.parametrize(
    ("text", "told"),
    [
        pytest.param("/srv/our models/a/b lacks config.json.", "…/a/b lacks config.json.", id="a model root"),
        pytest.param("Looked at /home/ada/hub: not there", "Looked at …: not there", id="a cache"),
        pytest.param(
            "'/home/ada/hub/models--x/snapshots/1' is cut off",
            "'…/models--x/snapshots/1' is cut off",
            id="below a cache",
        ),
        pytest.param("OSError: /opt/lib/python/x.py is gone", "OSError: …/x.py is gone", id="any other"),
        pytest.param("Ask and/or wait: https://a.example/b/c", None, id="no path"),
        pytest.param("1/2 or 3/4 of project/version, ./a/b", None, id="no absolute path"),
    ],
)
def test_paths_are_cut(monkeypatch: pytest.MonkeyPatch, text: str, told: str | None) -> None:
    """To what says which model or file is meant."""
    monkeypatch.setenv("GEMMA4_BLOCK_MODEL_ROOTS", "/srv/our models")
    monkeypatch.setenv("HF_HUB_CACHE", "/home/ada/hub")
    get_settings.cache_clear()
    assert hide_folders(text) == (text if told is None else told)
    get_settings.cache_clear()


def test_a_link_to_a_cache_is_followed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A message may have the path in either form."""
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "link"))
    assert hide_folders(f"{tmp_path}/real/a and {tmp_path}/link/a") == "…/a and …/a"
