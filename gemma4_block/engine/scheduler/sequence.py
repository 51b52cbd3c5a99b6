"""A sequence: its prompt, the tokens generated so far, those that may come next, and how it ended."""

from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Literal

import torch

from gemma4_block.contract import FinishReason, GenerationConfig
from gemma4_block.engine.family import SpecialTokens
from gemma4_block.engine.preprocess import PreparedPrompt
from gemma4_block.engine.sampling import Grammar, Sampler, TokenRules
from gemma4_block.errors import PromptError

if TYPE_CHECKING:
    from gemma4_block.engine.scheduler.request import Request

State = Literal["waiting", "running", "finished", "failed"]
"""`waiting`: for its prefill, also again after memory ran out, or for its choices to be scored after its
thoughts; `running`: it is prefilled or decoded; `finished`: see `finish_reason`; `failed`: see `failure`."""

HasStopText = Callable[[list[int], tuple[str, ...]], bool]
"""Says whether the last tokens of an answer hold one of the texts that end it."""

# A character may be spread over as many tokens as it has bytes in UTF-8.
_MOST_BYTES_PER_CHARACTER = 4
# So many forced tokens are scored in one pass: each takes the logits of a whole vocabulary, 1 MB of Gemma
# 4's, and the form of boxes forces fewer at a time.
_MOST_SCORED_AT_ONCE = 8


