"""A small OpenAI-compatible server that answers as vLLM does, and misbehaves on request.

Every character is a token, and so is every control token; an image is as many as its budget allows. It holds
answers to a grammar only in so far as the engine's probe can tell.
"""

import base64
import json
import math
import re
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from threading import Event, Lock, Thread
from typing import Any

from PIL import Image

MODEL = "there"
Body = dict[str, Any]
_UNIT_PX = 48
_THOUGHT = "hm"
_SOFT_TOKEN = "\ue000"  # noqa: S105 - stands for a piece of an image
EMPTY_THOUGHT = "<|channel>thought\n<channel|>"
_CONTROL_TOKENS = {"<|channel>": 100, "<channel|>": 101, "<|turn>": 105, "<turn|>": 106}
# Characters come behind the control tokens.
_FIRST_CHARACTER = 1000


@dataclass(frozen=True, kw_only=True)
class Status:
    """Answer with a status, and with a text that may be anything."""

    code: int
    message: str = "as told"
    headers: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, kw_only=True)
class Broken:
    """Break off after so many events, by an event or by closing; below 0 before the status."""

    after: int
    event: str | None = None


@dataclass(frozen=True, kw_only=True)
class Said:
    """Answer with a text, a character an event, waiting before each; with None for ever.

    Before it there may be a thought, which is closed or not.
    """

    text: str | None
    wait_s: float = 0.0
    reasoning: str = ""
    closes: bool = True
    finish_reason: str = "stop"


Reply = Status | Broken | Said


@dataclass(kw_only=True)
class Behaviour:
    """What the server does.

    Attributes:
        say: The reply to a streamed question, by its body and by which one it is, from 0.
        own_length: Budget of an image where a request names none.
        has_budgets: Whether a request may name another.
        has_grammars: Whether it holds to grammars of llguidance.
        has_schemas: Whether it holds to JSON Schemas.
        has_logprobs: Whether it gives log-probabilities.
        has_parser: Whether it tells thoughts from answers.
        begins: What its template begins answers with, by whether the model may think.
        likely: Log-probability of a character or control token, by all text before it; for scoring.
        reads_otherwise: Whether it reads "yes" as other tokens than it writes it in.
        models: What it serves.
        small: A reply to every request that is not streamed; None answers them.
        small_wait_s: How long those wait for it.

    """

    say: Callable[[Body, int], Reply] = lambda _body, _number: Said(text="yes")
    own_length: int = 280
    has_budgets: bool = True
    has_grammars: bool = True
    has_schemas: bool = True
    has_logprobs: bool = True
    has_parser: bool = True
    begins: Callable[[bool], str] = lambda _thinks: ""
    likely: Callable[[str, str], float] = lambda _before, _character: -1.0
    reads_otherwise: bool = False
    models: Sequence[str] = (MODEL,)
    small: Status | None = None
    small_wait_s: float = 0.0


@dataclass(kw_only=True)
class FakeServer:
    """A running server.

    Attributes:
        url: Where it is.
        behaviour: What it does; may be changed.
        streamed: The bodies of streamed questions so far.
        small: Those of the others.
        headers: Of all requests, in small letters.
        most_at_once: Streamed questions that were answered at the same time.
        hung_up: Set once a client closed the connection in the middle of an answer.

    """

    url: str
    behaviour: Behaviour
    streamed: list[Body] = field(default_factory=list)
    small: list[Body] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)
    most_at_once: int = 0
    at_once: int = 0
    hung_up: Event = field(default_factory=Event)
    lock: Lock = field(default_factory=Lock)


