"""Keep the tokens of a streamed reply, as far as a server tells them."""

from collections.abc import Sequence

from gemma4_block.contract import TokenScore
from gemma4_block.engine.remote.wire import TokenLogprob
from gemma4_block.engine.remote.written import CLOSES_THOUGHT, OPENS_THOUGHT_ID, Written
from gemma4_block.engine.token_scores import place_scores


class TokenRecord:
    """The tokens of a prompt, and of the reply to it while it is streamed."""

    def __init__(self) -> None:
        self._prompt_ids: tuple[int, ...] = ()
        self._ids: list[int] = []
        self._pieces: list[bytes] = []
        self._log_probabilities: list[float] = []
        # The answer begins behind the last token that closes a thought.
        self._answer_begin = 0

    def take_prompt(self, token_ids: Sequence[int] | None) -> None:
        """Take the tokens of the prompt, which come once; None for nothing."""
        if token_ids is not None:
            self._prompt_ids = tuple(token_ids)

    def take(self, token_ids: Sequence[int] | None, scores: Sequence[TokenLogprob] | None) -> None:
        """Add the next tokens of the reply, whose ids and texts a server tells or not.

        Args:
            token_ids: Of each of them.
            scores: Their texts, and how likely each was.

        """
        self._ids += token_ids or ()
        for score in scores or ():
            self._pieces.append(score.token.encode() if score.bytes is None else bytes(score.bytes))
            self._log_probabilities.append(score.logprob)
            if score.token == CLOSES_THOUGHT:
                self._answer_begin = len(self._pieces)

    @property
    def answer_pieces(self) -> list[bytes]:
        """The UTF-8 bytes of each token of the answer so far, the end of the turn included."""
        return self._pieces[self._answer_begin :]

    def place_scores(self, text: str) -> tuple[TokenScore, ...] | None:
        """Return how likely each token of the answer was among those that were allowed.

        Args:
            text: The answer.

        Returns:
            One for each; None where the tokens do not make up the text.

        """
        if not text:
            return ()
        pieces, told = self.answer_pieces, self._log_probabilities[self._answer_begin :]
        # The token that ends the turn is among them, and has no text.
        for count in (len(pieces), len(pieces) - 1):
            # A server tells its probabilities among what the grammar allows, and none among all tokens.
            known = [(log_probability, None) for log_probability in told[:count]]
            scores = place_scores(text, pieces[:count], known)
            if scores is not None:
                return scores
        return None

    def find_written(self, answer_tokens: int) -> Written | None:
        """Return what was written up to some token of the answer.

        Args:
            answer_tokens: How many of the answer's tokens are wanted; 0 for what stands before it.

        Returns:
            It, token by token; None where the server does not tell all of it, or where a thought is open.

        """
        count = self._answer_begin + answer_tokens
        is_told = bool(self._prompt_ids) and len(self._ids) == len(self._pieces) >= count
        if not is_told or OPENS_THOUGHT_ID in self._ids[self._answer_begin :]:
            return None
        return Written(
            prompt_ids=self._prompt_ids,
            token_ids=tuple(self._ids[:count]),
            pieces=tuple(self._pieces[:count]),
        )