class Sequence:
    """A prompt and what is generated after it.

    From one thread at a time.

    Args:
        request: Whose it is.
        prompt: The prompt as tensors.
        generation: How to answer.
        special_tokens: The ids that steer.
        sampler: How to choose.
        grammar: Constrains the answer; None allows anything.
        has_stop_text: Looks for the texts of `generation.stop`.

    Attributes:
        request: As given.
        prompt: As given; without its images once it has ended.
        state: Where it is on its way. Only methods of this class change it.
        output_ids: The tokens generated so far, the one that ended the turn included.
        log_probabilities: For each of them, at temperature 1 among those that were allowed; empty unless the
            prompt needs token scores.
        free_log_probabilities: The same among all tokens, whatever is allowed or penalised. The model is
            asked for those of forced tokens when it reads them, so there may be fewer than tokens.
        choice_scores: The log-probability of each alternative, one group after the other; None until scored.
        finish_reason: Why it ended; None while it has not, or where it failed.
        failure: Why it could not go on.
        was_alone: Whether memory ran out before while nothing else was running.
        times_overtaken: How many prompts that came later began before it.

    """

    def __init__(
        self,
        request: "Request",
        prompt: PreparedPrompt,
        generation: GenerationConfig,
        special_tokens: SpecialTokens,
        sampler: Sampler,
        *,
        grammar: Grammar | None = None,
        has_stop_text: HasStopText | None = None,
    ) -> None:
        self.request = request
        self.prompt = prompt
        self.state: State = "waiting"
        self.output_ids: list[int] = []
        self.log_probabilities: list[float] = []
        self.free_log_probabilities: list[float] = []
        self.choice_scores: tuple[float, ...] | None = None
        self.finish_reason: FinishReason | None = None
        self.failure: PromptError | None = None
        self.was_alone = False
        self.times_overtaken = 0
        self._generation = generation
        self._special_tokens = special_tokens
        self._sampler = sampler
        self._has_stop_text = has_stop_text
        # An answer ends with a stop text at the token that completes it, so its last tokens tell.
        longest = max((len(text) for text in generation.stop), default=0)
        self._answer_tail: deque[int] = deque(maxlen=_MOST_BYTES_PER_CHARACTER * (longest + 1))
        self._cached_outputs = 0
        # Choices are scored otherwise, and of thoughts before them nothing is told.
        self._tells_scores = prompt.needs_token_scores and not prompt.choices
        self._rules = TokenRules(
            prompt.input_ids,
            generation,
            special_tokens,
            grammar=grammar,
            has_choices=bool(prompt.choices),
        )

    @property
    def has_ended(self) -> bool:
        """Whether nothing is left to do."""
        return self.state in {"finished", "failed"}

    @property
    def is_scoring(self) -> bool:
        """Whether choices are to be scored next; before that there may be thoughts to generate."""
        return bool(self.prompt.choices) and self._rules.phase == "answer"

    @property
    def is_greedy(self) -> bool:
        """Whether the next token is simply the likeliest, so that many sequences can choose at once."""
        is_bound = self._rules.has_any or self._tells_scores
        return self._sampler.is_greedy and not is_bound

    @property
    def length(self) -> int:
        """How many tokens there are: prompt and output."""
        return len(self.prompt.input_ids) + len(self.output_ids)

    @property
    def final_length(self) -> int:
        """How many tokens there can be in the end."""
        allowance = self._generation.max_thinking_tokens
        return (
            len(self.prompt.input_ids)
            + self._generation.max_new_tokens
            + (0 if allowance is None else allowance)
        )

    @property
    def prefill_ids(self) -> tuple[int, ...]:
        """The tokens of its prefill: prompt and output, but for forced tokens that are still to be scored."""
        written = self.output_ids
        if self._tells_scores:
            written = written[: len(self.free_log_probabilities)]
        return self.prompt.input_ids + tuple(written)

    @property
    def uncached_ids(self) -> list[int]:
        """The generated tokens that its next pass reads: those not in the KV cache, or the first of them."""
        uncached = self.output_ids[self._cached_outputs :]
        return uncached[:_MOST_SCORED_AT_ONCE] if self._tells_scores else uncached

    @property
    def scored_positions(self) -> int:
        """After how many of its uncached tokens the logits are wanted."""
        return len(self.uncached_ids) if self._tells_scores else 1

    @property
    def unscored_ids(self) -> list[int]:
        """The forced tokens that the logits of its last pass tell about."""
        if not self._tells_scores:
            return []
        return self.output_ids[len(self.free_log_probabilities) : self._cached_outputs + 1]

    @property
    def is_read(self) -> bool:
        """Whether the KV cache holds all its tokens, so that the next one can be chosen."""
        return self._cached_outputs == len(self.output_ids)

    def mark_prefilled(self) -> None:
        """Note that the KV cache holds the tokens of its prefill."""
        self._cached_outputs = len(self.prefill_ids) - len(self.prompt.input_ids)

    def mark_cached(self, count: int) -> None:
        """Note that the KV cache holds so many more of its generated tokens."""
        self._cached_outputs += count

    def admit(self) -> None:
        """Change from waiting to running."""
        assert self.state == "waiting", self.state
        self.state = "running"

    def put_back(self) -> None:
        """Let it wait again; its generated tokens are then prefilled together with the prompt."""
        assert self.state == "running", self.state
        self.state = "waiting"
        self._cached_outputs = 0

    def finish(self, reason: FinishReason) -> None:
        """End it where it stands."""
        if not self.has_ended:
            self.state, self.finish_reason = "finished", reason

    def fail(self, failure: PromptError) -> None:
        """End it without an answer."""
        if not self.has_ended:
            self.state, self.failure = "failed", failure

    def take_choice_scores(self, scores: list[float]) -> None:
        """End with the log-probability of each alternative."""
        self.choice_scores = tuple(scores)
        self.finish("stop")

    def drop_images(self) -> None:
        """Drop its images, which are large, once they are not needed again."""
        self.prompt = self.prompt.without_images()

    def take_forced(self, vocabulary_size: int) -> None:
        """Append tokens as long as only one may come next; that needs no forward pass."""
        try:
            while not self._is_paused() and (forced := self._rules.find_forced(vocabulary_size)) is not None:
                self._sampler.skip(vocabulary_size)
                if self._tells_scores:
                    self.log_probabilities.append(0.0)
                self.accept(forced)
        except PromptError as error:
            self.fail(error)

    def draw(self, logits: torch.Tensor) -> torch.Tensor:
        """Draw the next token; the result stays on the device, because asking for it there takes time.

        Args:
            logits: `(V,)` float32 of the model.

        Returns:
            `(3,)` float32: the token, and where they are to be kept its log-probability among the allowed
            tokens and that among all; for `take`.

        """
        scores = self._sampler.penalise(logits, self.prompt.input_ids, self.output_ids)
        try:
            allowed = self._rules.find_allowed(len(scores), scores.device)
        except PromptError as error:
            self.fail(error)
            return scores.new_zeros(3)
        if allowed is not None:
            scores = scores.masked_fill(~allowed, -torch.inf)
        token_id = self._sampler.draw(scores).argmax(dim=0, keepdim=True)
        # No vocabulary is so large that a float32 could not name its tokens.
        named = token_id.float()
        if not self._tells_scores:
            return named.expand(3)
        return torch.cat(
            [named, *(one.gather(0, token_id) - one.logsumexp(dim=0) for one in (scores, logits))]
        )

    def take_free_scores(self, log_probabilities: list[float]) -> None:
        """Take the log-probabilities among all tokens of the first forced tokens that have none yet."""
        self.free_log_probabilities += log_probabilities

    def take(self, token_id: int, log_probability: float, free_log_probability: float) -> None:
        """Append the drawn token; nothing where the sequence has failed meanwhile."""
        if self.has_ended:
            return
        self._sampler.advance()
        try:
            if self._tells_scores:
                self.log_probabilities.append(log_probability)
                self.free_log_probabilities.append(free_log_probability)
            self.accept(token_id)
        except PromptError as error:
            self.fail(error)

    def accept(self, token_id: int) -> None:
        """Take a token.

        Args:
            token_id: One that may come next.

        Raises:
            PromptError: The grammar cannot go on.

        """
        if self._rules.advance(token_id):
            self.output_ids.append(token_id)
        if self.is_scoring:
            # A forced answer is known before the model has begun.
            if self.state == "running":
                self.put_back()
            return
        steers = token_id in self._special_tokens.stop_ids or token_id == self._special_tokens.closes_thought
        if self._rules.phase == "answer" and not steers:
            self._answer_tail.append(token_id)
        self._end_where_due(token_id)

    def _is_paused(self) -> bool:
        """Whether no token comes next: it has ended, or its choices are to be scored."""
        return self.has_ended or self.is_scoring

    def _end_where_due(self, token_id: int) -> None:
        has_own_allowance = self._generation.max_thinking_tokens is not None
        spent = self._rules.answer_tokens if has_own_allowance else len(self.output_ids)
        if token_id in self._special_tokens.stop_ids or self._meets_stop_text():
            self.finish("stop")
        elif spent >= self._generation.max_new_tokens and not self.prompt.choices:
            self.finish("length")

    def _meets_stop_text(self) -> bool:
        if self._has_stop_text is None or self._rules.phase != "answer":
            return False
        return self._has_stop_text(list(self._answer_tail), self._generation.stop)
