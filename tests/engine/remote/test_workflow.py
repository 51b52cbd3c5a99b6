"""A workflow runs on a server as it runs in this process, to the last letter of its JSON."""

import json
import math
from collections.abc import Iterator

import numpy as np
import pytest
from roboflow_workflows.errors import RuntimeLimitsCausedStepExecutionError

from gemma4_block.cli.workflows import WorkflowRunner
from gemma4_block.engine.pool import EnginePool
from gemma4_block.settings import get_settings
from tests.engine.remote.fake_server import MODEL, Body, FakeServer, Reply, Said, Status

IMAGE = np.zeros((20, 30, 3), dtype=np.uint8)


@pytest.fixture
def pool(server: FakeServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[EnginePool]:
    """The pool of an operator who maps an id to the server."""
    servers = {"gemma-4-e2b-it": {"urls": [server.url], "model": MODEL}}
    monkeypatch.setenv("GEMMA4_BLOCK_SERVERS", json.dumps(servers))
    get_settings.cache_clear()
    found = EnginePool()
    yield found
    found.close()
    get_settings.cache_clear()


def run(pool: EnginePool, *outputs: str, **fields: object) -> list[dict[str, object]]:
    """Run a step on three images."""
    step = {"type": "gemma4_block/gemma4@v1", "name": "step", "images": "$inputs.image"} | fields
    specification = {
        "version": "1.0",
        "inputs": [{"type": "WorkflowImage", "name": "image"}],
        "steps": [step | {"model_version": "gemma-4-e2b-it"}],
        "outputs": [
            {"type": "JsonField", "name": name, "selector": f"$steps.step.{name}"} for name in outputs
        ],
    }
    runner = WorkflowRunner(specification, init_parameters={"gemma4_block.engine_provider": pool})
    return runner.run({"image": [IMAGE + shade for shade in (0, 1, 2)]})


def test_a_row_that_is_refused_leaves_the_others_whole(server: FakeServer, pool: EnginePool) -> None:
    """It has `error_status`, and says what the server said."""

    def say(body: Body, number: int) -> Reply:
        assert body["messages"][0]["content"][-1]["type"] == "text"
        return Status(code=400, message="too long") if number == 1 else Said(text="a dog")

    server.behaviour.say = say
    rows = run(pool, "output", "error_status", "error_message", task_type="caption")

    assert [row["output"] for row in rows if not row["error_status"]] == ["a dog"] * 2
    (refused,) = [row for row in rows if row["error_status"]]
    assert "too long" in str(refused["error_message"])


def test_a_busy_server_is_told_as_such(server: FakeServer, pool: EnginePool) -> None:
    """The host answers with status 503, so that the same request is sent again later."""
    server.behaviour.say = lambda *_: Status(code=429)
    with pytest.raises(RuntimeLimitsCausedStepExecutionError, match="is busy or starting") as caught:
        run(pool, "output", task_type="caption")

    assert caught.value.status_code == 503


def test_classes_have_measured_confidences(server: FakeServer, pool: EnginePool) -> None:
    """From the log-probabilities of the server."""
    chances = {"c": 0.75, "d": 0.25}
    server.behaviour.likely = lambda before, letter: (
        math.log(chances[letter]) if before.endswith(': "') and letter in chances else 0.0
    )
    (first, *_) = run(pool, "output", task_type="classification", classes=["cat", "dog"])

    assert json.loads(str(first["output"])) == {"class_name": "cat", "confidence": 0.75}


def test_boxes_have_measured_confidences(server: FakeServer, pool: EnginePool) -> None:
    """Half for the label among all that could be said, times 0.63 for the coordinates."""
    text = '[{"box_2d": [1, 2, 3, 4], "label": "cat"}]'
    server.behaviour.say = lambda *_: Said(text=text)
    server.behaviour.likely = lambda before, letter: (
        math.log(0.5) if before.endswith('"label": "') and letter == "c" else 0.0
    )
    (first, *_) = run(pool, "predictions", task_type="object-detection", classes=["cat", "dog"])
    confidences = first["predictions"].confidence  # type: ignore[attr-defined]

    assert confidences == pytest.approx([0.5 * 0.6297], abs=1e-4)


def test_classes_have_none_where_the_server_gives_none(server: FakeServer, pool: EnginePool) -> None:
    """The answer is there all the same."""
    server.behaviour.has_logprobs = False
    server.behaviour.say = lambda *_: Said(text='{"class_name": "dog"}')
    (first, *_) = run(pool, "output", "error_status", task_type="classification", classes=["cat", "dog"])

    assert (json.loads(str(first["output"])), first["error_status"]) == ({"class_name": "dog"}, False)


def test_all_steps_share_one_engine(server: FakeServer, pool: EnginePool) -> None:
    """The server is asked what it can do once."""
    for _ in range(2):
        run(pool, "output", task_type="caption")

    assert server.paths.count("/v1/models") == 1
    assert [status.state for status in pool.list_engines()] == ["ready"]
