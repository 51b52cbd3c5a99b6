"""Turn generated ids into thoughts, answer and how sure the model was of each token."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

from gemma4_block.contract import FinishReason, TokenScore
from gemma4_block.engine.gemma4.special_tokens import Vocabulary
from gemma4_block.engine.gemma4.thoughts import split_thoughts, strip_channel_name


@dataclass(frozen=True, kw_only=True, slots=True)
class Reply:
    """One generated row, cut where it ended.

    Attributes:
        thinking: The thoughts.
        text: The answer.
        finish_reason: Why it ended.
        output_tokens: How many ids belong to it, the one that ended it included.
        answer_places: Places in the row of the answer's tokens.

    """

    thinking: str
    text: str
    finish_reason: FinishReason
    output_tokens: int
    answer_places: tuple[int, ...]


def read_reply(
    row: Sequence[int],
    tokenizer: Any,  # noqa: ANN401 - foreign objects
    vocabulary: Vocabulary,
    stop: Sequence[str] = (),
) -> Reply:
    """Cut a generated row where it ended and split it into thoughts and answer."""
    ended_at = next((place for place, token_id in enumerate(row) if token_id in vocabulary.stop_ids), None)
    spoken = row if ended_at is None else row[:ended_at]
    if ended_at is None and vocabulary.pad_id not in vocabulary.stop_ids:
        # A row that met a stop text is padded until the longest of its batch ends.
        spoken = row[: next((i for i, token_id in enumerate(row) if token_id == vocabulary.pad_id), len(row))]
    parts = split_thoughts(spoken, opens=vocabulary.opens_thought, closes=vocabulary.closes_thought)
    thought = decode_text(tokenizer, [row[place] for place in parts.thought_places])
    answer = decode_text(tokenizer, [row[place] for place in parts.answer_places])
    text, met_stop_text = _cut_at_stop(answer, stop)
    return Reply(
        thinking=strip_channel_name(thought),
        text=text.strip(),
        finish_reason="stop" if ended_at is not None or met_stop_text else "length",
        output_tokens=len(spoken) + (ended_at is not None),
        answer_places=parts.answer_places,
    )


def has_stop_text(
    ids: Sequence[int],
    tokenizer: Any,  # noqa: ANN401 - foreign objects
    vocabulary: Vocabulary,
    stop: Sequence[str],
) -> bool:
    """Say whether the answer among generated ids holds one of the texts."""
    parts = split_thoughts(ids, opens=vocabulary.opens_thought, closes=vocabulary.closes_thought)
    text = decode_text(tokenizer, [ids[place] for place in parts.answer_places])
    return any(mark in text for mark in stop)


def place_scores(
    text: str, pieces: Sequence[bytes], log_probabilities: Sequence[float]
) -> tuple[TokenScore, ...] | None:
    r"""Say which characters of an answer each of its tokens wrote.

    Args:
        text: The answer, without outer white space.
        pieces: What each token wrote, in UTF-8; one may end inside a character.
        log_probabilities: One for each of them.

    Returns:
        One for each token, the character that two tokens share belonging to both; None where the pieces do
        not make up the text.

    Example:
        >>> place_scores("1é", [b" 1", b"\xc3", b"\xa9"], [-0.1, -0.2, -0.3])[1:]
        (TokenScore(start=1, end=2, log_probability=-0.2), TokenScore(start=1, end=2, log_probability=-0.3))

    """
    whole = b"".join(pieces)
    written = whole.decode(errors="replace")
    if written.strip() != text:
        return None
    skipped = len(written) - len(written.lstrip())
    ends = list(accumulate(len(piece) for piece in pieces))
    scores = []
    for piece, end, log_probability in zip(pieces, ends, log_probabilities, strict=True):
        before, after = whole[: end - len(piece)], whole[:end]
        start = len(before.decode(errors="ignore")) - skipped
        stop = len(after.decode(errors="replace")) - skipped
        scores.append(
            TokenScore(start=max(0, start), end=min(len(text), stop), log_probability=log_probability)
        )
    return tuple(scores)


def decode_text(tokenizer: Any, ids: Sequence[int]) -> str:  # noqa: ANN401 - foreign objects
    """Return ids as text, without control tokens."""
    text: str = tokenizer.decode(list(ids), skip_special_tokens=True)
    return text


def _cut_at_stop(text: str, stop: Sequence[str]) -> tuple[str, bool]:
    places = [text.index(mark) for mark in stop if mark in text]
    return (text[: min(places)], True) if places else (text, False)
