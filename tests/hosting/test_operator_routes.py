"""The operator lists and closes engines, from this machine alone."""

import asyncio
import json
import time
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from gemma4_block.contract import Engine, HeldAdapter, LocalModel, ModelReference, Quantization, ServedModel
from gemma4_block.engine.pool import EnginePool
from gemma4_block.errors import CheckpointError
from gemma4_block.hosting.operator_routes import OperatorRoutes
from gemma4_block.settings import Settings
from gemma4_block.testing import ScriptedEngine

if TYPE_CHECKING:
    from starlette.types import Message, Receive, Scope, Send

_SETTINGS = Settings(device="cpu")
_HERE = ("127.0.0.1", 4321)


class _EngineWithAdapter(ScriptedEngine):
    adapters = (HeldAdapter(directory=Path("/models/mine/1"), nbytes=1000),)

    def adapted(self, adapter: Path) -> AbstractContextManager[Engine]:
        raise NotImplementedError(adapter)


def _find(model_version: str, quantization: Quantization, settings: Settings) -> ModelReference:  # noqa: ARG001 - the signature is given
    if model_version == "elsewhere":
        return ServedModel(server="elsewhere", model="org/name")
    if model_version == "mine/1":
        return LocalModel(directory=Path("/models/base"), quantization="none")
    return LocalModel(directory=Path("/models") / model_version, quantization=quantization)


def _make(reference: ModelReference, settings: Settings) -> ScriptedEngine:  # noqa: ARG001 - the signature is given
    if reference == LocalModel(directory=Path("/models/broken"), quantization="none"):
        raise CheckpointError("It is damaged.")
    if reference == LocalModel(directory=Path("/models/base"), quantization="none"):
        return _EngineWithAdapter("yes")
    return ScriptedEngine("yes")


@pytest.fixture
def pool() -> EnginePool:
    """An empty pool whose models answer yes."""
    return EnginePool(_SETTINGS, find=_find, make=_make)


def _ask(
    pool: EnginePool,
    method: str,
    query: str = "",
    *,
    path: str = "/gemma4/engines",
    client: tuple[str, int] | None = _HERE,
    headers: tuple[tuple[bytes, bytes], ...] = (),
) -> tuple[int, dict[str, object]]:
    """Return the status and the body of a reply; what goes on to the host gets 299."""
    sent: list[Message] = []

    async def send(message: "Message") -> None:
        sent.append(message)

    async def receive() -> "Message":
        return {"type": "http.request", "body": b""}

    async def host(scope: "Scope", receive: "Receive", send: "Send") -> None:  # noqa: ARG001 - the signature is given
        await send({"type": "http.response.start", "status": 299, "headers": []})
        await send({"type": "http.response.body", "body": b"{}"})

    scope = {
        "type": "http",
        "method": method,
        "path": path,
        "query_string": query.encode(),
        "client": client,
        "headers": list(headers),
    }
    asyncio.run(OperatorRoutes(host, pool)(scope, receive, send))
    return sent[0]["status"], json.loads(sent[1]["body"])


def _use(pool: EnginePool, name: str, quantization: Quantization = "none") -> None:
    with pool.lease(name, quantization):
        pass


def test_no_engine_is_an_empty_list(pool: EnginePool) -> None:
    """Before the first request there is none."""
    assert _ask(pool, "GET") == (200, {"engines": []})


def test_engines_are_listed_with_what_an_operator_asks(pool: EnginePool) -> None:
    """Which model, how precise, where, since when, how large and who uses it."""
    _use(pool, "mine/1")
    with pool.lease("elsewhere", "auto"):
        status, body = _ask(pool, "GET")
    assert status == 200
    local, served = body["engines"]  # type: ignore[misc]
    times = {"state_seconds", "unused_seconds"}
    assert {name: value for name, value in local.items() if name not in times} == {
        "model": "mine/1",
        "precision": "none",
        "device": None,
        "adapters": ["/models/mine/1"],
        "where": "/models/base",
        "state": "ready",
        "leases": 0,
        "nbytes": 0,
        "closes_in_seconds": None,
        "failure": None,
    }
    assert 0 <= local["unused_seconds"] <= local["state_seconds"] < 60
    assert {name: served[name] for name in ("device", "where", "precision", "leases", "unused_seconds")} == {
        "device": "server elsewhere",
        "where": "org/name",
        "precision": None,
        "leases": 1,
        "unused_seconds": 0.0,
    }


