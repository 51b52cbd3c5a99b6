"""`gemma4-block pull` fetches models from a hub, and `gemma4-block models` says what is here."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from gemma4_block.catalogue import EMBEDDED_ADAPTERS, MODEL_IDS, find_variant
from gemma4_block.contract import LocalModel
from gemma4_block.engine.pool import find_reference
from gemma4_block.errors import ModelNotFoundError
from gemma4_block.settings import Settings
from tests.hub_server import COMMIT, Hub, running_hub

_MINE = "someone/shapes"


def _demo() -> Path:
    variant = find_variant("gemma-4-demo")
    assert variant is not None
    assert variant.directory is not None
    return variant.directory


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Hub]:
    """A hub with a small model under two names, beside files that nobody needs."""
    folder = tmp_path / "repository"
    shutil.copytree(_demo(), folder)
    for name in ("README.md", "pytorch_model.bin", "onnx/model.safetensors"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(b"x")
    torso = tmp_path / "torso"
    torso.mkdir()
    shutil.copy(_demo() / "config.json", torso)
    with running_hub({_MINE: folder, "google/gemma-4-E2B-it": folder, "someone/torso": torso}) as running:
        yield running


def _run(tmp_path: Path, *arguments: str, **settings: str) -> "subprocess.CompletedProcess[str]":
    """Run a command in a process of its own, since the hub's client reads its settings once."""
    unwanted = ("HF_", "TRANSFORMERS_OFFLINE", "GEMMA4_BLOCK_", "OFFLINE_MODE", "INFERENCE_HOME")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(unwanted)}
    own = {
        "HF_HOME": str(tmp_path / "hf"),
        "XDG_CACHE_HOME": str(tmp_path / "xdg"),
        "MODEL_CACHE_DIR": str(tmp_path / "packages"),
        "GEMMA4_BLOCK_DEVICE": "cpu",
        # The client would try again for half a minute.
        "HF_HUB_ETAG_TIMEOUT": "2",
    }
    return subprocess.run(  # noqa: S603 - our own command
        [sys.executable, "-m", "gemma4_block", *arguments],
        env={**environment, **own, **settings},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "folder"),
    [("gemma-4-e2b-it", "models--google--gemma-4-E2B-it"), (_MINE, "models--someone--shapes")],
)
def test_a_model_is_fetched_to_where_it_is_found(tmp_path: Path, hub: Hub, name: str, folder: str) -> None:
    """With what loading reads and nothing else; `models` shows it and a second time nothing is sent."""
    done = _run(tmp_path, "pull", name, HF_ENDPOINT=hub.url)
    snapshot = tmp_path / "hf" / "hub" / folder / "snapshots" / COMMIT
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{name} is here: {snapshot}\n"
    names = {path.name for path in _demo().iterdir()}
    assert {path.name for path in snapshot.iterdir()} == names
    assert set(hub.fetched) == names

    listed = _run(tmp_path, "models", "--json")
    assert listed.returncode == 0, listed.stderr
    rows = {row["model"]: row for row in json.loads(listed.stdout)["models"]}
    size = sum(path.stat().st_size for path in _demo().iterdir())
    assert (rows[name]["directory"], rows[name]["disk_bytes"]) == (str(snapshot), size)
    assert (rows[name]["fits"], rows[name]["loaded"], rows[name]["problem"]) == (True, None, None)
    assert 6e6 < rows[name]["needed_bytes"] < 2e9

    sent = len(hub.fetched)
    assert _run(tmp_path, "pull", name, HF_ENDPOINT=hub.url).returncode == 0
    assert len(hub.fetched) == sent


