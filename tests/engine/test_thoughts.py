"""Thoughts and answer are told apart on ids."""

import pytest

from gemma4_block.engine.gemma4.thoughts import split_thoughts, strip_channel_name

OPENS, CLOSES = 100, 101


@pytest.mark.parametrize(
    ("ids", "thought", "answer"),
    [
        pytest.param([7, 8], (), (7, 8), id="no channel"),
        pytest.param([OPENS, CLOSES, 7], (), (7,), id="empty channel"),
        pytest.param([OPENS, 5, 6, CLOSES, 7], (5, 6), (7,), id="thought then answer"),
        pytest.param([OPENS, 5, 6], (5, 6), (), id="never closed"),
        pytest.param([5, 6, CLOSES, 7], (5, 6), (7,), id="opened in the prompt"),
        pytest.param([7, OPENS, 5, CLOSES, 8], (5,), (7, 8), id="channel inside the answer"),
        pytest.param([OPENS, 5, CLOSES, OPENS, 6, CLOSES, 7], (5, 6), (7,), id="two channels"),
        pytest.param([], (), (), id="nothing"),
    ],
)
def test_thought_and_answer_ids_are_split(
    ids: list[int], thought: tuple[int, ...], answer: tuple[int, ...]
) -> None:
    """Ids between the channel tokens are thought, all others answer."""
    spoken = split_thoughts(ids, opens=OPENS, closes=CLOSES)

    assert (thought, answer) == (
        tuple(ids[place] for place in spoken.thought_places),
        tuple(ids[place] for place in spoken.answer_places),
    )


def test_a_tokenizer_without_channels_has_no_thoughts() -> None:
    """Without channel ids everything is the answer."""
    assert split_thoughts([100, 5, 101], opens=None, closes=None).answer_places == (0, 1, 2)


@pytest.mark.parametrize(
    ("thought", "expected"),
    [("thought\nred, blue", "red, blue"), ("red\nblue", "red\nblue"), ("thought\n", ""), ("", "")],
)
def test_the_channel_name_is_no_part_of_the_thought(thought: str, expected: str) -> None:
    """Only a first line that says `thought` is dropped."""
    assert expected == strip_channel_name(thought)
