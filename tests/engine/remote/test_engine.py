"""The engine on a server: the same answers in the same order, whatever the server does."""

import gc
import logging
import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Event, Timer

import numpy as np
import pytest

from gemma4_block.contract import Answer, GenerationConfig, Prompt, TokenScore
from gemma4_block.engine.remote import connect
from gemma4_block.errors import ConfigurationError, EngineError, PromptError
from gemma4_block.servers import Server
from tests.engine.remote.conftest import Connect
from tests.engine.remote.fake_server import MODEL, Body, Broken, FakeServer, Reply, Said, Status, serving

SECRET = "sk-5Xw9"  # noqa: S105 - of nobody  # pragma: allowlist secret
GREY = np.full((96, 192, 3), 90, np.uint8)
ASKED = GenerationConfig()


def text_of(body: Body) -> str:
    """Return the user's text of a request."""
    text: str = body["messages"][-1]["content"][-1]["text"]
    return text


def first(replies: list[Reply]) -> Callable[[Body, int], Reply]:
    """Give these replies to the first requests, and a whole answer to the others."""
    return lambda _body, number: replies[number] if number < len(replies) else Said(text="yes")


def test_an_answer_has_its_text_counts_and_reason(server: FakeServer, connect_to: Connect) -> None:
    """An image of 2 x 1 becomes 23 x 11 soft tokens of 280."""
    (answer,) = connect_to(server).answer([Prompt(text="Is it?", images=(GREY,))], ASKED)

    assert answer == Answer(
        text="yes",
        thinking="",
        finish_reason="stop",
        input_tokens=len("(user\n()Is it?)\n(model\n") + 253,
        output_tokens=4,
        image_tokens=253,
    )


def test_answers_come_in_the_order_of_their_prompts(server: FakeServer, connect_to: Connect) -> None:
    """The server answers the last first."""
    waits = {"a": 0.3, "b": 0.1, "c": 0.0}
    server.behaviour.say = lambda body, _: Said(text=text_of(body) * 2, wait_s=waits[text_of(body)])
    answers = connect_to(server).answer([Prompt(text=text) for text in waits], ASKED)

    assert [answer.text for answer in answers if isinstance(answer, Answer)] == ["aa", "bb", "cc"]


def test_only_so_many_requests_are_under_way(server: FakeServer, connect_to: Connect) -> None:
    """Of all callers of a model together."""
    server.behaviour.say = lambda *_: Said(text="yes", wait_s=0.02)
    engine = connect_to(server, max_in_flight=3)
    with ThreadPoolExecutor(2) as threads:
        calls = [threads.submit(engine.answer, [Prompt(text="a")] * 6, ASKED) for _ in range(2)]
        assert all(len(call.result()) == 6 for call in calls)

    assert server.most_at_once == 3


@pytest.mark.parametrize(
    "fault",
    [
        *(Status(code=code) for code in (429, 500, 502, 503, 504)),
        Broken(after=-1),
        Broken(after=0),
        Broken(after=2),
        Broken(after=1, event='{"error": {"message": "EngineDeadError", "code": 500}}'),
    ],
    ids=["429", "500", "502", "503", "504", "hangs up", "no event", "half a stream", "error event"],
)
def test_what_got_no_whole_answer_is_asked_again(
    server: FakeServer, connect_to: Connect, fault: Reply
) -> None:
    """Nothing of the part that came is in the answer."""
    server.behaviour.say = first([fault])
    (answer,) = connect_to(server).answer([Prompt(text="a")], ASKED)

    assert isinstance(answer, Answer)
    assert (answer.text, answer.output_tokens, len(server.streamed)) == ("yes", 4, 2)


def test_a_server_says_how_long_it_wants_to_be_left_alone(server: FakeServer, connect_to: Connect) -> None:
    """`Retry-After` is kept."""
    server.behaviour.say = first([Status(code=429, headers=(("retry-after", "1"),))])
    engine = connect_to(server)
    started = time.monotonic()
    engine.answer([Prompt(text="a")], ASKED)

    assert time.monotonic() - started > 1