@pytest.mark.slow
def test_the_token_is_sent(tmp_path: Path, hub: Hub) -> None:
    """Private and gated repositories want one."""
    done = _run(tmp_path, "pull", _MINE, HF_ENDPOINT=hub.url, HF_TOKEN="hf_rosebud")  # noqa: S106 - of this test
    assert done.returncode == 0, done.stderr
    assert set(hub.tokens) == {"Bearer hf_rosebud"}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("model", "cause", "words"),
    [
        pytest.param(
            "gemma-4-e2b-it",
            (403, "GatedRepo"),
            "only to who has accepted its terms. Accept them at https://huggingface.co/google/gemma-4-E2B-it",
            id="gated",
        ),
        pytest.param(
            "someone/none", {}, "The hub has no someone/none, or does not show it to you", id="none"
        ),
        pytest.param(
            "someone/torso", {}, "lacks model.safetensors, and the hub gave no more", id="no weights"
        ),
        pytest.param(
            "gemma-4-e2b-it",
            {"HF_HUB_OFFLINE": "1"},
            "because HF_HUB_OFFLINE or TRANSFORMERS_OFFLINE is on. Unset them",
            id="told to stay offline",
        ),
        pytest.param(
            "gemma-4-e2b-it",
            {"HF_ENDPOINT": "http://127.0.0.1:9"},
            "because http://127.0.0.1:9 cannot be reached. Go online",
            id="no network",
        ),
        pytest.param("gemma-4-e2b-it", (500, ""), "google/gemma-4-E2B-it was not fetched", id="hub is down"),
        pytest.param("gemma-5", {}, "MODEL is 'gemma-5'; it must be one of gemma-4-e2b-it", id="name"),
        pytest.param("some--one/x", {}, "which the hub can have no repository for", id="no hub name"),
    ],
)
def test_what_keeps_a_model_from_being_fetched_is_said_in_a_line(
    tmp_path: Path,
    hub: Hub,
    model: str,
    cause: tuple[int, str] | dict[str, str],
    words: str,
) -> None:
    """With what to do, and no traceback; the cause is a refusal of the hub, or a setting."""
    settings = {"HF_ENDPOINT": hub.url}
    if isinstance(cause, tuple):
        hub.refusals["google/gemma-4-E2B-it"] = cause
    else:
        settings |= cause
    done = _run(tmp_path, "pull", model, **settings)
    assert done.returncode == 1
    lines = [line for line in done.stderr.splitlines() if words in line]
    assert len(lines) == 1, done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_the_table_shows_what_is_under_the_roots_too(tmp_path: Path) -> None:
    """Models, adapters and what they are adapters for, and what was cut off; and what is not here."""
    root = tmp_path / "models"
    shutil.copytree(_demo(), root / "mine")
    shutil.copytree(_demo(), root / "cut")
    weights = root / "cut" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    adapter = root / "plates" / "3"
    adapter.mkdir(parents=True)
    (adapter / "adapter_config.json").write_text("{}")
    (adapter / "adapter_model.safetensors").write_bytes(b"\x02" + bytes(7) + b"{}")
    (adapter / "base").symlink_to(root / "mine")
    done = _run(tmp_path, "models", GEMMA4_BLOCK_MODEL_ROOTS=str(root))
    assert done.returncode == 0, done.stderr
    head, *lines = done.stdout.splitlines()
    assert head.split() == [
        "model",
        "on",
        "disk",
        "precision",
        "memory",
        "fits",
        "loaded",
        "adapters",
        "where",
    ]
    rows = {line.split()[0]: line for line in lines}
    assert list(rows) == [*MODEL_IDS, *EMBEDDED_ADAPTERS, "cut", "mine", "plates/3"]
    assert rows["gemma-4-31b-it"].endswith("not here: gemma4-block pull gemma-4-31b-it")
    assert "cannot be loaded" in rows["cut"]
    assert "cut off: model.safetensors (1000 of " in rows["cut"]
    assert rows["mine"].split()[-2:] == ["plates/3", str(root / "mine")]
    assert rows["plates/3"].endswith(str(adapter))
    # Their base is named in a file, and not beside them.
    for name, directory in EMBEDDED_ADAPTERS.items():
        assert rows[name].endswith(str(directory))


@pytest.mark.slow
def test_a_request_has_a_model_fetched_where_the_operator_allows_it(
    tmp_path: Path, hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where the host keeps this process offline; and never one that is in no table."""
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    monkeypatch.delenv("HF_HUB_CACHE", raising=False)
    monkeypatch.setenv("HF_ENDPOINT", hub.url)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(ModelNotFoundError):
        find_reference("gemma-4-e2b-it", "none", Settings(model_roots=(), device="cpu"))
    assert hub.fetched == []
    allowed = Settings(model_roots=(), device="cpu", allow_downloads=True, max_loading_seconds=100)
    with pytest.raises(ModelNotFoundError):
        find_reference(_MINE, "none", allowed)
    assert hub.fetched == []
    reference = find_reference("google/gemma-4-E2B-it", "none", allowed)
    snapshot = tmp_path / "hf" / "hub" / "models--google--gemma-4-E2B-it" / "snapshots" / COMMIT
    assert reference == LocalModel(directory=snapshot, quantization="none")


def test_the_embedded_model_need_not_be_fetched(tmp_path: Path) -> None:
    """It comes with the package."""
    done = _run(tmp_path, "pull", "gemma-4-demo", HF_HUB_OFFLINE="1")
    assert (done.returncode, done.stdout) == (0, f"gemma-4-demo is here: {_demo()}\n")
