"""The answer of the model, and why it ended."""

from dataclasses import dataclass
from typing import Literal

FinishReason = Literal["stop", "length", "deadline", "cancelled"]
"""`stop`: the model ended its turn or met a stop string; `length`: it ran into `max_new_tokens`; `deadline`:
its time was up; `cancelled`: the caller did not want it. After all but the first the answer is cut off."""

_CUTS: dict[FinishReason, str] = {
    "length": "The answer was cut off at max_new_tokens. Raise max_new_tokens, or ask for less.",
    "deadline": "The answer was cut off because its time was up. Ask for less, or raise "
    "GEMMA4_BLOCK_MAX_SECONDS.",
    "cancelled": "The answer was cut off because it was cancelled.",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class TokenScore:
    """How sure the model was of one token of its answer.

    Attributes:
        start: Where the token's text begins in the answer's text, in characters.
        end: Where it ends.
        log_probability: Natural logarithm of its probability among the tokens that the constraint allowed
            there, at temperature 1.
        free_log_probability: The same among all tokens, whatever is allowed or penalised: how likely the
            model was to write this by itself. None where the engine cannot tell, or did not ask the model,
            as where the constraint left nothing to choose up to the end.

    """

    start: int
    end: int
    log_probability: float
    free_log_probability: float | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """The model's answer to one prompt.

    Attributes:
        text: The answer without thoughts, control tokens and outer white space.
        thinking: The thoughts; empty where there were none.
        finish_reason: Why it ended.
        input_tokens: Tokens of the rendered prompt, soft tokens of images included.
        output_tokens: Tokens generated, thoughts and the end of the turn included.
        image_tokens: Soft tokens of all images of the prompt.
        token_scores: One for each token of the text, in order, where the prompt needed them; None where it
            did not, or where the engine cannot tell.
        choice_probabilities: For each group of the prompt's `Choices` the probability of each alternative
            among them, in order, adding up to 1; None without choices, or where the engine cannot score. The
            text is then the chosen alternatives, one on a line.
        group_probabilities: For each group how likely the model was to say any of its alternatives after the
            lead, 0 to 1; None where the engine cannot tell.

    """

    text: str
    thinking: str
    finish_reason: FinishReason
    input_tokens: int
    output_tokens: int
    image_tokens: int
    token_scores: tuple[TokenScore, ...] | None = None
    choice_probabilities: tuple[tuple[float, ...], ...] | None = None
    group_probabilities: tuple[float, ...] | None = None

    @property
    def cut_off(self) -> str | None:
        """Why the answer is not whole, and what to do about it; None where it is."""
        return _CUTS.get(self.finish_reason)