@contextmanager
def serving(behaviour: Behaviour | None = None) -> Iterator[FakeServer]:
    """Run a server on a free port until the end of the block."""
    server = _Server(("127.0.0.1", 0), _Handler)
    server.fake = FakeServer(
        url=f"http://127.0.0.1:{server.server_port}/v1",
        behaviour=Behaviour() if behaviour is None else behaviour,
    )
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server.fake
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Server(ThreadingHTTPServer):
    fake: FakeServer
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing: connections are closed on purpose here."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def do_GET(self) -> None:
        self._note()
        behaviour = self.server.fake.behaviour
        if behaviour.small is not None:
            self._refuse(behaviour.small)
            return
        found = [{"id": model, "max_model_len": 4096} for model in behaviour.models]
        self._send_json(200, {"object": "list", "data": found})

    def do_POST(self) -> None:
        self._note()
        fake = self.server.fake
        body: Body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        if not body.get("stream"):
            fake.small.append(body)
            time.sleep(fake.behaviour.small_wait_s)
            if fake.behaviour.small is not None:
                self._refuse(fake.behaviour.small)
            else:
                self._complete(body)
            return
        with fake.lock:
            number = len(fake.streamed)
            fake.streamed.append(body)
            fake.at_once += 1
            fake.most_at_once = max(fake.most_at_once, fake.at_once)
        try:
            reply = fake.behaviour.say(body, number)
            if isinstance(reply, Status):
                self._refuse(reply)
            elif isinstance(reply, Broken) and reply.after < 0:
                self.close_connection = True
            else:
                self._stream(reply, body)
        finally:
            with fake.lock:
                fake.at_once -= 1

    def log_message(self, *arguments: object) -> None:
        """Say nothing: a test that fails has enough to show."""

    def _note(self) -> None:
        self.server.fake.headers.append({name.lower(): value for name, value in self.headers.items()})
        self.server.fake.paths.append(self.path)

    def _refuse(self, status: Status) -> None:
        error = {"error": {"message": status.message, "code": status.code}}
        self._send_json(status.code, error, status.headers)

    def _send_json(self, code: int, value: object, headers: Sequence[tuple[str, str]] = ()) -> None:
        data = json.dumps(value).encode()
        self.send_response(code)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(data)))
        for name, text in headers:
            self.send_header(name, text)
        self.end_headers()
        self.wfile.write(data)

    def _stream(self, reply: Broken | Said, body: Body) -> None:
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header("connection", "close")
        self.end_headers()
        self.close_connection = True
        try:
            for event in _write_events(reply, body, self.server.fake.behaviour):
                self.wfile.write(f"data: {event}\n\n".encode())
                self.wfile.flush()
        except OSError:
            self.server.fake.hung_up.set()

    def _complete(self, body: Body) -> None:
        behaviour = self.server.fake.behaviour
        prompt = _render(body, behaviour)
        message: Body = {"role": "assistant", "content": "a"}
        if "zq-17" in json.dumps(body.get("structured_outputs", "")) and behaviour.has_grammars:
            message["content"] = '"zq-17"'
        if "zq-17" in json.dumps(body.get("response_format", "")) and behaviour.has_schemas:
            message["content"] = '"zq-17"'
        if body.get("chat_template_kwargs"):
            thought = "" if body.get("thinking_token_budget") == 1 else _THOUGHT
            message |= {"reasoning": thought} if behaviour.has_parser else {"content": "thought\nhm a"}
        choice: Body = {"index": 0, "message": message, "finish_reason": "stop"}
        ids = [find_id(token) for token in prompt]
        answer: Body = {"prompt_token_ids": ids, "choices": [choice], "usage": _count(prompt, 1)}
        if behaviour.has_logprobs:
            if body.get("logprobs"):
                choice["logprobs"] = {"content": [_list_likely("".join(prompt), body, behaviour)]}
            if body.get("prompt_logprobs") is not None:
                answer["prompt_logprobs"] = [None] + [
                    {str(find_id(token)): {"logprob": behaviour.likely("".join(prompt[:place]), token)}}
                    for place, token in enumerate(prompt)
                    if place
                ]
        self._send_json(200, answer)


def _write_events(reply: Broken | Said, body: Body, behaviour: Behaviour) -> Iterator[str]:
    prompt = _render(body, behaviour)
    text = "yes" if isinstance(reply, Broken) else reply.text
    letters: Iterator[str] = iter("x" for _ in iter(int, 1)) if text is None else iter(text)
    made = 0
    for token, delta in _think(reply) if isinstance(reply, Said) else ():
        made += 1
        yield _write_event(delta, token, body, prompt, made)
    for place, letter in enumerate(letters):
        if isinstance(reply, Broken) and place >= reply.after:
            if reply.event is not None:
                yield reply.event
            return
        if isinstance(reply, Said):
            time.sleep(reply.wait_s)
        made += 1
        yield _write_event({"content": letter}, letter, body, prompt, made)
    made += 1
    reason = reply.finish_reason if isinstance(reply, Said) else "stop"
    yield _write_event({"content": ""}, "<turn|>", body, prompt, made, finish_reason=reason)
    yield "[DONE]"


