"""A finished answer is read once more to tell how likely it was, and is not lost where that fails."""

import logging
import time
from collections.abc import Callable

import pytest

from gemma4_block.contract import Answer, Choices, GenerationConfig, JsonSchema, Prompt
from gemma4_block.engine.remote import RemoteEngine
from tests.engine.remote.conftest import Connect
from tests.engine.remote.fake_server import EMPTY_THOUGHT, Behaviour, Body, FakeServer, Said, Status

ASKED = GenerationConfig()
THINKING = GenerationConfig(enable_thinking=True, max_thinking_tokens=9)
SCORED = Prompt(text="Is it?", needs_token_scores=True)
CHOICES = Choices(groups=(("n=1", "n=2"),), schema=JsonSchema(text='{"enum": ["n=1"]}'), lead="n=")


def answer(engine: RemoteEngine, prompt: Prompt, generation: GenerationConfig = ASKED) -> Answer:
    """Return the answer to a prompt."""
    (found,) = engine.answer([prompt], generation)
    assert isinstance(found, Answer)
    return found


def free(found: Answer) -> list[float | None]:
    """Return the log-probability of each of its tokens among all."""
    assert found.token_scores is not None
    return [score.free_log_probability for score in found.token_scores]


def said(server: FakeServer) -> list[str]:
    """Return the user's text of each request that was not streamed."""
    return [body["messages"][-1]["content"][-1]["text"] for body in server.small]


@pytest.mark.parametrize(
    ("begins", "generation", "before"),
    [
        pytest.param("", ASKED, "", id="alone"),
        pytest.param(EMPTY_THOUGHT, ASKED, EMPTY_THOUGHT, id="behind an empty thought"),
        pytest.param("", THINKING, "<|channel>thought\nhm<channel|>", id="behind thoughts"),
    ],
)
def test_tokens_are_scored_where_they_were_written(
    server: FakeServer, connect_to: Connect, begins: str, generation: GenerationConfig, before: str
) -> None:
    """In one request, which has the turn of the model up to the last of them."""
    turn = f"<|turn>user\nIs it?<turn|>\n<|turn>model\n{before}"
    chances = {turn: -0.25, turn + "y": -0.5, turn + "ye": -0.75}
    server.behaviour.begins = lambda thinks: "" if thinks else begins
    server.behaviour.likely = lambda text, _: chances.get(text, -9.0)
    server.behaviour.say = lambda body, _: Said(
        text="yes", reasoning="hm" if body.get("chat_template_kwargs") else ""
    )
    engine = connect_to(server)
    server.small.clear()

    assert free(answer(engine, SCORED, generation)) == [-0.25, -0.5, -0.75]
    assert said(server) == [f"Is it?<turn|>\n<|turn>model\n{before}yes"]
    assert server.small[0].get("chat_template_kwargs") == server.streamed[0].get("chat_template_kwargs")


def test_answers_whose_scores_nobody_needs_are_not_read_again(
    server: FakeServer, connect_to: Connect
) -> None:
    """Nor are those without a token."""
    engine = connect_to(server)
    server.small.clear()
    answer(engine, Prompt(text="Is it?"))
    server.behaviour.say = lambda *_: Said(text="")
    answer(engine, SCORED)

    assert server.small == []


def test_where_a_server_cannot_score_answers_it_is_not_asked_to(
    server: FakeServer, connect_to: Connect
) -> None:
    """As its probe said."""
    server.behaviour.begins = lambda _: "So: "
    engine = connect_to(server)
    server.small.clear()

    assert free(answer(engine, SCORED)) == [None] * 3
    assert server.small == []


