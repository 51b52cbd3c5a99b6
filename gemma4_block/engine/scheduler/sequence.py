"""One reply while it is written: what may come next, what was chosen, and when it ends."""

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Literal

import torch

from gemma4_block.contract import FinishReason, GenerationConfig
from gemma4_block.engine.gemma4.special_tokens import Vocabulary
from gemma4_block.engine.sampling.grammar import Grammar
from gemma4_block.engine.sampling.sampler import Sampler
from gemma4_block.errors import PromptError

Phase = Literal["start", "thought", "answer"]

IsStopped = Callable[[Sequence[int]], bool]
"""Says of the ids of a reply whether its answer holds a text that ends it."""


class Row:
    """A reply. Thoughts come first, where they are wanted; a grammar binds only what follows them.

    Args:
        prompt_ids: What the reply answers to.
        generation: How to answer.
        vocabulary: The ids that steer.
        sampler: How to choose.
        grammar: What the answer may be; None means anything.
        is_stopped: Whether a stop text was met; None where there is none.
        needs_scores: Whether to keep how likely each token was.
        ends_after_thought: End where the answer would begin.

    Attributes:
        prompt_ids: As given.
        ids: What was chosen so far, the token that ended the turn included.
        log_probabilities: For each of them, at temperature 1 among those that were allowed; empty unless
            `needs_scores`.
        needs_scores: Whether to keep them.
        finish_reason: Why it ended; None while it goes on.
        failure: Why it could not go on; the row has then ended.

    """

    def __init__(
        self,
        prompt_ids: Sequence[int],
        generation: GenerationConfig,
        vocabulary: Vocabulary,
        sampler: Sampler,
        *,
        grammar: Grammar | None = None,
        is_stopped: IsStopped | None = None,
        needs_scores: bool = False,
        ends_after_thought: bool = False,
    ) -> None:
        self.prompt_ids = tuple(prompt_ids)
        self.ids: list[int] = []
        self.log_probabilities: list[float] = []
        self.needs_scores = needs_scores
        self.finish_reason: FinishReason | None = None
        self.failure: PromptError | None = None
        self._generation = generation
        self._vocabulary = vocabulary
        self._sampler = sampler
        self._grammar = grammar
        self._is_stopped = is_stopped
        self._ends_after_thought = ends_after_thought
        self._thought_tokens = 0
        self._answer_tokens = 0
        self._read_tokens = 0
        self._phase: Phase = self._first_phase()

    @property
    def is_ended(self) -> bool:
        """Whether nothing more comes."""
        return self.finish_reason is not None or self.failure is not None

    @property
    def is_answering(self) -> bool:
        """Whether its thoughts are over, or it has none."""
        return self._phase == "answer"

    @property
    def is_plain(self) -> bool:
        """Whether the next token is simply the likeliest, so that rows can be chosen for together."""
        is_bound = self._grammar is not None or self._ends_after_thought or self.needs_scores
        return self._sampler.is_plain and not is_bound and not self._must_close()

    def end(self, reason: FinishReason) -> None:
        """End where it stands."""
        self.finish_reason = reason

    def take_unread(self) -> list[int]:
        """Return the tokens that the model is to read next, which then count as read."""
        unread = self.ids[self._read_tokens :]
        self._read_tokens = len(self.ids)
        return unread

    def take_forced(self, size: int) -> None:
        """Take tokens as long as only one may come next: the model need not be asked.

        Args:
            size: Entries of the model's vocabulary.

        """
        try:
            while not self.is_ended and (forced := self._forced(size)) is not None:
                self._sampler.skip(size)
                if self.needs_scores:
                    self.log_probabilities.append(0.0)
                self.accept(forced)
        except PromptError as error:
            self.failure = error

    def draw(self, logits: torch.Tensor) -> torch.Tensor:
        """Draw the next token; the result stays on the device, because asking for it there takes time.

        Args:
            logits: `(V,)` float32 of the model.

        Returns:
            `(2,)` float32: the token, and how likely it was where that is to be kept; for `take`.

        """
        scores = self._sampler.penalise(logits, self.prompt_ids, self.ids)
        try:
            allowed = self._allowed(len(scores), scores.device)
        except PromptError as error:
            self.failure = error
            return scores.new_zeros(2)
        if allowed is not None:
            scores = scores.masked_fill(~allowed, -torch.inf)
        token_id = self._sampler.draw(scores).argmax(dim=0, keepdim=True)
        if not self.needs_scores:
            return torch.cat([token_id, token_id]).float()
        # No vocabulary is so large that a float32 could not name its tokens.
        return torch.cat([token_id.float(), scores.gather(0, token_id) - scores.logsumexp(dim=0)])

    def take(self, token_id: int, log_probability: float) -> None:
        """Take what was drawn; a row that has failed takes nothing."""
        if self.failure is not None:
            return
        try:
            if self.needs_scores:
                self.log_probabilities.append(log_probability)
            self.accept(token_id)
        except PromptError as error:
            self.failure = error

    def accept(self, token_id: int) -> None:
        """Take a token.

        Args:
            token_id: One that may come next.

        Raises:
            PromptError: The grammar cannot go on.

        """
        is_opening = token_id == self._vocabulary.opens_thought
        if self._phase == "start":
            self._phase = "thought" if is_opening else "answer"
            if is_opening:
                self.ids.append(token_id)
                self._end_where_due(token_id)
                return
        if self._phase == "answer" and self._ends_after_thought:
            # The model does without thoughts; its answer is not wanted.
            self.finish_reason = "stop"
            return
        self.ids.append(token_id)
        if self._phase == "thought":
            self._take_thought(token_id)
        else:
            self._answer_tokens += 1
            if is_opening:
                self._phase = "thought"
            elif self._grammar is not None and token_id not in self._vocabulary.stop_ids:
                self._grammar.advance(token_id)
        self._end_where_due(token_id)

    def _first_phase(self) -> Phase:
        opens, closes = self._vocabulary.opens_thought, self._vocabulary.closes_thought
        channels = [token_id for token_id in self.prompt_ids if token_id in (opens, closes)]
        if opens is not None and channels and channels[-1] == opens:
            return "thought"
        is_bound = self._grammar is not None or self._ends_after_thought
        return "answer" if is_bound and not self._generation.enable_thinking else "start"

    def _must_close(self) -> bool:
        allowance = self._generation.max_thinking_tokens
        if allowance is None:
            # Without an allowance of its own the thought may take everything, but where something must
            # follow it, it is still closed.
            allowance = self._generation.max_new_tokens if self._ends_after_thought else None
        is_over = allowance is not None and self._thought_tokens >= allowance
        return self._phase == "thought" and is_over

    def _forced(self, size: int) -> int | None:
        if self._must_close():
            return self._vocabulary.closes_thought
        if self._phase != "answer" or self._grammar is None:
            return None
        return self._grammar.forced(size)

    def _allowed(self, size: int, device: torch.device) -> torch.Tensor | None:
        opens, closes = self._vocabulary.opens_thought, self._vocabulary.closes_thought
        if self._must_close():
            return _only(closes, size, device)
        if self._phase == "thought" and (self._grammar is not None or self._ends_after_thought):
            # The turn must not end before its answer.
            return _no_control(self._vocabulary, size, device, but=closes)
        if self._phase == "thought" or self._grammar is None:
            return None
        allowed = self._grammar.allowed(size, device)
        if self._phase == "start" and opens is not None:
            allowed[opens] = True
        return allowed

    def _take_thought(self, token_id: int) -> None:
        if token_id != self._vocabulary.closes_thought:
            self._thought_tokens += 1
            return
        self._phase = "answer"
        if self._ends_after_thought:
            self.finish_reason = "stop"

    def _end_where_due(self, token_id: int) -> None:
        if self.is_ended:
            return
        has_own_allowance = self._generation.max_thinking_tokens is not None
        spent = self._answer_tokens if has_own_allowance else len(self.ids)
        is_met = self._is_stopped is not None and self._is_stopped(self.ids)
        if token_id in self._vocabulary.stop_ids or is_met:
            self.finish_reason = "stop"
        elif spent >= self._generation.max_new_tokens and not self._ends_after_thought:
            self.finish_reason = "length"


def _only(token_id: int | None, size: int, device: torch.device) -> torch.Tensor:
    mask = torch.zeros(size, dtype=torch.bool, device=device)
    mask[token_id] = True
    return mask


# It is asked for at every token of a thought.
@lru_cache(maxsize=8)
def _no_control(vocabulary: Vocabulary, size: int, device: torch.device, *, but: int | None) -> torch.Tensor:
    mask = torch.ones(size, dtype=torch.bool, device=device)
    mask[[token_id for token_id in vocabulary.control_ids if token_id < size]] = False
    mask[but] = True
    return mask