@pytest.mark.parametrize(
    ("fault", "kind", "words"),
    [
        (Status(code=501, message="oops"), EngineError, "failed .status 501.: .*oops"),
        (Status(code=404, message="gone"), EngineError, "has no model there"),
        (Status(code=301, headers=(("location", "/v2"),)), EngineError, "redirects"),
        (Broken(after=0, event="{"), EngineError, "another form than OpenAI's"),
        (Broken(after=0, event='{"choices": 3}'), EngineError, "another form than OpenAI's"),
        (Said(text="a", finish_reason="content_filter"), EngineError, "content_filter"),
    ],
    ids=["501", "404", "redirect", "no JSON", "other JSON", "finish reason"],
)
def test_what_cannot_be_helped_is_an_error_that_says_what_to_do(
    server: FakeServer, connect_to: Connect, fault: Reply, kind: type[Exception], words: str
) -> None:
    """It is not asked again."""
    engine = connect_to(server)
    server.behaviour.say = first([fault])
    with pytest.raises(kind, match=words):
        engine.answer([Prompt(text="a")], ASKED)

    assert len(server.streamed) == 1


def test_a_prompt_that_is_refused_fails_in_its_own_place(server: FakeServer, connect_to: Connect) -> None:
    """Its neighbours are answered, and the server's words are kept."""
    too_long = Status(code=400, message="maximum context length is 4096 tokens")
    server.behaviour.say = lambda body, _: too_long if text_of(body) == "b" else Said(text="yes")
    before, refused, after = connect_to(server).answer([Prompt(text=text) for text in "abc"], ASKED)

    assert isinstance(before, Answer)
    assert isinstance(after, Answer)
    assert isinstance(refused, PromptError)
    assert "maximum context length" in str(refused)


def test_an_error_of_the_server_ends_the_other_requests(server: FakeServer, connect_to: Connect) -> None:
    """Nobody waits for answers that are not read."""
    engine = connect_to(server)
    server.behaviour.say = lambda body, _: Said(text=None, wait_s=0.01) if text_of(body) == "a" else _fail()
    with pytest.raises(EngineError, match="status 501"):
        engine.answer([Prompt(text="a"), Prompt(text="b")], ASKED)

    assert server.hung_up.wait(5)


def _fail() -> Status:
    time.sleep(0.2)
    return Status(code=501)


def test_a_deadline_ends_the_request_on_the_server_and_keeps_what_came(
    server: FakeServer, connect_to: Connect
) -> None:
    """Counts are those of the part."""
    server.behaviour.say = lambda *_: Said(text=None, wait_s=0.02)
    engine = connect_to(server)
    (answer,) = engine.answer([Prompt(text="a")], ASKED, deadline=time.monotonic() + 0.5)

    assert isinstance(answer, Answer)
    assert answer.finish_reason == "deadline"
    assert 0 < len(answer.text) == answer.output_tokens
    assert set(answer.text) == {"x"}
    assert server.hung_up.wait(5)


def test_a_deadline_that_has_passed_asks_nothing(server: FakeServer, connect_to: Connect) -> None:
    """The answer is empty."""
    engine = connect_to(server)
    (answer,) = engine.answer([Prompt(text="a")], ASKED, deadline=time.monotonic() - 1)

    assert isinstance(answer, Answer)
    assert (answer.finish_reason, answer.text, server.streamed) == ("deadline", "", [])


def test_a_cancelled_call_ends_its_requests(server: FakeServer, connect_to: Connect) -> None:
    """From another thread."""
    cancelled = Event()

    def say(_: Body, number: int) -> Reply:
        if number == 1:
            Timer(0.2, cancelled.set).start()
        return Said(text=None, wait_s=0.02)

    server.behaviour.say = say
    answers = connect_to(server).answer([Prompt(text="a")] * 2, ASKED, cancelled=cancelled)

    assert [answer.finish_reason for answer in answers if isinstance(answer, Answer)] == ["cancelled"] * 2
    assert server.hung_up.wait(5)