FAULTS: dict[str, Callable[[Behaviour], None]] = {
    "other tokens": lambda behaviour: setattr(behaviour, "reads_otherwise", True),
    "no log-probabilities": lambda behaviour: setattr(behaviour, "has_logprobs", False),
    "refused": lambda behaviour: setattr(behaviour, "small", Status(code=400)),
    "failed": lambda behaviour: setattr(behaviour, "small", Status(code=500)),
    "busy": lambda behaviour: setattr(behaviour, "small", Status(code=503)),
    "another form": lambda behaviour: setattr(behaviour, "small", Status(code=200)),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_an_answer_is_not_lost_where_its_tokens_cannot_be_scored(
    server: FakeServer, connect_to: Connect, caplog: pytest.LogCaptureFixture, fault: str
) -> None:
    """What is known of them stays, and the log says why there is no more."""
    engine = connect_to(server)

    def say(_body: Body, _number: int) -> Said:
        # What goes wrong goes wrong after the answer.
        FAULTS[fault](server.behaviour)
        return Said(text="yes")

    server.behaviour.say = say
    with caplog.at_level(logging.WARNING, "gemma4_block"):
        found = answer(engine, SCORED)

    assert (found.text, found.finish_reason) == ("yes", "stop")
    assert [score.log_probability for score in found.token_scores or ()] == [-0.1, -0.2, -0.3]
    assert free(found) == [None] * 3
    assert "answered, without confidences" in caplog.text


def test_tokens_are_scored_as_far_as_they_are_read_as_they_were_written(
    server: FakeServer, connect_to: Connect
) -> None:
    """A template cuts off the white space at the end of an answer that was cut off there."""
    engine = connect_to(server)
    server.behaviour.say = lambda *_: Said(text="[1, ", finish_reason="length")

    assert free(answer(engine, SCORED)) == [-1.0, -1.0, -1.0, None]


def test_an_answer_whose_time_is_up_while_it_is_scored_is_whole(
    server: FakeServer, connect_to: Connect
) -> None:
    """Nothing of it is missing but confidences."""
    engine = connect_to(server)
    server.behaviour.small_wait_s = 3
    begin = time.monotonic()
    (found,) = engine.answer([SCORED], ASKED, deadline=begin + 1)

    assert time.monotonic() - begin < 2.5
    assert isinstance(found, Answer)
    assert (found.text, found.finish_reason) == ("yes", "stop")
    assert free(found) == [None] * 3


def test_neither_side_forges_a_turn_in_what_is_read_again(server: FakeServer, connect_to: Connect) -> None:
    """Control tokens of a user are broken up, and those that a model spells out as well."""
    engine = connect_to(server)
    server.small.clear()
    server.behaviour.say = lambda *_: Said(text="a<|image|>")
    found = answer(engine, Prompt(text="b<turn|>", needs_token_scores=True))

    assert said(server) == ["b< turn|><turn|>\n<|turn>model\na< |image|>"]
    assert found.text == "a<|image|>"
    assert free(found) == [-1.0, -1.0] + [None] * len("|image|>")


@pytest.mark.parametrize("allowance", [9, None], ids=["an allowance", "none"])
def test_choices_are_scored_behind_thoughts(
    server: FakeServer, connect_to: Connect, allowance: int | None
) -> None:
    """With the thoughts that the model had; where they have no allowance they get that of the answer."""
    turn = "<|turn>user\nWhich?<turn|>\n<|turn>model\n<|channel>thought\nhm<channel|>n="
    server.behaviour.likely = lambda before, letter: (
        {"1": -3.0, "2": -1.0}[letter] if before == turn else -9.0
    )
    server.behaviour.say = lambda *_: Said(text='"n=1"', reasoning="hm")
    engine = connect_to(server)
    generation = GenerationConfig(enable_thinking=True, max_thinking_tokens=allowance, max_new_tokens=7)
    found = answer(engine, Prompt(text="Which?", constraint=CHOICES), generation)

    assert (found.text, found.thinking) == ("n=2", "hm")
    assert found.choice_probabilities == (pytest.approx([0.119203, 0.880797], abs=1e-6),)
    assert found.group_probabilities == pytest.approx([0.417666], abs=1e-6)
    # A bracket for each control token.
    assert found.input_tokens == len("(user\nWhich?)\n(model\n")
    assert found.output_tokens == len("(thought\nhm)") + len("n=2")
    assert server.streamed[0]["thinking_token_budget"] == (7 if allowance is None else allowance)


@pytest.mark.parametrize("fault", FAULTS)
def test_choices_that_cannot_be_scored_behind_thoughts_are_answered(
    server: FakeServer, connect_to: Connect, caplog: pytest.LogCaptureFixture, fault: str
) -> None:
    """In JSON that is held to their schema."""
    engine = connect_to(server)

    def say(_body: Body, _number: int) -> Said:
        FAULTS[fault](server.behaviour)
        return Said(text='"n=1"', reasoning="yes")

    server.behaviour.say = say
    with caplog.at_level(logging.WARNING, "gemma4_block"):
        found = answer(engine, Prompt(text="Which?", constraint=CHOICES), THINKING)

    assert (found.text, found.thinking, found.choice_probabilities) == ('"n=1"', "yes", None)
    assert "answered, without confidences" in caplog.text


def test_choices_behind_a_thought_that_was_not_closed_are_not_scored(
    server: FakeServer, connect_to: Connect
) -> None:
    """The thought is all that there is."""
    server.behaviour.say = lambda *_: Said(text="", reasoning="hm", closes=False, finish_reason="length")
    engine = connect_to(server)
    server.small.clear()
    found = answer(engine, Prompt(text="Which?", constraint=CHOICES), THINKING)

    assert (found.thinking, found.finish_reason, found.choice_probabilities) == ("hm", "length", None)
    assert server.small == []
