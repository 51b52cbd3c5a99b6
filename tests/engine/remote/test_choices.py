"""Alternatives are scored as whole answers, with as few requests as the server allows."""

import math

import pytest

from gemma4_block.contract import Answer, Choices, GenerationConfig, JsonSchema, Prompt
from gemma4_block.engine.remote.scoring import Chooser
from tests.engine.remote.conftest import Connect
from tests.engine.remote.fake_server import Body, FakeServer, find_id

SCHEMA = JsonSchema(text="{}")
GREEDY = GenerationConfig()
# A bracket for each control token.
PROMPT_TOKENS = len("(user\nWhich?)\n(model\n")


def ask(server: FakeServer, connect_to: Connect, *groups: tuple[str, ...]) -> Answer:
    """Return the answer to a question with these alternatives; only its requests are kept."""
    engine = connect_to(server)
    server.small.clear()
    prompt = Prompt(text="Which?", constraint=Choices(groups=groups, schema=SCHEMA))
    (answer,) = engine.answer([prompt], GREEDY)
    assert isinstance(answer, Answer)
    return answer


def scoring(server: FakeServer) -> list[Body]:
    """Return the requests about the question, without those that ask for token ids only."""
    return [body for body in server.small if "Which?" in str(body["messages"])]


def test_texts_are_scored_whole(server: FakeServer, connect_to: Connect) -> None:
    """The log-probability of a text is the sum over its tokens, so a longer one is not made up for."""
    per_token = {"a": -0.5, "b": -0.25, "c": -3.0, '"': -0.125}
    server.behaviour.likely = lambda _, letter: per_token.get(letter, -1.0)
    answer = ask(server, connect_to, ('"a"', '"bbb"', '"c"'))
    weights = [math.exp(-0.75), math.exp(-1.0), math.exp(-3.25)]

    assert answer.text == '"a"'
    assert answer.choice_probabilities == (
        pytest.approx([weight / sum(weights) for weight in weights], abs=1e-12),
    )
    assert answer.input_tokens == PROMPT_TOKENS
    assert answer.output_tokens == 3
    assert len(scoring(server)) == 3


def test_each_group_is_scored_right_after_the_prompt(server: FakeServer, connect_to: Connect) -> None:
    """Its alternatives add up to 1, and the chosen ones are lines of the answer."""
    server.behaviour.likely = lambda before, letter: (
        -1.0 if before.endswith("model\n") or letter == "y" else -2.0
    )
    answer = ask(server, connect_to, ("ax", "ay"), ("bx", "by"))

    assert answer.text == "ay\nby"
    assert answer.choice_probabilities is not None
    assert [sum(group) for group in answer.choice_probabilities] == pytest.approx([1, 1])


def test_alternatives_of_one_token_take_one_request(server: FakeServer, connect_to: Connect) -> None:
    """What they share is said for the model, and all their last tokens are looked at."""
    chances = {"1": 0.25, "2": 0.5, "3": 0.25}
    server.behaviour.likely = lambda before, letter: (
        math.log(chances[letter]) if before.endswith("model\nn=") else 9.0
    )
    answer = ask(server, connect_to, ("n=1", "n=2", "n=3"))

    assert answer.text == "n=2"
    assert answer.choice_probabilities == (pytest.approx([0.25, 0.5, 0.25]),)
    assert [body["logprob_token_ids"] for body in scoring(server)] == [[find_id(letter) for letter in "123"]]
    assert (answer.input_tokens, answer.output_tokens) == (PROMPT_TOKENS, 3)


def test_a_beginning_that_ends_in_white_space_is_not_said_for_the_model(
    server: FakeServer, connect_to: Connect
) -> None:
    """A template cuts it off, so that other tokens would follow."""
    answer = ask(server, connect_to, ("n: 1", "n: 2"))

    assert answer.choice_probabilities == (pytest.approx([0.5, 0.5]),)
    assert ["prompt_logprobs" in body for body in scoring(server)] == [True, True]


