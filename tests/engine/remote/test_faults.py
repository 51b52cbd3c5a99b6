"""A fault at every seam to a server: what the caller sees, what the next caller sees, and what is left.

The table of docs/operating.md says the same in words.
"""

import gc
import re
import threading
import time
import weakref
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from gemma4_block.contract import Answer, Choices, GenerationConfig, JsonSchema, Prompt
from gemma4_block.engine.remote import RemoteEngine
from gemma4_block.errors import EngineBusyError, EngineError
from tests.engine.remote.conftest import Connect
from tests.engine.remote.fake_server import Behaviour, Body, Broken, FakeServer, Reply, Said, Status

PAGE = Path(__file__).parents[3] / "docs" / "operating.md"
GENERATION = GenerationConfig()
CHOICES = Choices(groups=(("red", "blue"),), schema=JsonSchema(text='{"enum": ["red", "blue"]}'))
YES = Said(text="yes")

Say = Callable[[Body, int], Reply]


def always(reply: Reply) -> Say:
    """Give this reply to every request."""
    return lambda _body, _number: reply


def once(reply: Reply) -> Say:
    """Give this reply to the first request, and a whole answer to the others."""
    left = [reply]
    return lambda _body, _number: left.pop() if left else YES


def then(first: Reply, others: Reply) -> Say:
    """Give a reply to the first request and another to all others."""
    left = [first]
    return lambda _body, _number: left.pop() if left else others


@dataclass(frozen=True, kw_only=True, slots=True)
class Fault:
    """A server that misbehaves.

    Attributes:
        seam: Its name in the table of docs/operating.md.
        say: What it replies; made anew for each test.
        small: What it replies to requests that are not streamed; None answers them.
        seen: What the caller gets; None where the answer is right nevertheless.
        words: In its message.
        constraint: Of the prompts.

    """

    seam: str
    say: Callable[[], Say] = lambda: always(YES)
    small: Status | None = None
    seen: type[EngineError] | None = None
    words: str = ""
    constraint: Choices | None = None


_GONE = Broken(after=-1)
FAULTS = (
    Fault(seam="server, closes the connection", say=lambda: once(_GONE)),
    Fault(seam="server, breaks off an answer", say=lambda: once(Broken(after=2))),
    Fault(
        seam="server, gone in the middle",
        say=lambda: then(Broken(after=2), _GONE),
        seen=EngineError,
        words="cannot be reached",
    ),
    Fault(seam="server, busy once", say=lambda: once(Status(code=429))),
    Fault(
        seam="server, busy for long",
        say=lambda: always(Status(code=503)),
        seen=EngineBusyError,
        words="is busy or starting (status 503). Ask later, or add servers. Tried 4 times.",
    ),
    Fault(
        seam="server, nothing behind the proxy",
        say=lambda: always(Status(code=502)),
        seen=EngineError,
        words="gets no answer from it (status 502)",
    ),
    Fault(seam="server, status 500 once", say=lambda: once(Status(code=500))),
    Fault(
        seam="server, status 500 for long",
        say=lambda: always(Status(code=500, message="oops")),
        seen=EngineError,
        words="failed (status 500): ",
    ),
    Fault(
        seam="server, another status",
        say=lambda: once(Status(code=501, message="oops")),
        seen=EngineError,
        words="failed (status 501): ",
    ),
    Fault(
        seam="server, wrong JSON",
        say=lambda: once(Broken(after=0, event='{"choices": 3}')),
        seen=EngineError,
        words="answers in another form than OpenAI's",
    ),
    Fault(
        seam="server, redirect",
        say=lambda: once(Status(code=307, headers=(("location", "/v2/chat/completions"),))),
        seen=EngineError,
        words="redirects to another address, which is not followed",
    ),
    Fault(
        seam="server, scoring of choices",
        small=Status(code=501),
        seen=EngineError,
        words="failed (status 501): ",
        constraint=CHOICES,
    ),
)


def _prompts(constraint: Choices | None) -> list[Prompt]:
    shades = (40, 90)
    return [
        Prompt(text="Is it?", images=(np.full((48, 96, 3), shade, np.uint8),), constraint=constraint)
        for shade in shades
    ]


def _ask(engine: RemoteEngine, prompts: list[Prompt]) -> list[Answer]:
    answers = [one for one in engine.answer(prompts, GENERATION) if isinstance(one, Answer)]
    assert len(answers) == len(prompts)
    return answers


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.seam)
def test_a_fault_is_told_to_its_caller_and_to_nobody_else(
    server: FakeServer, connect_to: Connect, fault: Fault
) -> None:
    """Who calls gets our own error or a right answer, who calls next a right answer, and nothing is left."""
    engine = connect_to(server)
    expected = _ask(engine, _prompts(fault.constraint))
    asked_before = len(server.paths)
    prompts = _prompts(fault.constraint)
    images = [weakref.ref(prompt.images[0]) for prompt in prompts]

    server.behaviour = Behaviour(say=fault.say(), small=fault.small)
    with ThreadPoolExecutor(1) as caller:
        asked = caller.submit(_ask, engine, prompts)
        if fault.seen is None:
            assert asked.result(60) == expected
            # It was asked again; a fault that nobody met shows nothing.
            assert len(server.paths) == asked_before + len(prompts) + 1
        else:
            with pytest.raises(EngineError, match=re.escape(fault.words)) as caught:
                asked.result(60)
            assert isinstance(caught.value, EngineBusyError) == (fault.seen is EngineBusyError)
            del caught
    server.behaviour = Behaviour()

    assert _ask(engine, _prompts(fault.constraint)) == expected
    assert set(server.paths) == {"/v1/models", "/v1/chat/completions"}
    del asked, prompts
    _check_that_nothing_is_left(server, images)


def _check_that_nothing_is_left(server: FakeServer, images: list[weakref.ref[np.ndarray]]) -> None:
    # The event loop lets go of a request a moment after its answer.
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        gc.collect()
        left = server.at_once, [one for one in images if one() is not None]
        if left == (0, []):
            return
        time.sleep(0.05)
    raise AssertionError(f"left are {left}")


def test_a_fault_does_not_end_the_answers_of_another_caller(server: FakeServer, connect_to: Connect) -> None:
    """One request fails while another is being answered."""
    engine = connect_to(server)
    is_running = threading.Event()

    def say(body: Body, _number: int) -> Reply:
        if body["messages"][-1]["content"][-1]["text"] == "broken":
            return Status(code=501)
        is_running.set()
        return Said(text="a long answer", wait_s=0.05)

    server.behaviour.say = say
    with ThreadPoolExecutor(1) as caller:
        ours = caller.submit(_ask, engine, [Prompt(text="whole")])
        assert is_running.wait(20)
        with pytest.raises(EngineError, match="status 501"):
            engine.answer([Prompt(text="broken")], GENERATION)
        assert not ours.done()
        assert [answer.text for answer in ours.result(20)] == ["a long answer"]


def test_the_page_names_every_seam() -> None:
    """And in the same order, after those of this process."""
    page = PAGE.read_text(encoding="utf-8")
    rows = re.findall(r"^\| ([^|`]+) \| [^|]+ \| [^|]+ \|$", page.partition("## Faults")[2], re.MULTILINE)
    assert rows[-len(FAULTS) :] == [fault.seam for fault in FAULTS]
