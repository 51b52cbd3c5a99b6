"""Say which tokens may come next in a reply: thoughts first, where they are wanted, then the answer."""

from functools import lru_cache
from typing import Literal

import torch

from gemma4_block.contract import GenerationConfig
from gemma4_block.engine.family import SpecialTokens
from gemma4_block.engine.sampling.grammar import Grammar

Phase = Literal["start", "thought", "answer"]


class TokenRules:
    """The state of one reply. A grammar constrains only the answer, not the thoughts before it.

    Args:
        prompt_ids: The prompt, which may have opened a thought.
        generation: How to answer.
        special_tokens: The ids that steer.
        grammar: Constrains the answer; None allows anything.
        has_choices: Whether the answer is not generated, but scored among choices.

    Attributes:
        phase: The part of the reply that the next token belongs to.
        thought_tokens: How many tokens of thoughts there are.
        answer_tokens: How many tokens of the answer there are.

    """

    def __init__(
        self,
        prompt_ids: tuple[int, ...],
        generation: GenerationConfig,
        special_tokens: SpecialTokens,
        *,
        grammar: Grammar | None,
        has_choices: bool,
    ) -> None:
        self.thought_tokens = 0
        self.answer_tokens = 0
        self._generation = generation
        self._special_tokens = special_tokens
        self._grammar = grammar
        self._has_choices = has_choices
        self.phase: Phase = self._find_first_phase(prompt_ids)

    @property
    def has_any(self) -> bool:
        """Whether some tokens may not come next, or a certain one must."""
        return self._grammar is not None or self._has_choices or self._must_close()

    def find_forced(self, vocabulary_size: int) -> int | None:
        """Return the token that must come next; None where there are several.

        Args:
            vocabulary_size: Entries of the model's vocabulary.

        Returns:
            Its id.

        Raises:
            PromptError: The grammar cannot go on.

        """
        if self._must_close():
            return self._special_tokens.closes_thought
        if self.phase != "answer" or self._grammar is None:
            return None
        return self._grammar.forced(vocabulary_size)

    def find_allowed(self, vocabulary_size: int, device: torch.device) -> torch.Tensor | None:
        """Return which tokens may come next; None where any may.

        Args:
            vocabulary_size: Entries of the model's vocabulary.
            device: Where the mask goes.

        Returns:
            `(vocabulary_size,)` bool.

        Raises:
            PromptError: The grammar cannot go on.

        """
        opens, closes = self._special_tokens.opens_thought, self._special_tokens.closes_thought
        if self._must_close():
            return _only(closes, vocabulary_size, device)
        if self.phase == "thought" and (self._grammar is not None or self._has_choices):
            # The turn must not end before its answer.
            return _no_control(self._special_tokens, vocabulary_size, device, but=closes)
        if self.phase == "thought" or self._grammar is None:
            return None
        allowed = self._grammar.allowed(vocabulary_size, device)
        if self.phase == "start" and opens is not None:
            allowed[opens] = True
        return allowed

    def advance(self, token_id: int) -> bool:
        """Take a token that may come next.

        Args:
            token_id: Its id.

        Returns:
            Whether it belongs to the reply; the beginning of an answer does not where choices are scored.

        Raises:
            PromptError: The grammar cannot go on.

        """
        is_opening = token_id == self._special_tokens.opens_thought
        if self.phase == "start":
            self.phase = "thought" if is_opening else "answer"
            if is_opening:
                return True
        if self.phase == "answer" and self._has_choices:
            return False
        if self.phase == "thought":
            if token_id == self._special_tokens.closes_thought:
                self.phase = "answer"
            else:
                self.thought_tokens += 1
            return True
        self.answer_tokens += 1
        if is_opening:
            self.phase = "thought"
        elif self._grammar is not None and token_id not in self._special_tokens.stop_ids:
            self._grammar.advance(token_id)
        return True

    def _find_first_phase(self, prompt_ids: tuple[int, ...]) -> Phase:
        opens, closes = self._special_tokens.opens_thought, self._special_tokens.closes_thought
        channels = [token_id for token_id in prompt_ids if token_id in (opens, closes)]
        if opens is not None and channels and channels[-1] == opens:
            return "thought"
        is_bound = self._grammar is not None or self._has_choices
        return "answer" if is_bound and not self._generation.enable_thinking else "start"

    def _must_close(self) -> bool:
        allowance = self._generation.max_thinking_tokens
        if allowance is None:
            # Without an allowance of its own the thought may take everything, but where something must
            # follow it, it is still closed.
            allowance = self._generation.max_new_tokens if self._has_choices else None
        is_over = allowance is not None and self.thought_tokens >= allowance
        return self.phase == "thought" and is_over


def _only(token_id: int | None, size: int, device: torch.device) -> torch.Tensor:
    mask = torch.zeros(size, dtype=torch.bool, device=device)
    mask[token_id] = True
    return mask


# It is asked for at every token of a thought.
@lru_cache(maxsize=8)
def _no_control(tokens: SpecialTokens, size: int, device: torch.device, *, but: int | None) -> torch.Tensor:
    mask = torch.ones(size, dtype=torch.bool, device=device)
    mask[[token_id for token_id in tokens.control_ids if token_id < size]] = False
    mask[but] = True
    return mask