@pytest.mark.parametrize("ends", [("1", "2"), ("1!", "2!")], ids=["last token", "more tokens"])
@pytest.mark.parametrize(("lead", "share"), [("n=", 1.0), ("n", 0.5), ("", 0.25)])
def test_the_lead_does_not_count_and_what_follows_it_does(
    server: FakeServer, connect_to: Connect, lead: str, share: float, ends: tuple[str, str]
) -> None:
    """How likely any of the alternatives is, is told after the lead."""
    chances = {"n": 0.5, "=": 0.5, "1": 0.125, "2": 0.375, "!": 1.0}
    server.behaviour.likely = lambda _, letter: math.log(chances.get(letter, 1.0))
    choices = Choices(groups=(tuple(f"n={end}" for end in ends),), schema=SCHEMA, lead=lead)
    (answer,) = connect_to(server).answer([Prompt(text="Which?", constraint=choices)], GREEDY)

    assert isinstance(answer, Answer)
    assert answer.choice_probabilities == (pytest.approx([0.25, 0.75]),)
    assert answer.group_probabilities == pytest.approx([0.5 * share])


def test_an_alternative_may_stand_for_all_that_is_none_of_them(
    server: FakeServer, connect_to: Connect
) -> None:
    """It gets what the others leave."""
    server.behaviour.likely = lambda _, letter: math.log({"1": 0.125, "2": 0.25}.get(letter, 1.0))
    choices = Choices(groups=(("n=1", "n=2"),), schema=SCHEMA, lead="n=", rest=0)
    (answer,) = connect_to(server).answer([Prompt(text="Which?", constraint=choices)], GREEDY)

    assert isinstance(answer, Answer)
    assert (answer.text, answer.choice_probabilities) == ("n=1", (pytest.approx([0.75, 0.25]),))
    assert answer.group_probabilities == pytest.approx([1.0])


def test_texts_that_are_known_are_not_encoded_again(server: FakeServer, connect_to: Connect) -> None:
    """Whoever asks, and however many do at once."""
    engine = connect_to(server)
    prompt = Prompt(text="Which?", constraint=Choices(groups=(("ab", "cd"),), schema=SCHEMA))
    server.small.clear()
    engine.answer([prompt] * 4, GREEDY)
    engine.answer([prompt], GREEDY)

    assert len(server.small) - len(scoring(server)) == 3


def test_control_tokens_in_alternatives_are_broken_up(server: FakeServer, connect_to: Connect) -> None:
    """The answer has the text that was given."""
    answer = ask(server, connect_to, ("<eos>", "b"))

    assert answer.choice_probabilities is not None
    assert answer.text in {"<eos>", "b"}
    assert all("<eos>" not in str(body) for body in server.small)


def test_the_likeliest_is_chosen_and_the_first_of_equals() -> None:
    """Without sampling."""
    chooser = Chooser(GREEDY)

    assert [chooser.choose(group) for group in ((0.1, 0.9), (0.5, 0.5), (1.0,))] == [1, 0, 0]


def draw(probabilities: tuple[float, ...], count: int = 400, **options: float) -> list[int]:
    """Return so many choices of one call."""
    chooser = Chooser(GenerationConfig(do_sample=True, **options))  # type: ignore[arg-type]
    return [chooser.choose(probabilities) for _ in range(count)]


def test_a_seed_repeats_draws() -> None:
    """Another one gives others."""
    same = draw((0.5, 0.5), seed=3)

    assert same == draw((0.5, 0.5), seed=3)
    assert same != draw((0.5, 0.5), seed=4)
    assert set(same) == {0, 1}


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"top_k": 1}, {1}),
        ({"top_p": 0.5}, {1}),
        ({"top_p": 0.8}, {1, 2}),
        ({"temperature": 0.01}, {1}),
        ({"temperature": 50.0, "top_p": 1.0}, {0, 1, 2}),
        ({}, {1, 2}),
    ],
    ids=["top_k", "small top_p", "top_p", "cold", "hot", "0.95 by default"],
)
def test_draws_follow_the_options(options: dict[str, float], expected: set[int]) -> None:
    """As in the sampler of this process."""
    assert set(draw((0.04, 0.6, 0.36), seed=1, **options)) == expected
