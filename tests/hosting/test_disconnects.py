"""A client that has gone is not answered to the end."""

import asyncio
from threading import Event
from typing import TYPE_CHECKING

from gemma4_block.cancellation import find_cancellation
from gemma4_block.hosting.disconnects import CancelOnDisconnect

if TYPE_CHECKING:
    from starlette.types import Message, Receive, Scope, Send


def _serve(*, hangs_up: bool) -> list[bool]:
    """Serve a request whose work looks, in another thread, at whether anybody waits; return what it saw."""
    seen: list[bool] = []
    has_begun = asyncio.Event()

    def work() -> None:
        cancelled = find_cancellation()
        assert isinstance(cancelled, Event)
        seen.append(cancelled.wait(5 if hangs_up else 0.2))

    async def app(scope: "Scope", receive: "Receive", send: "Send") -> None:  # noqa: ARG001 - the signature is given
        assert (await receive())["body"] == b"question"
        has_begun.set()
        await asyncio.to_thread(work)
        await send({"type": "http.response.body", "body": b"answer"})

    messages: list[Message] = [{"type": "http.request", "body": b"question", "more_body": False}]

    async def receive() -> "Message":
        if messages:
            return messages.pop()
        await has_begun.wait()
        if not hangs_up:
            await asyncio.sleep(60)
        return {"type": "http.disconnect"}

    sent: list[Message] = []

    async def send(message: "Message") -> None:
        sent.append(message)

    asyncio.run(CancelOnDisconnect(app)({"type": "http"}, receive, send))
    assert sent == [{"type": "http.response.body", "body": b"answer"}]
    return seen


def test_what_works_for_a_client_that_has_gone_is_told() -> None:
    """Also in the threads that steps run in."""
    assert _serve(hangs_up=True) == [True]


def test_what_works_for_a_client_that_waits_is_left_alone() -> None:
    """The reply is sent, and nobody listens any more."""
    assert _serve(hangs_up=False) == [False]


def test_all_answers_end_when_the_server_stops() -> None:
    """Those under way, and those that begin after it."""

    async def app(scope: "Scope", receive: "Receive", send: "Send") -> None:  # noqa: ARG001 - the signature is given
        cancelled = find_cancellation()
        assert cancelled is not None
        assert await asyncio.to_thread(cancelled.wait, 5)
        await send({"type": "http.response.body", "body": b"answer"})

    async def serve_two() -> None:
        served = CancelOnDisconnect(app)
        first = asyncio.create_task(served({"type": "http"}, _never, send))
        await asyncio.sleep(0)
        served.cancel_all()
        await first
        await served({"type": "http"}, _never, send)

    sent: list[Message] = []

    async def send(message: "Message") -> None:
        sent.append(message)

    asyncio.run(serve_two())
    assert sent == [{"type": "http.response.body", "body": b"answer"}] * 2


def test_a_request_that_is_given_up_when_the_server_stops_is_told() -> None:
    """An error that says to ask again, and not that the server is broken."""

    async def app(scope: "Scope", receive: "Receive", send: "Send") -> None:  # noqa: ARG001 - the signature is given
        await asyncio.sleep(60)

    async def give_up() -> None:
        served = CancelOnDisconnect(app)
        asked = asyncio.create_task(served({"type": "http"}, _never, send))
        await asyncio.sleep(0)
        served.cancel_all()
        asked.cancel()
        await asked

    sent: list[Message] = []

    async def send(message: "Message") -> None:
        sent.append(message)

    asyncio.run(give_up())
    assert sent[0]["status"] == 503
    assert b"Ask again." in sent[1]["body"]


async def _never() -> "Message":
    await asyncio.sleep(60)
    return {"type": "http.disconnect"}


def test_outside_of_a_request_nothing_is_cancelled() -> None:
    """The event is that of one request alone."""
    assert find_cancellation() is None