def test_a_stop_text_ends_the_request_on_the_server(server: FakeServer, connect_to: Connect) -> None:
    """It is looked for in the answer only, not in the thoughts."""
    server.behaviour.say = lambda *_: Said(text="a, b." + "x" * 9999, reasoning="b.", wait_s=0.001)
    generation = GenerationConfig(stop=("b.", "zz"), enable_thinking=True)
    (answer,) = connect_to(server).answer([Prompt(text="a")], generation)

    assert isinstance(answer, Answer)
    assert (answer.text, answer.thinking, answer.finish_reason) == ("a,", "b.", "stop")
    assert server.hung_up.wait(5)
    assert "stop" not in server.streamed[0]


def test_behind_thoughts_an_answer_has_a_limit_of_its_own(server: FakeServer, connect_to: Connect) -> None:
    """The server knows one limit for both, so the engine counts."""
    server.behaviour.say = lambda *_: Said(text="abcdefgh", reasoning="hm", wait_s=0.001)
    generation = GenerationConfig(max_new_tokens=4, enable_thinking=True, max_thinking_tokens=9)
    (answer,) = connect_to(server).answer([Prompt(text="a")], generation)

    assert isinstance(answer, Answer)
    assert (answer.text, answer.thinking, answer.finish_reason) == ("abcd", "hm", "length")
    assert (server.streamed[0]["max_tokens"], server.streamed[0]["thinking_token_budget"]) == (15, 9)


def test_token_scores_have_their_places(server: FakeServer, connect_to: Connect) -> None:
    """The token that ends the turn has none."""
    (answer,) = connect_to(server).answer([Prompt(text="a", needs_token_scores=True)], ASKED)

    assert isinstance(answer, Answer)
    assert answer.token_scores == tuple(
        TokenScore(start=place, end=place + 1, log_probability=-(place + 1) / 10, free_log_probability=-1.0)
        for place in range(3)
    )


def test_the_next_server_is_asked_where_the_first_gives_no_answer(
    server: FakeServer, connect_to: Connect
) -> None:
    """At once, and with the same question."""
    with serving() as second:
        engine = connect_to(server, second)
        server.behaviour.say = lambda *_: Status(code=503)
        (answer,) = engine.answer([Prompt(text="a")], ASKED)

        assert isinstance(answer, Answer)
        assert (len(server.streamed), second.streamed) == (1, server.streamed)


def test_a_server_that_gave_no_answer_is_asked_last_for_a_while(
    server: FakeServer, connect_to: Connect
) -> None:
    """A machine that is gone costs one request its time, and not all of them."""
    with serving() as second:
        engine = connect_to(server, second)
        server.behaviour.say = lambda *_: Broken(after=1)
        for _ in range(3):
            engine.answer([Prompt(text="a")], ASKED)

        assert (len(server.streamed), len(second.streamed)) == (1, 3)


def test_a_redirect_is_not_followed(server: FakeServer, connect_to: Connect) -> None:
    """Neither the question nor the key reaches the other place."""
    with serving() as other:
        engine = connect_to(server)
        target = (("location", f"{other.url}/chat/completions"),)
        server.behaviour.say = lambda *_: Status(code=307, headers=target)
        with pytest.raises(EngineError, match="redirects"):
            engine.answer([Prompt(text="a")], ASKED)

        assert other.paths == []


