"""What a server cannot do is found out before it is relied on, and said."""

import json
import logging
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest

from gemma4_block.contract import (
    IMAGE_SEQ_LENGTHS,
    Answer,
    Capabilities,
    Choices,
    GenerationConfig,
    JsonSchema,
    Prompt,
)
from gemma4_block.engine.remote import inspect_server
from gemma4_block.errors import ConfigurationError, EngineError, PromptError
from gemma4_block.servers import Server
from tests.engine.remote.conftest import Connect
from tests.engine.remote.fake_server import EMPTY_THOUGHT, MODEL, Behaviour, FakeServer, Said, Status

GREY = np.full((96, 96, 3), 90, np.uint8)
COUNT = JsonSchema(
    text=json.dumps({"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]})
)


def test_a_server_that_can_do_all_is_said_nothing_about(
    server: FakeServer, connect_to: Connect, caplog: pytest.LogCaptureFixture
) -> None:
    """The budgets are those that the operator names."""
    engine = connect_to(server, image_seq_lengths=(70, 280))

    assert engine.capabilities == Capabilities(image_seq_lengths=(70, 280))
    assert caplog.messages == []


@dataclass(frozen=True, kw_only=True)
class Lack:
    """A server that lacks something, what is said about it, and what the engine then claims."""

    change: Callable[[Behaviour], None]
    words: str
    capabilities: Capabilities


def lack(change: dict[str, object], words: str, **capabilities: object) -> Lack:
    """Return a lack by the fields that differ."""

    def apply(behaviour: Behaviour) -> None:
        for name, value in change.items():
            setattr(behaviour, name, value)

    lengths = capabilities.pop("image_seq_lengths", IMAGE_SEQ_LENGTHS)
    return Lack(
        change=apply,
        words=words,
        capabilities=Capabilities(image_seq_lengths=lengths, **capabilities),  # type: ignore[arg-type]
    )


LACKS = {
    "budgets": lack(
        {"has_budgets": False, "own_length": 140}, "trust-request-mm-kwargs", image_seq_lengths=(140,)
    ),
    "grammars": lack({"has_grammars": False}, "run into blanks"),
    "schemas": lack({"has_grammars": False, "has_schemas": False}, "ignores JSON Schemas"),
    "log-probabilities": lack(
        {"has_logprobs": False}, "tokens have no scores", has_token_scores=False, has_choices=False
    ),
    "scoring": lack({"begins": lambda _: "So: "}, "boxes have no confidence", has_choices=False),
    "scoring behind thoughts": lack(
        {"begins": lambda thinks: "Hm: " if thinks else ""}, "cannot score answers behind thoughts"
    ),
    "thoughts": lack({"has_parser": False}, "--reasoning-parser gemma4", has_thinking_allowance=False),
}


@pytest.mark.parametrize("name", LACKS)
def test_a_lack_is_logged_and_declared(
    server: FakeServer, connect_to: Connect, caplog: pytest.LogCaptureFixture, name: str
) -> None:
    """Once, with what to do."""
    LACKS[name].change(server.behaviour)
    with caplog.at_level(logging.WARNING, "gemma4_block"):
        engine = connect_to(server)

    assert LACKS[name].words in caplog.text
    assert engine.capabilities == LACKS[name].capabilities


def test_an_empty_thought_before_answers_is_no_lack(
    server: FakeServer, connect_to: Connect, caplog: pytest.LogCaptureFixture
) -> None:
    """The templates of 12B, 26B and 31B put it there where thoughts are off."""
    server.behaviour.begins = lambda thinks: "" if thinks else EMPTY_THOUGHT
    engine = connect_to(server)

    assert engine.capabilities == Capabilities(image_seq_lengths=IMAGE_SEQ_LENGTHS)
    assert caplog.messages == []


def test_a_report_says_the_same(server: FakeServer) -> None:
    """For `doctor`."""
    server.behaviour.has_budgets = False
    report = inspect_server(Server(model_id="a", urls=(server.url,), model=MODEL), server.url)

    assert report.context_tokens == 4096
    assert [text.split(":")[0] for text in report.lacks] == ["image_seq_length stays at the server's own"]


def test_a_wrong_model_is_named_with_those_that_are_there(server: FakeServer, connect_to: Connect) -> None:
    """So that the map can be corrected."""
    server.behaviour.models = ("one", "two")
    with pytest.raises(EngineError, match=r"has no model there; it has one, two\."):
        connect_to(server)


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (Status(code=401), "refuses the key .status 401.. Name the variable"),
        (Status(code=404, message="Not Found"), "no server of models"),
        (Status(code=200, message="Welcome"), "another form than OpenAI's"),
    ],
    ids=["key", "path", "another service"],
)
def test_a_server_that_refuses_is_an_error_at_once(
    server: FakeServer, connect_to: Connect, status: Status, words: str
) -> None:
    """What is wrong with the map is said when it is first used."""
    server.behaviour.small = status
    with pytest.raises(EngineError, match=words):
        connect_to(server)


