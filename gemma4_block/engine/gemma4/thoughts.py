"""Tell the model's thoughts from its answer, on token ids."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class Spoken:
    """Which tokens of a reply are thought and which are answer; those of channels are neither.

    Attributes:
        thought_places: Places of the thoughts' tokens in the reply, rising.
        answer_places: Places of the answer's tokens, rising.

    """

    thought_places: tuple[int, ...]
    answer_places: tuple[int, ...]


def split_thoughts(ids: Sequence[int], *, opens: int | None, closes: int | None) -> Spoken:
    """Split generated ids into thoughts and answer.

    Everything between an opening and a closing channel token is thought, also where the channel is never
    closed. A closing token without an opening one belongs to a channel that the prompt had opened.

    Args:
        ids: Generated ids up to, without, the token that ended the turn.
        opens: Id of `<|channel>`; None for a tokenizer without channels.
        closes: Id of `<channel|>`.

    Returns:
        The places of both.

    Example:
        >>> split_thoughts([100, 7, 8, 101, 9], opens=100, closes=101)
        Spoken(thought_places=(1, 2), answer_places=(4,))

    """
    thought: list[int] = []
    answer: list[int] = []
    is_thought = False
    for place, token_id in enumerate(ids):
        if token_id == opens:
            is_thought = True
        elif token_id == closes:
            if not is_thought and not thought:
                thought, answer = answer, []
            is_thought = False
        else:
            (thought if is_thought else answer).append(place)
    return Spoken(thought_places=tuple(thought), answer_places=tuple(answer))


def strip_channel_name(thought: str) -> str:
    """Drop the channel's name, `thought` on a line of its own, from the front of a thought."""
    head, _, rest = thought.partition("\n")
    return rest.strip() if head.strip() == "thought" else thought.strip()
