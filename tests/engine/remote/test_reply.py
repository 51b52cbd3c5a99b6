"""A streamed reply is put together, and ended where there is enough of it."""

import pytest

from gemma4_block.contract import GenerationConfig
from gemma4_block.engine.remote.reply import Reply
from gemma4_block.engine.remote.wire import Chunk


def read(*texts: str, generation: GenerationConfig | None = None) -> tuple[str, str]:
    """Return thoughts and answer of chunks with these texts, all content."""
    reply = Reply(GenerationConfig() if generation is None else generation, image_tokens=0)
    for text in texts:
        reply.take(Chunk.model_validate({"choices": [{"delta": {"content": text}}]}))
    answer = reply.read("stop")
    return answer.thinking, answer.text


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        (("a", "b"), ("", "ab")),
        (("red, ", "blue<channel|>2", " shapes"), ("red, blue", "2 shapes")),
        (("thought\nred", "<channel|>", "2"), ("red", "2")),
        (("a<channel|>b", "<channel|>c"), ("a", "bc")),
        (("<channel|>2",), ("", "2")),
    ],
    ids=["none", "closed", "named", "closed twice", "empty"],
)
def test_what_stands_before_a_thought_is_closed_is_the_thought(
    texts: tuple[str, ...], expected: tuple[str, str]
) -> None:
    """Also where it was never opened, as in this process."""
    assert read(*texts) == expected


def test_a_stop_text_before_a_thought_is_closed_counts_where_it_stands() -> None:
    """Nobody could know then that a thought was going to be closed."""
    assert read("a. b", "<channel|>c", generation=GenerationConfig(stop=(".",))) == ("", "a")


def test_an_event_may_bring_the_end_of_a_thought_and_the_beginning_of_the_answer() -> None:
    """A server that is faster than its reader joins tokens; only those of the answer count."""
    generation = GenerationConfig(max_new_tokens=3, enable_thinking=True, max_thinking_tokens=9)
    reply = Reply(generation, image_tokens=0, needs_token_scores=True)
    scores = [
        {"token": token, "logprob": -place, "bytes": list(token.encode())}
        for place, token in enumerate(["hm", "<channel|>", "a", "b", "c"])
    ]
    thought = {"delta": {"reasoning": "h"}, "token_ids": [7], "logprobs": {"content": scores[:1]}}
    both = {"delta": {"reasoning": "m", "content": "ab"}, "token_ids": [8, 101, 9, 9]}
    last = {"delta": {"content": "c"}, "token_ids": [9], "logprobs": {"content": scores[4:]}}
    reply.take(Chunk.model_validate({"choices": [thought]}))
    reply.take(Chunk.model_validate({"choices": [both | {"logprobs": {"content": scores[1:4]}}]}))
    assert reply.finish_reason is None
    reply.take(Chunk.model_validate({"choices": [last]}))
    answer = reply.read("length")

    assert (reply.finish_reason, answer.thinking, answer.text) == ("length", "hm", "abc")
    assert answer.token_scores is not None
    assert [score.log_probability for score in answer.token_scores] == [-2, -3, -4]


def joined(text: str, *, finish_reason: str | None = None) -> Chunk:
    """Return an event that brings a token for each character."""
    scores = [{"token": letter, "logprob": -1.0, "bytes": list(letter.encode())} for letter in text]
    choice = {
        "delta": {"content": text.rstrip("$")},
        "token_ids": [9] * len(text),
        "logprobs": {"content": scores},
        "finish_reason": finish_reason,
    }
    usage = {"prompt_tokens": 3, "completion_tokens": len(text)}
    return Chunk.model_validate({"choices": [choice], "usage": usage})


@pytest.mark.parametrize(
    ("generation", "event", "expected"),
    [
        pytest.param(GenerationConfig(stop=("c",)), joined("abcde"), ("ab", 3, "stop"), id="stop text"),
        pytest.param(
            GenerationConfig(enable_thinking=True, max_thinking_tokens=5, max_new_tokens=2),
            joined("abcde"),
            ("ab", 2, "length"),
            id="limit",
        ),
        pytest.param(
            GenerationConfig(enable_thinking=True, max_thinking_tokens=5, max_new_tokens=2),
            joined("ab$", finish_reason="stop"),
            ("ab", 2, "length"),
            id="limit before the end of the turn",
        ),
        pytest.param(
            GenerationConfig(enable_thinking=True, max_thinking_tokens=5, max_new_tokens=3),
            joined("ab$", finish_reason="stop"),
            ("ab", 3, "stop"),
            id="end of the turn at the limit",
        ),
    ],
)
def test_what_an_event_brings_behind_the_end_is_not_in_the_answer(
    generation: GenerationConfig, event: Chunk, expected: tuple[str, int, str]
) -> None:
    """Neither in its text nor in its counts, so that an answer does not depend on how fast it was read."""
    reply = Reply(generation, image_tokens=0)
    reply.take(event)
    assert reply.finish_reason is not None
    answer = reply.read(reply.finish_reason)

    assert (answer.text, answer.output_tokens, answer.finish_reason) == expected


@pytest.mark.parametrize("name", ["reasoning", "reasoning_content"])
def test_thoughts_have_two_names(name: str) -> None:
    """The older one is that of vLLM before 0.12, and of other servers."""
    reply = Reply(GenerationConfig(), image_tokens=0)
    reply.take(Chunk.model_validate({"choices": [{"delta": {name: "hm"}}]}))

    assert reply.read("stop").thinking == "hm"
