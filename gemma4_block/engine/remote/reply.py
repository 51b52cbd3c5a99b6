"""Put a streamed reply together, and say when there is enough of it."""

from collections.abc import Sequence

from gemma4_block.contract import Answer, FinishReason, GenerationConfig
from gemma4_block.engine.remote.token_record import TokenRecord
from gemma4_block.engine.remote.wire import Chunk, ChunkChoice
from gemma4_block.engine.remote.written import CLOSES_THOUGHT, CLOSES_THOUGHT_ID
from gemma4_block.errors import EngineError


class Reply:
    """A reply while it is streamed.

    Stop texts, and the limit of an answer behind thoughts, are watched here: a server would look for stop
    texts in the thoughts too, and knows one limit for both.

    Args:
        generation: How to answer.
        image_tokens: Soft tokens of the prompt's images.
        needs_token_scores: Whether the answer says how sure the model was of each token.

    Attributes:
        finish_reason: Why it ended; None while it goes on.
        tokens: The tokens of the prompt and the reply.

    """

    def __init__(
        self, generation: GenerationConfig, *, image_tokens: int, needs_token_scores: bool = False
    ) -> None:
        self.finish_reason: FinishReason | None = None
        self.tokens = TokenRecord()
        self._generation = generation
        self._image_tokens = image_tokens
        self._needs_token_scores = needs_token_scores
        self._thinking = ""
        self._text = ""
        self._answer_tokens = 0
        self._output_tokens = 0
        self._input_tokens = 0
        self._has_server_ended = False

    def take(self, chunk: Chunk) -> None:
        """Add what a chunk brings; once there is a finish reason, only counts are taken.

        Args:
            chunk: The next one.

        Raises:
            EngineError: The server ended it for a reason of its own.

        """
        self.tokens.take_prompt(chunk.prompt_token_ids)
        if chunk.usage is not None:
            self._input_tokens = chunk.usage.prompt_tokens
            self._output_tokens = chunk.usage.completion_tokens or 0
        for choice in chunk.choices:
            if self.finish_reason is None:
                self._take_choice(choice)

    @property
    def is_over(self) -> bool:
        """Whether the server goes on with what is not wanted."""
        return self.finish_reason is not None and not self._has_server_ended

    @property
    def thinking(self) -> str:
        """The thoughts so far, without white space around them."""
        return self._thinking.strip()

    def read(self, reason: FinishReason) -> Answer:
        """Return the answer as far as it came.

        Args:
            reason: Why it ended.

        Returns:
            The answer.

        """
        surplus = self._count_surplus()
        whole = self._text if surplus == 0 else _decode(self.tokens.answer_pieces[:-surplus])
        cut = _find_stop(whole, self._generation.stop)
        text = (whole if cut is None else whole[:cut]).strip()
        return Answer(
            text=text,
            thinking=self.thinking,
            finish_reason=reason,
            input_tokens=self._input_tokens,
            output_tokens=self._output_tokens - surplus,
            image_tokens=self._image_tokens,
            token_scores=self.tokens.place_scores(text) if self._needs_token_scores else None,
        )

    def _take_choice(self, choice: ChunkChoice) -> None:
        self._thinking += choice.delta.reasoning or ""
        self._text += choice.delta.content or ""
        # A model may close a thought that it never opened. vLLM's parser leaves the token in the text then.
        if CLOSES_THOUGHT in self._text:
            self._close_thought()
        self._count(choice.token_ids)
        self.tokens.take(choice.token_ids, None if choice.logprobs is None else choice.logprobs.content)
        self._has_server_ended = choice.finish_reason is not None
        self.finish_reason = self._find_end(choice)

    def _close_thought(self) -> None:
        """Take what was written so far for a thought, where there is none yet."""
        before, _, after = self._text.partition(CLOSES_THOUGHT)
        if self._thinking:
            self._text = before + after
            return
        # The name of the channel, on a line of its own, is no part of the thought.
        self._thinking, self._text = before.removeprefix("thought\n"), after

    def _count(self, token_ids: Sequence[int] | None) -> None:
        """Count the tokens of the answer; an event may bring several, and the end of a thought with them."""
        if token_ids is None:
            self._answer_tokens += bool(self._text)
        elif CLOSES_THOUGHT_ID in token_ids:
            self._answer_tokens = token_ids[::-1].index(CLOSES_THOUGHT_ID)
        elif self._text:
            self._answer_tokens += len(token_ids)

    def _count_surplus(self) -> int:
        """Return how many tokens came after the one that ended the answer.

        A server that is faster than its reader joins tokens in an event. 0 where it does not say which.
        """
        pieces = self.tokens.answer_pieces
        if len(pieces) != self._answer_tokens:
            return 0
        if _find_stop(self._text, self._generation.stop) is not None:
            needed = next(
                count
                for count in range(1, len(pieces) + 1)
                if _find_stop(_decode(pieces[:count]), self._generation.stop) is not None
            )
            return len(pieces) - needed
        return max(0, self._answer_tokens - self._generation.max_new_tokens) if self._has_own_limit else 0

    @property
    def _has_own_limit(self) -> bool:
        """Whether the answer has a limit of its own, behind thoughts that have theirs."""
        return self._generation.max_thinking_tokens is not None

    def _find_end(self, choice: ChunkChoice) -> FinishReason | None:
        if _find_stop(self._text, self._generation.stop) is not None:
            return "stop"
        left = self._generation.max_new_tokens - self._answer_tokens if self._has_own_limit else 1
        # The token that ends the turn is one of the answer.
        if left >= 0 and choice.finish_reason == "stop":
            return "stop"
        if left <= 0 or choice.finish_reason == "length":
            return "length"
        if choice.finish_reason is not None:
            raise EngineError(
                f"The server ended an answer with finish_reason {choice.finish_reason!r}, which is neither "
                "stop nor length. Look into its log."
            )
        return None


def _decode(pieces: Sequence[bytes]) -> str:
    return b"".join(pieces).decode(errors="replace")


def _find_stop(text: str, stop: tuple[str, ...]) -> int | None:
    return min((text.index(mark) for mark in stop if mark in text), default=None)
