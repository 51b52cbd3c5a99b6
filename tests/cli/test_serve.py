"""`gemma4-block serve`, and the environment that it gives the host."""

import os
from collections.abc import Iterator
from pathlib import Path
from unittest.mock import patch

import pytest
from typer.testing import CliRunner

from gemma4_block.cli import app
from gemma4_block.cli.serve import demo_request
from gemma4_block.cli.workflows import WorkflowRunner
from gemma4_block.hosting import prepare_host_environment
from gemma4_block.settings import get_settings


@pytest.fixture
def bare_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """Start from an environment that says nothing, in a folder without `.env`; put back what was there."""
    monkeypatch.chdir(tmp_path)
    with patch.dict(os.environ, {"HOME": str(tmp_path)}, clear=True):
        yield


def test_the_printed_request_runs() -> None:
    """The request that `serve` prints for curl is a workflow that the engine runs on the demo model."""
    request = demo_request()
    runner = WorkflowRunner(request["specification"], init_parameters={})  # type: ignore[arg-type]
    (row,) = runner.run(request["inputs"])  # type: ignore[arg-type]
    assert list(row) == ["answer"]
    assert isinstance(row["answer"], str)
    assert row["answer"]


@pytest.mark.usefixtures("bare_environment")
def test_the_host_is_told_to_stay_offline_and_to_load_this_plugin() -> None:
    """An empty environment becomes offline, free of child processes and of code from requests."""
    prepare_host_environment()
    expected = {
        "OFFLINE_MODE": "true",
        "ENABLE_STREAM_API": "False",
        "ALLOW_CUSTOM_PYTHON_EXECUTION_IN_WORKFLOWS": "False",
        "ALLOW_LOADING_IMAGES_FROM_LOCAL_FILESYSTEM": "False",
        "ALLOW_ORIGINS": "http://localhost,http://127.0.0.1",
        "ALLOW_POSTGRESQL_WORKFLOWS_SINK_TO_NON_GLOBAL_ADDRESSES": "False",
        "ALLOW_URL_TO_NON_GLOBAL_ADDRESSES": "False",
        "ALLOW_WEBHOOK_WORKFLOWS_SINK_TO_NON_GLOBAL_ADDRESSES": "False",
        "ALLOW_WORKFLOW_BLOCKS_ACCESSING_ENVIRONMENTAL_VARIABLES": "False",
        "ALLOW_WORKFLOW_BLOCKS_ACCESSING_LOCAL_STORAGE": "False",
        "WORKFLOWS_PLUGINS": "gemma4_block",
        "HF_HOME": f"{os.environ['HOME']}/.cache/huggingface",
    }
    assert expected == {name: os.environ.get(name) for name in expected}


@pytest.mark.usefixtures("bare_environment")
def test_a_second_call_changes_nothing() -> None:
    """Preparing twice is preparing once."""
    prepare_host_environment()
    once = dict(os.environ)
    prepare_host_environment()
    assert once == dict(os.environ)


@pytest.mark.usefixtures("bare_environment")
def test_what_the_user_has_set_stays() -> None:
    """Every variable that has a default of ours keeps the value that it had, an empty one too."""
    prepare_host_environment()
    ours = set(os.environ) - {"HOME", "WORKFLOWS_PLUGINS"}
    for value in ("mine", ""):
        os.environ.update(dict.fromkeys(ours, value))
        prepare_host_environment()
        assert dict.fromkeys(ours, value) == {name: os.environ[name] for name in ours}


@pytest.mark.usefixtures("bare_environment")
def test_a_dotenv_file_counts_as_set_by_the_user() -> None:
    """`.env` in the working directory wins over our defaults."""
    Path(".env").write_text("OFFLINE_MODE=false\nWORKFLOWS_PLUGINS=mine\n")
    prepare_host_environment()
    assert (os.environ["OFFLINE_MODE"], os.environ["WORKFLOWS_PLUGINS"]) == ("false", "mine,gemma4_block")


@pytest.mark.usefixtures("bare_environment")
@pytest.mark.parametrize(
    ("before", "after"),
    [
        pytest.param("", "gemma4_block", id="empty"),
        pytest.param("mine, yours ,", "mine,yours,gemma4_block", id="blanks and a trailing comma"),
        pytest.param("gemma4_block,mine", "gemma4_block,mine", id="already there"),
        pytest.param(" gemma4_block", "gemma4_block", id="already there, with a blank"),
    ],
)
def test_the_list_of_plugins_is_one_that_the_host_can_split(before: str, after: str) -> None:
    """The host splits at commas and strips nothing, so names lose their blanks and empty ones go."""
    os.environ["WORKFLOWS_PLUGINS"] = before
    prepare_host_environment()
    assert after == os.environ["WORKFLOWS_PLUGINS"]


def test_a_malformed_setting_stops_the_server_before_it_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    """What only the operator can mend is said to the operator, not to every client."""
    monkeypatch.setenv("GEMMA4_BLOCK_MAX_BATCH_SIZE", "many")
    get_settings.cache_clear()
    result = CliRunner().invoke(app, ["serve", "--port", "0"])
    get_settings.cache_clear()

    assert result.exit_code == 1
    assert "GEMMA4_BLOCK_MAX_BATCH_SIZE" in result.output
