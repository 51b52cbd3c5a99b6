"""What a workflow may not do on the server of `gemma4-block serve`, over HTTP."""

from typing import TYPE_CHECKING

import pytest
from inference.core import env
from inference.core.exceptions import InputImageLoadError
from inference.core.utils.image_utils import load_image

from gemma4_block.cli.serve import demo_request
from gemma4_block.hosting.environment import describe_permissions
from gemma4_block.settings import get_settings
from gemma4_block.waiting import PROMPTS

if TYPE_CHECKING:
    from fastapi.testclient import TestClient


def _run_step(client: "TestClient", step: dict[str, object], output: str) -> tuple[int, str]:
    """Run a workflow of one step; return the status and the text of the reply."""
    specification = {
        "version": "1.0",
        "inputs": [],
        "steps": [{"name": "step", **step}],
        "outputs": [{"type": "JsonField", "name": "out", "selector": f"$steps.step.{output}"}],
    }
    reply = client.post("/workflows/run", json={"specification": specification, "inputs": {}})
    return reply.status_code, reply.text


def test_the_environment_of_the_server_is_not_given_away(
    client: "TestClient", monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may hold the operator's keys."""
    monkeypatch.setenv("OPERATORS_KEY", "rosebud")
    step = {
        "type": "roboflow_core/environment_secrets_store@v1",
        "variables_storing_secrets": ["OPERATORS_KEY"],
    }
    status, text = _run_step(client, step, "operators_key")
    assert status == 500
    assert "cannot run in this environment" in text
    assert "rosebud" not in text


def test_nothing_is_sent_into_the_local_network(client: "TestClient") -> None:
    """What trusts this machine must not be asked by whoever can reach the server."""
    step = {
        "type": "roboflow_core/webhook_sink@v1",
        "url": "http://127.0.0.1:9/private",
        "method": "GET",
        "fire_and_forget": False,
    }
    status, text = _run_step(client, step, "message")
    assert status == 200
    assert "non-global" in text


def test_image_files_of_the_machine_are_not_read() -> None:
    """The host's workflows take no paths anyway; its other routes do, where this is allowed."""
    with pytest.raises(InputImageLoadError, match="local filesystem is disabled"):
        load_image({"type": "file", "value": __file__})


def test_pages_of_other_sites_get_no_permission(client: "TestClient") -> None:
    """A browser then keeps the reply from them, and does not send what it has to ask for."""
    asks = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "content-type"}
    for origin, allowed in (("https://example.com", None), ("http://localhost", "http://localhost")):
        reply = client.get("/info", headers={"Origin": origin})
        assert reply.headers.get("Access-Control-Allow-Origin") == allowed
        preflight = client.options("/workflows/run", headers={"Origin": origin, **asks})
        assert (preflight.status_code == 200) == (allowed is not None)
        assert preflight.headers.get("Access-Control-Allow-Origin") == allowed


def test_a_step_that_finds_too_much_waiting_is_told_to_come_again(
    client: "TestClient", monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the status that says so, and without the traceback of a defect."""
    monkeypatch.setenv("GEMMA4_BLOCK_MAX_WAITING", "1")
    get_settings.cache_clear()
    with PROMPTS.wait(1, 0, max_count=None, max_bytes=None):
        reply = client.post("/workflows/run", json=demo_request())
    get_settings.cache_clear()
    assert reply.status_code == 503
    assert reply.json()["message"] == "1 prompts wait already; 1 may on this machine. Ask again later."
    assert "Traceback" not in reply.text


def test_what_is_open_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the variables that opened it; the tests let workflows write files and name directories."""
    assert describe_permissions() == [
        (
            "Workflows may load models from directories and run the code in them, because "
            "ALLOW_INFERENCE_MODELS_DIRECTLY_ACCESS_LOCAL_PACKAGES is on."
        ),
        "Workflows may write files, because ALLOW_WORKFLOW_BLOCKS_ACCESSING_LOCAL_STORAGE is on.",
    ]
    monkeypatch.setattr(env, "ALLOW_ORIGINS", ["*"])
    assert describe_permissions()[2:] == [
        "Pages of any site may ask in a browser, because ALLOW_ORIGINS is *."
    ]
