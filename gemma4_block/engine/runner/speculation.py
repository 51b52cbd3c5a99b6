"""Read several tokens of an answer in one pass where they can be guessed; what is chosen stays the same."""

import math
from collections.abc import Sequence as Items
from typing import Final
from weakref import WeakKeyDictionary

from cachetools import LRUCache

from gemma4_block.engine.runner.drafts import Drafter
from gemma4_block.engine.runner.forward import NOT_FINITE, ForwardPasses
from gemma4_block.engine.runner.kv_cache import BatchCache
from gemma4_block.engine.scheduler import Sequence
from gemma4_block.errors import PromptError

# More positions than that take longer than they save: eight rows of four take 1.2 times as long as eight of
# one, and eight of eight twice as long. Source: docs/measured.md, "Guessing ahead".
_MOST_POSITIONS: Final = 32
# Of all answers that are kept to guess from.
_MOST_KEPT_TOKENS: Final = 2**18

_Question = tuple[str | None, tuple[int, ...]]
"""An adapter, and a prompt; images of one size have the same tokens in it."""


class Speculator:
    """Takes steps of a batch in which guesses are checked.

    The model reads the last token of every answer and the guess after it in one pass. A token of the guess is
    kept where it is the likeliest one, which is what a step of one token would have chosen; from the first
    that is not, the rest is dropped from the KV cache. Only answers that take the likeliest token are
    guessed.

    Args:
        passes: Of the model.
        most: Tokens of the longest guess, 1 or more.

    """

    def __init__(self, passes: ForwardPasses, *, most: int) -> None:
        self._passes = passes
        self._most = most
        self._drafters: WeakKeyDictionary[Sequence, Drafter] = WeakKeyDictionary()
        self._answers: LRUCache[_Question, list[int]] = LRUCache(_MOST_KEPT_TOKENS, getsizeof=len)

    def step(self, batch: BatchCache, sequences: Items[Sequence]) -> bool:
        """Decode tokens of every sequence, or do nothing where a step of one token is as good.

        Args:
            batch: The KV cache of the sequences; it grows, or stays as it was where the pass fails.
            sequences: All running, one for each row.

        Returns:
            Whether there was a step.

        """
        guesses = self._guess(sequences)
        # The others pay for the longer pass and gain nothing.
        if 2 * sum(map(bool, guesses)) < len(sequences):
            return False
        texts = [one.uncached_ids for one in sequences]
        with self._passes.for_rows(one.prompt for one in sequences):
            ids, logits = self._passes.read_likeliest(
                batch, [text + guess for text, guess in zip(texts, guesses, strict=True)]
            )
        wrong = []
        for row, (one, text, guess) in enumerate(zip(sequences, texts, guesses, strict=True)):
            one.mark_cached(len(text))
            told = slice(-len(guess) - 1, None)
            right = self._take(one, guess, ids[row][told], logits[row][told])
            wrong.append(len(guess) - right)
            if guess:
                self._drafters[one].judge(len(guess), right)
        batch.drop_last(wrong)
        return True

    def remember(self, sequences: Items[Sequence]) -> None:
        """Keep the answers that have ended, for the next time that their questions are asked."""
        for one in sequences:
            if one.state == "finished":
                self._answers[_question_of(one)] = one.output_ids

    def _guess(self, sequences: Items[Sequence]) -> list[list[int]]:
        room = min(self._most, _MOST_POSITIONS // len(sequences) - 1)
        if room < 1 or not all(one.is_greedy for one in sequences):
            return [[] for _ in sequences]
        return [self._guess_one(one, min(room, one.final_length - one.length - 1)) for one in sequences]

    def _guess_one(self, sequence: Sequence, most: int) -> list[int]:
        drafter = self._drafters.get(sequence)
        if drafter is None:
            question = _question_of(sequence)
            drafter = Drafter(question[1], self._answers.get(question, ()), most=self._most)
            self._drafters[sequence] = drafter
        drafter.follow(sequence.output_ids)
        return drafter.guess(max(0, most))

    def _take(self, sequence: Sequence, guess: Items[int], ids: Items[int], logits: Items[float]) -> int:
        """Take the tokens that the model chose, as far as it read what it chose, and count those it had read.

        Args:
            sequence: All its tokens are in the KV cache, and after them the guess.
            guess: May be empty.
            ids: The likeliest token after the last of the sequence, and after each of the guess.
            logits: Of those.

        Returns:
            How many of the guess it had read.

        """
        for place, (token_id, logit) in enumerate(zip(ids, logits, strict=True)):
            if not math.isfinite(logit):
                sequence.fail(PromptError(NOT_FINITE))
                return place
            before = len(sequence.output_ids)
            sequence.take(token_id, 0.0, 0.0)
            sequence.take_forced(self._passes.model.vocabulary_size)
            goes_on = sequence.state == "running" and sequence.is_greedy
            if not goes_on or sequence.output_ids[before:] != list(guess[place : place + 1]):
                return place
            sequence.mark_cached(1)
        return len(guess)


def _question_of(sequence: Sequence) -> _Question:
    return sequence.prompt.adapter_name, sequence.prompt.input_ids
