"""Say which characters of an answer each of its tokens wrote, and how sure the model was of it."""

from collections.abc import Sequence
from itertools import accumulate

from gemma4_block.contract import TokenScore


def place_scores(
    text: str, pieces: Sequence[bytes], log_probabilities: Sequence[tuple[float, float | None]]
) -> tuple[TokenScore, ...] | None:
    r"""Say which characters of an answer each of its tokens wrote.

    Args:
        text: The answer, without outer white space.
        pieces: The UTF-8 bytes of each token; one may end inside a character.
        log_probabilities: For each of them that among the allowed tokens and, where it is known, among all.

    Returns:
        One for each token, the character that two tokens share belonging to both; None where the pieces do
        not make up the text.

    Example:
        >>> scores = place_scores("1é", [b" 1", b"\xc3", b"\xa9"], [(0.0, -0.1), (-0.2, -0.3), (0.0, None)])
        >>> [(score.start, score.end, score.free_log_probability) for score in scores]
        [(0, 1, -0.1), (1, 2, -0.3), (1, 2, None)]

    """
    whole = b"".join(pieces)
    written = whole.decode(errors="replace")
    if written.strip() != text:
        return None
    skipped = len(written) - len(written.lstrip())
    ends = list(accumulate(len(piece) for piece in pieces))
    scores = []
    for piece, end, (allowed, free) in zip(pieces, ends, log_probabilities, strict=True):
        before, after = whole[: end - len(piece)], whole[:end]
        start = len(before.decode(errors="ignore")) - skipped
        stop = len(after.decode(errors="replace")) - skipped
        scores.append(
            TokenScore(
                start=max(0, start),
                end=min(len(text), stop),
                log_probability=allowed,
                free_log_probability=free,
            )
        )
    return tuple(scores)
