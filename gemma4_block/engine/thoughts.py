"""Tell the model's thoughts from its answer, on token ids."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class Spoken:
    """Token ids of one reply without control tokens of channels and turn ends."""

    thought_ids: tuple[int, ...]
    answer_ids: tuple[int, ...]


def split_thoughts(ids: Sequence[int], *, opens: int | None, closes: int | None) -> Spoken:
    """Split generated ids into thoughts and answer.

    Everything between an opening and a closing channel token is thought, also where the channel is never
    closed. A closing token without an opening one belongs to a channel that the prompt had opened.

    Args:
        ids: Generated ids up to, without, the token that ended the turn.
        opens: Id of `<|channel>`; None for a tokenizer without channels.
        closes: Id of `<channel|>`.

    Returns:
        Both parts without the channel tokens.

    Example:
        >>> split_thoughts([100, 7, 8, 101, 9], opens=100, closes=101)
        Spoken(thought_ids=(7, 8), answer_ids=(9,))

    """
    thought: list[int] = []
    answer: list[int] = []
    is_thought = False
    for token_id in ids:
        if token_id == opens:
            is_thought = True
        elif token_id == closes:
            if not is_thought and not thought:
                thought, answer = answer, []
            is_thought = False
        else:
            (thought if is_thought else answer).append(token_id)
    return Spoken(thought_ids=tuple(thought), answer_ids=tuple(answer))


def strip_channel_name(thought: str) -> str:
    """Drop the channel's name, `thought` on a line of its own, from the front of a thought."""
    head, _, rest = thought.partition("\n")
    return rest.strip() if head.strip() == "thought" else thought.strip()
