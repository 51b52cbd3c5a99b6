"""Choose a token: penalise repeats, warp the distribution, draw by the sequence's own generator."""

from collections.abc import Sequence
from typing import TypeVar

import torch
from transformers import (
    LogitsProcessorList,
    RepetitionPenaltyLogitsProcessor,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from gemma4_block.contract import GenerationConfig
from gemma4_block.engine.family import SamplingDefaults

_Number = TypeVar("_Number", int, float)


class Sampler:
    """Chooses the tokens of one sequence; its draws depend on its own seed alone, not on its batch.

    Args:
        generation: The options of the request.
        defaults: Of the checkpoint, for options that the request leaves open.

    """

    def __init__(self, generation: GenerationConfig, defaults: SamplingDefaults) -> None:
        penalty = _first_set(generation.repetition_penalty, defaults.repetition_penalty)
        self._penalty = (
            None if penalty is None or penalty == 1 else RepetitionPenaltyLogitsProcessor(float(penalty))
        )
        self._warpers = _warpers(generation, defaults)
        self._generator: torch.Generator | None = None
        self._noise: torch.Tensor | None = None
        if generation.do_sample:
            self._generator = torch.Generator()
            if generation.seed is None:
                self._generator.seed()
            else:
                self._generator.manual_seed(generation.seed)

    @property
    def is_greedy(self) -> bool:
        """Whether the likeliest token is always chosen."""
        return self._penalty is None and self._generator is None

    def penalise(self, scores: torch.Tensor, prompt_ids: Sequence[int], ids: Sequence[int]) -> torch.Tensor:
        """Return the scores `(V,)` with those of tokens of the prompt and the reply made smaller."""
        if self._penalty is None:
            return scores
        used = torch.tensor([[*prompt_ids, *ids]], dtype=torch.long, device=scores.device)
        penalised: torch.Tensor = self._penalty(used, scores[None])[0]
        return penalised

    def draw(self, scores: torch.Tensor) -> torch.Tensor:
        """Return scores `(V,)` whose greatest is a fair draw; the same scores where nothing is drawn.

        The greatest of log-probabilities plus Gumbel noise is a sample. Until `advance`, the noise is the
        same, so that a step which failed can be tried again.
        """
        if self._generator is None:
            return scores
        warped: torch.Tensor = self._warpers(None, scores[None])[0]  # type: ignore[arg-type]
        uniform = self._find_noise(self._generator, len(scores))
        noise = -torch.log(-torch.log(uniform.clamp(min=torch.finfo(torch.float32).tiny)))
        return warped + noise.to(scores.device)

    def advance(self) -> None:
        """Let the next draw be another one."""
        self._noise = None

    def skip(self, size: int) -> None:
        """Let a token pass that needs no draw, so that later ones are drawn as if it had been one.

        Args:
            size: Entries of the model's vocabulary.

        """
        if self._generator is not None:
            self._find_noise(self._generator, size)
            self.advance()

    def _find_noise(self, generator: torch.Generator, size: int) -> torch.Tensor:
        if self._noise is None:
            self._noise = torch.rand(size, generator=generator)
        return self._noise


def _warpers(generation: GenerationConfig, defaults: SamplingDefaults) -> LogitsProcessorList:
    warpers = LogitsProcessorList()
    if not generation.do_sample:
        return warpers
    temperature = _first_set(generation.temperature, defaults.temperature)
    top_k = _first_set(generation.top_k, defaults.top_k)
    top_p = _first_set(generation.top_p, defaults.top_p)
    if temperature is not None:
        warpers.append(TemperatureLogitsWarper(float(temperature)))
    if top_k is not None and top_k > 0:
        warpers.append(TopKLogitsWarper(top_k))
    if top_p is not None and top_p < 1:
        warpers.append(TopPLogitsWarper(float(top_p)))
    return warpers


def _first_set(asked: _Number | None, default: _Number | None) -> _Number | None:
    return default if asked is None else asked