def _think(reply: Said) -> Iterator[tuple[str, Body]]:
    """Yield the tokens of a thought; those that are no part of it come without text."""
    if reply.reasoning:
        yield "<|channel>", {}
        yield from ((letter, {}) for letter in "thought\n")
        yield from ((letter, {"reasoning": letter}) for letter in reply.reasoning)
    if reply.reasoning and reply.closes:
        yield "<channel|>", {}


def _write_event(
    delta: Body, token: str, body: Body, prompt: Sequence[str], made: int, *, finish_reason: str | None = None
) -> str:
    choice: Body = {"index": 0, "delta": delta, "token_ids": [find_id(token)], "finish_reason": finish_reason}
    if body.get("logprobs"):
        score = {"token": token, "logprob": -made / 10, "bytes": list(token.encode()), "top_logprobs": []}
        choice["logprobs"] = {"content": [score]}
    event: Body = {"choices": [choice]}
    if made == 1:
        event["prompt_token_ids"] = [find_id(token) for token in prompt]
    if body["stream_options"].get("continuous_usage_stats"):
        event["usage"] = _count(prompt, made)
    return json.dumps(event)


def _list_likely(text: str, body: Body, behaviour: Behaviour) -> Body:
    asked = body.get("logprob_token_ids", [find_id("a")])
    likely = [
        {
            "token": f"token_id:{token_id}",
            "logprob": behaviour.likely(text, chr(token_id - _FIRST_CHARACTER)),
        }
        for token_id in asked
    ]
    return {**likely[0], "bytes": [97], "top_logprobs": likely}


def find_id(token: str) -> int:
    """Return the id of a token."""
    return _CONTROL_TOKENS[token] if token in _CONTROL_TOKENS else _FIRST_CHARACTER + ord(token)


def _render(body: Body, behaviour: Behaviour) -> list[str]:
    """Return the prompt's tokens as a chat template writes them: texts, soft tokens and control tokens."""
    rendered = ""
    for message in body["messages"]:
        rendered += f"<|turn>{message['role']}\n"
        for part in message["content"]:
            if part["type"] == "image_url":
                count = _count_soft_tokens(part["image_url"]["url"], body, behaviour)
                rendered += f"({_SOFT_TOKEN * count})"
            else:
                rendered += part["text"].strip()
        rendered += "<turn|>\n"
    if body.get("continue_final_message"):
        rendered = rendered.removesuffix("<turn|>\n")
        if behaviour.reads_otherwise:
            rendered = rendered.replace("yes", "YES")
    else:
        thinks = body.get("chat_template_kwargs", {}).get("enable_thinking", False)
        rendered += "<|turn>model\n" + behaviour.begins(thinks)
    pattern = "|".join(map(re.escape, _CONTROL_TOKENS))
    return re.findall(f"{pattern}|.", rendered, re.DOTALL)


def _count_soft_tokens(url: str, body: Body, behaviour: Behaviour) -> int:
    width, height = read_image(url).size
    asked = body.get("mm_processor_kwargs", {}).get("max_soft_tokens", behaviour.own_length)
    budget = asked if behaviour.has_budgets else behaviour.own_length
    scale = math.sqrt(budget * _UNIT_PX**2 / (width * height))
    return math.floor(scale * width / _UNIT_PX) * math.floor(scale * height / _UNIT_PX)


def read_image(url: str) -> Image.Image:
    """Return the image of a data URL."""
    matched = re.fullmatch(r"data:image/(png|webp);base64,(.*)", url)
    assert matched is not None, url[:40]
    return Image.open(BytesIO(base64.b64decode(matched[2])))


def _count(prompt: Sequence[str], made: int) -> Body:
    return {"prompt_tokens": len(prompt), "completion_tokens": made}