def test_a_key_is_sent_and_never_told(
    server: FakeServer, connect_to: Connect, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Not even where the server repeats it, or all libraries log all they do."""
    caplog.set_level(logging.DEBUG)
    monkeypatch.setenv("TEST_KEY", f" {SECRET}\n")
    engine = connect_to(server, key_env="TEST_KEY")
    for code in (401, 403, 501):
        server.behaviour.say = lambda *_, code=code: Status(code=code, message=f"wrong key {SECRET}")
        with pytest.raises(EngineError) as caught:
            engine.answer([Prompt(text="a")], ASKED)
        assert SECRET not in str(caught.value)
        assert caught.value.__cause__ is None
        assert ("TEST_KEY" in str(caught.value)) is (code != 501)

    assert {headers["authorization"] for headers in server.headers} == {f"Bearer {SECRET}"}
    assert "chat/completions" in caplog.text
    assert SECRET not in caplog.text + repr(engine)


def test_nothing_of_the_environment_is_sent(
    server: FakeServer, connect_to: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A key for another service is none for this one, and no proxy sees the questions."""
    for name in ("OPENAI_API_KEY", "OPENAI_ORG_ID", "OPENAI_PROJECT_ID"):
        monkeypatch.setenv(name, SECRET)
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    connect_to(server).answer([Prompt(text="a")], ASKED)

    assert all("authorization" not in headers for headers in server.headers)
    assert SECRET not in str(server.headers)


def test_plain_http_to_an_address_outside_is_refused_before_anything_is_sent(
    server: FakeServer, connect_to: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What counts is where the connection leads, not what the name says."""
    monkeypatch.setattr("gemma4_block.servers._PRIVATE_NETWORKS", ())
    with pytest.raises(EngineError, match=r"leads to 127\.0\.0\.1, no address of this machine"):
        connect_to(server)

    assert server.paths == []


def test_an_empty_key_is_refused(
    server: FakeServer, connect_to: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The variable is named."""
    monkeypatch.setenv("TEST_KEY", "two words")
    with pytest.raises(ConfigurationError, match="TEST_KEY"):
        connect_to(server, key_env="TEST_KEY")


def test_a_closed_engine_refuses_and_ends_what_is_under_way(server: FakeServer, connect_to: Connect) -> None:
    """Closing twice does nothing."""
    server.behaviour.say = lambda *_: Said(text=None, wait_s=0.02)
    engine = connect_to(server)
    with ThreadPoolExecutor(1) as threads:
        call = threads.submit(engine.answer, [Prompt(text="a")], ASKED)
        while not server.streamed:
            time.sleep(0.01)
        engine.close()
        with pytest.raises(EngineError, match="closed"):
            call.result(10)
    engine.close()

    assert server.hung_up.wait(5)
    with pytest.raises(EngineError, match="closed"):
        engine.answer([Prompt(text="a")], ASKED)


def test_a_forked_process_is_refused(server: FakeServer, connect_to: Connect) -> None:
    """The thread that speaks to the server is not there."""
    engine = connect_to(server)
    child = os.fork()
    if child == 0:
        try:
            engine.answer([Prompt(text="a")], ASKED)
        except EngineError as error:
            os._exit(7 if "forked" in str(error) else 1)
        os._exit(2)

    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7


def test_sampling_and_system_prompts_are_sent(server: FakeServer, connect_to: Connect) -> None:
    """What is left out is what the checkpoint says; blank system prompts are none."""
    engine = connect_to(server)
    generation = GenerationConfig(
        max_new_tokens=5, do_sample=True, temperature=0.5, top_p=0.9, top_k=7, seed=0, repetition_penalty=1.2
    )
    engine.answer([Prompt(text=" a ", system=" be brief ")], generation)
    engine.answer([Prompt(text="a", system=" ")], GenerationConfig(do_sample=True, max_new_tokens=5000))
    full, bare = server.streamed

    assert {name: full[name] for name in ("temperature", "top_p", "top_k", "seed", "repetition_penalty")} == {
        "temperature": 0.5,
        "top_p": 0.9,
        "top_k": 7,
        "seed": 0,
        "repetition_penalty": 1.2,
    }
    assert full["messages"] == [
        {"role": "system", "content": [{"type": "text", "text": "be brief"}]},
        {"role": "user", "content": [{"type": "text", "text": "a"}]},
    ]
    assert full["max_tokens"] == 5
    # The server has 4096 positions in all.
    assert bare["max_tokens"] == 4096
    assert not {"temperature", "top_p", "top_k", "seed", "repetition_penalty", "logprobs"} & set(bare)
    assert len(bare["messages"]) == 1


def test_no_prompts_ask_nothing(server: FakeServer, connect_to: Connect) -> None:
    """As everywhere."""
    assert connect_to(server).answer([], ASKED) == []


def test_an_engine_that_is_forgotten_gives_its_thread_back(server: FakeServer) -> None:
    """Also where nobody closed it, as the pool does when it unloads a model."""
    entry = Server(model_id="forgotten", urls=(server.url,), model=MODEL)
    engine = connect(entry)
    engine.answer([Prompt(text="a")], ASKED)
    names = {thread.name for thread in threading.enumerate()}
    del engine
    gc.collect()

    assert "gemma4-block-forgotten" in names
    assert "gemma4-block-forgotten" not in {thread.name for thread in threading.enumerate()}
