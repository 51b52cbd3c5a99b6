"""Health says whether to start the process anew, readiness whether more requests should come."""

import asyncio
import json
import logging
import time
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING

import pytest

from gemma4_block.contract import LocalModel, ModelReference, Quantization
from gemma4_block.engine.pool import EnginePool
from gemma4_block.errors import CheckpointError
from gemma4_block.hosting.health import AlwaysAnswersHealth, State
from gemma4_block.hosting.preload import Preloading
from gemma4_block.settings import Settings
from gemma4_block.testing import ScriptedEngine
from gemma4_block.waiting import WaitingRoom

if TYPE_CHECKING:
    from starlette.types import Message, Receive, Scope, Send

_TIMEOUT_S = 20


def _ask(
    path: str, state: State, *, is_healthy: bool = True, asks_host: bool = False
) -> tuple[int, dict[str, str], dict[bytes, bytes]]:
    """Return status, body and headers; what the host answers has status 299."""
    sent: list[Message] = []

    async def send(message: "Message") -> None:
        sent.append(message)

    async def receive() -> "Message":
        return {"type": "http.request", "body": b""}

    async def host(scope: "Scope", receive: "Receive", send: "Send") -> None:  # noqa: ARG001 - the signature is given
        await send({"type": "http.response.start", "status": 299, "headers": []})
        await send({"type": "http.response.body", "body": b"{}"})

    health = AlwaysAnswersHealth(host, lambda: (is_healthy, None), lambda: state, asks_host=asks_host)
    asyncio.run(health({"type": "http", "path": path}, receive, send))
    return sent[0]["status"], json.loads(sent[1]["body"]), dict(sent[0]["headers"])


@pytest.mark.parametrize("state", ["ready", "loading", "full", "failed"])
def test_a_server_that_works_is_healthy_whatever_it_is_doing(state: State) -> None:
    """Started anew, it would load all over again."""
    status, body, _ = _ask("/healthz", state)
    assert (status, body) == (200, {"status": "healthy", "state": state})


def test_a_lost_device_is_not_healthy() -> None:
    """Only a new process gets it back; the words are the host's."""
    assert _ask("/healthz", "ready", is_healthy=False)[:2] == (
        503,
        {"status": "unhealthy", "reason": "cuda_error"},
    )


@pytest.mark.parametrize("state", ["loading", "full", "failed"])
def test_no_more_requests_should_come_before_it_is_ready(state: State) -> None:
    """Who spreads them sends them elsewhere, and asks again."""
    status, body, headers = _ask("/readiness", state)
    assert (status, body) == (503, {"status": "not ready", "state": state})
    assert headers[b"retry-after"] == b"5"


def test_a_ready_server_says_so() -> None:
    """Without a thread of the host."""
    assert _ask("/readiness", "ready")[:2] == (200, {"status": "ready", "state": "ready"})


def test_the_host_is_asked_too_where_it_loads_models_of_its_own() -> None:
    """Both must be ready."""
    assert _ask("/readiness", "ready", asks_host=True)[0] == 299
    assert _ask("/readiness", "loading", asks_host=True)[0] == 503


@pytest.mark.parametrize(
    ("count", "nbytes", "is_full"),
    [(1, 5, False), (2, 5, True), (1, 10, True)],
    ids=["neither", "count", "bytes"],
)
def test_a_room_is_full_where_one_more_would_be_refused(count: int, nbytes: int, *, is_full: bool) -> None:
    """By number or by size."""
    room = WaitingRoom("things", max_count_setting="A", max_bytes_setting="B")
    with room.wait(count, nbytes, max_count=2, max_bytes=10):
        assert room.count == count
        assert room.is_full(max_count=2, max_bytes=10) is is_full
    assert not room.is_full(max_count=2, max_bytes=10)


def _find(model_version: str, quantization: Quantization, settings: Settings) -> ModelReference:  # noqa: ARG001 - the signature is given
    return LocalModel(directory=Path("/models") / model_version, quantization="none")


def _wait(preloading: Preloading) -> None:
    deadline = time.monotonic() + _TIMEOUT_S
    while preloading.state == "loading" and time.monotonic() < deadline:
        time.sleep(0.01)


def test_models_are_loaded_before_anybody_asks(caplog: pytest.LogCaptureFixture) -> None:
    """However long one takes; one that fails is said, and keeps no other from being loaded."""
    may_load = Event()

    def make(reference: ModelReference, settings: Settings) -> ScriptedEngine:  # noqa: ARG001 - the signature is given
        assert may_load.wait(_TIMEOUT_S)
        if isinstance(reference, LocalModel) and reference.directory.name == "broken":
            raise CheckpointError("It is damaged.")
        return ScriptedEngine("yes")

    # A request would give up long before.
    pool = EnginePool(Settings(device="cpu", max_loading_seconds=0.01), find=_find, make=make)
    whole, partly = Preloading(pool, ["first", "second"]), Preloading(pool, ["broken", "third"])
    whole.start()
    time.sleep(0.1)
    assert whole.state == "loading"
    may_load.set()
    _wait(whole)
    assert whole.state == "ready"
    with caplog.at_level(logging.ERROR, "gemma4_block"):
        partly.start()
        _wait(partly)
    assert partly.state == "failed"
    assert "broken is named with --preload and cannot be loaded: It is damaged." in caplog.text
    states = [(status.name, status.state) for status in pool.list_engines()]
    assert states == [("first", "ready"), ("second", "ready"), ("broken", "failed"), ("third", "ready")]


def test_nothing_to_load_is_ready_at_once() -> None:
    """Most operators name nothing."""
    assert Preloading(EnginePool(Settings(device="cpu")), []).state == "ready"