def test_a_model_that_could_not_be_loaded_is_listed_with_the_reason(pool: EnginePool) -> None:
    """The operator need not look for it in the log."""
    with pytest.raises(CheckpointError):
        _use(pool, "broken")
    (engine,) = _ask(pool, "GET")[1]["engines"]  # type: ignore[misc]
    assert (engine["state"], engine["failure"], engine["nbytes"]) == ("failed", "It is damaged.", None)


@pytest.mark.parametrize("name", ["gemma-4-e2b-it", "google/gemma-4-E2B-it", "/models/gemma-4-e2b-it"])
def test_a_model_is_closed_by_any_of_its_names(pool: EnginePool, name: str) -> None:
    """In every precision; others stay."""
    for quantization in ("none", "nf4"):
        _use(pool, "gemma-4-e2b-it", quantization)
    _use(pool, "other")
    assert _ask(pool, "DELETE", f"model={name}") == (200, {"closed": 2, "closing_when_idle": 0})
    assert [status.name for status in pool.list_engines()] == ["other"]


def test_a_model_that_is_used_is_closed_afterwards(pool: EnginePool) -> None:
    """Nobody loses an answer to the operator."""
    with pool.lease("first", "none"):
        assert _ask(pool, "DELETE", "model=first") == (200, {"closed": 0, "closing_when_idle": 1})
        assert [status.state for status in pool.list_engines()] == ["ready"]
    deadline = time.monotonic() + 20
    while pool.list_engines() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert pool.list_engines() == ()


@pytest.mark.parametrize(
    ("method", "query", "status", "words"),
    [
        pytest.param("DELETE", "model=other", 404, "No engine of 'other' is loaded", id="another model"),
        pytest.param("DELETE", "", 400, "?model=MODEL", id="none named"),
        pytest.param("DELETE", "model=a&model=b", 400, "once", id="two named"),
        pytest.param("POST", "model=first", 405, "takes GET and DELETE", id="another method"),
    ],
)
def test_what_cannot_be_done_is_said(
    pool: EnginePool, method: str, query: str, status: int, words: str
) -> None:
    """And nothing is closed."""
    _use(pool, "first")
    replied, body = _ask(pool, method, query)
    assert replied == status
    assert words in str(body["message"])
    assert len(pool.list_engines()) == 1


@pytest.mark.parametrize(
    ("client", "headers"),
    [
        pytest.param(("192.0.2.7", 1), (), id="another machine"),
        pytest.param(("2001:db8::7", 1), (), id="another machine, IPv6"),
        pytest.param(("::ffff:192.0.2.7", 1), (), id="another machine, mapped"),
        pytest.param(None, (), id="unknown"),
        pytest.param(("testclient", 1), (), id="no address"),
        pytest.param(_HERE, ((b"x-forwarded-for", b"192.0.2.7"),), id="through a proxy"),
        pytest.param(_HERE, ((b"forwarded", b"for=192.0.2.7"),), id="through another proxy"),
    ],
)
@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/gemma4/engines"),
        ("DELETE", "/gemma4/engines"),
        ("POST", "/model/clear"),
        ("POST", "/model/remove"),
    ],
)
def test_others_than_this_machine_are_refused(
    pool: EnginePool,
    method: str,
    path: str,
    client: tuple[str, int] | None,
    headers: tuple[tuple[bytes, bytes], ...],
) -> None:
    """Whoever may run workflows may not thereby take models away from others."""
    _use(pool, "first")
    status, body = _ask(pool, method, "model=first", path=path, client=client, headers=headers)
    assert status == 403
    assert "Only the machine that this server runs on" in str(body["message"])
    assert len(pool.list_engines()) == 1


@pytest.mark.parametrize("client", [_HERE, ("127.1.2.3", 1), ("::1", 1), ("::ffff:127.0.0.1", 1)])
def test_this_machine_may_use_the_hosts_own_calls(pool: EnginePool, client: tuple[str, int]) -> None:
    """They reach the host, which closes our engines with its models."""
    assert _ask(pool, "POST", path="/model/clear", client=client) == (299, {})


def test_everything_else_goes_on_to_the_host(pool: EnginePool) -> None:
    """From anywhere, since it is guarded elsewhere."""
    assert _ask(pool, "POST", path="/workflows/run", client=("192.0.2.7", 1)) == (299, {})
