"""So many requests are let in, with bodies so long, and a place is free when the reply is sent."""

import asyncio
from typing import TYPE_CHECKING

import pytest

from gemma4_block.hosting import gate
from gemma4_block.hosting.gate import Gate
from gemma4_block.meter import Meter, use_meter
from gemma4_block.settings import Settings

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

_SETTINGS = Settings(max_requests=1, max_request_bytes=6, max_waiting_bytes=8)


def _receiving(*parts: bytes) -> "Receive":
    messages = [
        {"type": "http.request", "body": part, "more_body": place < len(parts)}
        for place, part in enumerate(parts, 1)
    ]

    async def receive() -> "Message":
        if messages:
            return messages.pop(0)
        await asyncio.sleep(60)
        return {"type": "http.disconnect"}

    return receive


async def _serve(app: "ASGIApp", receive: "Receive") -> list["Message"]:
    sent: list[Message] = []

    async def send(message: "Message") -> None:
        sent.append(message)

    await Gate(app, _SETTINGS)({"type": "http"}, receive, send)
    return sent


async def _echo(scope: "Scope", receive: "Receive", send: "Send") -> None:  # noqa: ARG001 - the signature is given
    body = (await receive())["body"]
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": body})


def test_a_body_that_came_in_parts_is_given_whole() -> None:
    """The host gets all of it at once."""
    sent = asyncio.run(_serve(_echo, _receiving(b"abc", b"def")))
    assert sent[1]["body"] == b"abcdef"


@pytest.mark.parametrize("parts", [(b"abcdefg",), (b"abc", b"def", b"g")], ids=["at once", "in parts"])
def test_a_body_that_is_too_long_gets_413(parts: tuple[bytes, ...]) -> None:
    """The host does not see it."""
    start, body = asyncio.run(_serve(_echo, _receiving(*parts)))
    assert start["status"] == 413
    assert b"7 bytes; 6 are allowed" in body["body"]


def test_a_client_that_does_not_send_its_body_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """It would hold what it has sent in memory."""
    monkeypatch.setattr(gate, "BODY_TIMEOUT_S", 0.05)
    start, _ = asyncio.run(_serve(_echo, _receiving()))
    assert start["status"] == 408


def test_a_client_that_goes_while_it_sends_gets_nothing() -> None:
    """Nobody is there."""

    async def receive() -> "Message":
        return {"type": "http.disconnect"}

    assert asyncio.run(_serve(_echo, receive)) == []


def _serve_two(app: "ASGIApp", *, first_sends: int) -> list["Message"]:
    """Serve a request until it sleeps, then another one; return the reply of that one."""

    async def serve() -> "list[Message]":
        guarded, first, second = Gate(app, _SETTINGS), [], []

        async def send_first(message: "Message") -> None:
            first.append(message)

        async def send_second(message: "Message") -> None:
            second.append(message)

        asked = asyncio.create_task(guarded({"type": "http"}, _receiving(b"a"), send_first))
        # What it does until it sleeps takes no time.
        await asyncio.sleep(0.1)
        assert len(first) == first_sends
        await guarded({"type": "http"}, _receiving(b"b"), send_second)
        asked.cancel()
        return second

    return asyncio.run(serve())


def test_one_request_too_many_is_told_to_come_again() -> None:
    """And when."""

    async def stay(scope: "Scope", receive: "Receive", send: "Send") -> None:  # noqa: ARG001 - the signature is given
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await asyncio.sleep(60)

    start, body = _serve_two(stay, first_sends=1)
    assert start["status"] == 503
    assert (b"retry-after", b"5") in start["headers"]
    assert b"1 requests wait already; 1 may on this machine" in body["body"]


def test_a_full_gate_says_so_and_counts_whom_it_refuses() -> None:
    """Readiness and metrics know it before anybody asks why."""
    refused: list[str] = []

    class Counting(Meter):
        def note_refusal(self, kind: str, count: int = 1) -> None:
            refused.extend([kind] * count)

    states: list[bool] = []

    async def stay(scope: "Scope", receive: "Receive", send: "Send") -> None:  # noqa: ARG001 - the signature is given
        states.append(guarded.is_full)
        await guarded({"type": "http"}, _receiving(b"b"), send)

    async def drop(message: "Message") -> None:
        """Nobody reads it."""

    guarded = Gate(stay, _SETTINGS)
    use_meter(Counting())
    try:
        states.append(guarded.is_full)
        asyncio.run(guarded({"type": "http"}, _receiving(b"a"), drop))
        states.append(guarded.is_full)
    finally:
        use_meter(Meter())
    assert states == [False, True, False]
    assert refused == ["EngineBusyError"]


def test_a_place_is_free_when_the_reply_is_sent() -> None:
    """What the host does after it, it may do later."""

    async def linger(scope: "Scope", receive: "Receive", send: "Send") -> None:  # noqa: ARG001 - the signature is given
        is_first = (await receive())["body"] == b"a"
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"answer"})
        if is_first:
            await asyncio.sleep(60)

    start, _ = _serve_two(linger, first_sends=2)
    assert start["status"] == 200


def test_a_step_that_is_busy_says_when_to_come_again() -> None:
    """The host has a status for it and no header."""

    async def busy(scope: "Scope", receive: "Receive", send: "Send") -> None:  # noqa: ARG001 - the signature is given
        await send({"type": "http.response.start", "status": 503, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    start, _ = asyncio.run(_serve(busy, _receiving(b"a")))
    assert (b"retry-after", b"5") in start["headers"]