def test_a_budget_that_the_model_was_not_trained_for_becomes_the_nearest(
    server: FakeServer, connect_to: Connect, caplog: pytest.LogCaptureFixture
) -> None:
    """As in this process: the operator says in the map what it was trained for."""
    engine = connect_to(server, image_seq_lengths=(70, 140))
    prompts = [Prompt(text="a", images=(GREY,), image_seq_length=length) for length in (70, 1120, 1120)]
    engine.answer(prompts, GenerationConfig())

    sent = sorted(body["mm_processor_kwargs"]["max_soft_tokens"] for body in server.streamed)
    assert sent == [70, 140, 140]
    assert caplog.messages == [
        "image_seq_length 1120 is none that gemma-4-e2b-it was trained for (70, 140): 140 is taken instead."
    ]


def test_another_budget_than_the_servers_own_is_refused(server: FakeServer, connect_to: Connect) -> None:
    """Its own may be asked for by name, or left out."""
    server.behaviour.has_budgets = False
    engine = connect_to(server)
    prompts = [Prompt(text="a", images=(GREY,), image_seq_length=length) for length in (280, None, 70)]
    own, unnamed, other = engine.answer(prompts, GenerationConfig())

    assert isinstance(own, Answer)
    assert own == unnamed
    assert isinstance(other, PromptError)
    assert "image_seq_length is 70, and the server of gemma-4-e2b-it has 280" in str(other)
    assert all("mm_processor_kwargs" not in body for body in server.streamed)


def test_thoughts_that_cannot_be_told_apart_are_refused(server: FakeServer, connect_to: Connect) -> None:
    """They would be glued to the answer."""
    server.behaviour.has_parser = False
    with pytest.raises(ConfigurationError, match="enable_thinking is on"):
        connect_to(server).answer([Prompt(text="a")], GenerationConfig(enable_thinking=True))


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        pytest.param('{"n": 3}', '{"n": 3}', id="as asked"),
        pytest.param('{\n "n":3}', '{"n": 3}', id="white space"),
        pytest.param('Sure:\n```json\n{"n": 3}\n```', '{"n": 3}', id="in prose"),
        pytest.param('{"m": 3} or {"n": 4}', '{"n": 4}', id="a later one"),
        pytest.param('{"n": "three"}', None, id="another type"),
        pytest.param("three", None, id="no JSON"),
        pytest.param("", None, id="nothing"),
    ],
)
def test_where_a_server_ignores_schemas_answers_are_checked(
    server: FakeServer, connect_to: Connect, said: str, expected: str | None
) -> None:
    """JSON that matches is found and written in our form; anything else fails in its own place."""
    server.behaviour.has_grammars = server.behaviour.has_schemas = False
    server.behaviour.say = lambda *_: Said(text=said)
    (answer,) = connect_to(server).answer([Prompt(text="a", constraint=COUNT)], GenerationConfig())

    assert (answer.text if isinstance(answer, Answer) else None) == expected
    if isinstance(answer, PromptError):
        assert "does not match the JSON Schema" in str(answer)
    assert not {"structured_outputs", "response_format"} & set(server.streamed[0])


def test_an_answer_that_was_cut_off_is_not_checked(server: FakeServer, connect_to: Connect) -> None:
    """Its task says what to do."""
    server.behaviour.say = lambda *_: Said(text='{"n"', finish_reason="length")
    (answer,) = connect_to(server).answer([Prompt(text="a", constraint=COUNT)], GenerationConfig())

    assert isinstance(answer, Answer)
    assert (answer.text, answer.finish_reason) == ('{"n"', "length")


@pytest.mark.parametrize(
    ("has_grammars", "where"), [(True, "structured_outputs"), (False, "response_format")]
)
def test_a_schema_is_told_in_the_form_that_the_server_knows(
    server: FakeServer,
    connect_to: Connect,
    has_grammars: bool,  # noqa: FBT001 - a table
    where: str,
) -> None:
    """A grammar without white space where it can be."""
    server.behaviour.has_grammars = has_grammars
    server.behaviour.say = lambda *_: Said(text='{"n": 1}')
    connect_to(server).answer([Prompt(text="a", constraint=COUNT)], GenerationConfig())

    assert {"structured_outputs", "response_format"} & set(server.streamed[0]) == {where}
    assert ('"whitespace_flexible": false' in str(server.streamed[0][where])) is has_grammars


def test_a_schema_that_cannot_be_used_fails_in_its_own_place(server: FakeServer, connect_to: Connect) -> None:
    """It is not sent."""
    prompt = Prompt(text="a", constraint=JsonSchema(text='{"type": "nope"}'))
    (refused,) = connect_to(server).answer([prompt], GenerationConfig())

    assert isinstance(refused, PromptError)
    assert server.streamed == []


def test_choices_that_cannot_be_scored_are_held_to_their_schema(
    server: FakeServer, connect_to: Connect
) -> None:
    """The answer has no probabilities."""
    server.behaviour.has_logprobs = False
    server.behaviour.say = lambda *_: Said(text='{"n": 1}')
    prompt = Prompt(text="a", constraint=Choices(groups=(("x", "y"),), schema=COUNT))
    (answer,) = connect_to(server).answer([prompt], GenerationConfig())

    assert isinstance(answer, Answer)
    assert (answer.text, answer.choice_probabilities) == ('{"n": 1}', None)
