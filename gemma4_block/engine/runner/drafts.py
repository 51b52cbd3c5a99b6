"""Guess how an answer goes on from what it may repeat: the prompt, itself, or the last answer to it."""

from collections.abc import Sequence
from itertools import takewhile
from typing import Final

# So many tokens must have been there before, one after the other, until what followed them is a guess.
_KNOWN: Final = 3
# No token has this id. It stands before a text, so that its first tokens are found by where they stand.
_EDGE: Final = -1
# A pass over a guess takes up to 1.4 times as long as one over a single token where matrices are multiplied
# in bfloat16, and 2.1 times in float32. Source: docs/measured.md, "Guessing ahead".
_WORTH_IT: Final = 2
_FIRST_LENGTH: Final = 4
_LONGEST_PAUSE: Final = 64


class Drafter:
    """Guesses the next tokens of one answer.

    Guesses get longer while they are right. After one that was not worth its pass there is none for a while,
    twice as long each time, so that an answer which repeats nothing loses next to nothing.

    Args:
        prompt: What the answer may repeat.
        last_answer: To the same question; empty where there was none. As long as the answer is the same, it
            is followed by its place, because what was said twice in it may have gone on in two ways.
        most: Tokens of the longest guess.

    """

    def __init__(self, prompt: Sequence[int], last_answer: Sequence[int], *, most: int) -> None:
        self._tokens: list[int] = []
        self._places: dict[tuple[int, ...], int] = {}
        self._most = most
        self._length = min(_FIRST_LENGTH, most)
        self._misses = 0
        self._pause = 0
        for text in (prompt, last_answer):
            self._begin()
            self._append(text)
        self._begin()
        self._last_answer = last_answer
        self._is_last_answer = True
        self._written = 0

    def follow(self, output_ids: Sequence[int]) -> None:
        """Take note of the tokens that the answer has by now; those it had before are the same."""
        new = list(output_ids[self._written :])
        self._is_last_answer &= new == list(self._last_answer[self._written : len(output_ids)])
        self._append(new)
        self._written = len(output_ids)

    def guess(self, most: int) -> list[int]:
        """Guess what comes next.

        Args:
            most: How many tokens there is room for.

        Returns:
            The tokens that may come; none where there is no guess.

        """
        if self._pause > 0:
            self._pause -= 1
            return []
        length = min(self._length, most)
        if self._is_last_answer:
            return list(self._last_answer[self._written : self._written + length])
        place = self._places.get(tuple(self._tokens[-_KNOWN:]))
        if place is None:
            return []
        return list(takewhile(lambda token: token != _EDGE, self._tokens[place : place + length]))

    def judge(self, guessed: int, right: int) -> None:
        """Take note of how many tokens of a guess were right."""
        if right >= min(_WORTH_IT, guessed):
            self._length = min(2 * self._length, self._most)
            self._misses = 0
            return
        self._misses += 1
        self._length = min(_FIRST_LENGTH, self._most)
        self._pause = min(2**self._misses, _LONGEST_PAUSE)

    def _begin(self) -> None:
        self._tokens += [_EDGE] * _KNOWN

    def _append(self, text: Sequence[int]) -> None:
        for token in text:
            # What came before this token is known from now on, and the latest place of it counts.
            self._places[tuple(self._tokens[-_KNOWN:])] = len(self._tokens)
            self._tokens.append(token)
