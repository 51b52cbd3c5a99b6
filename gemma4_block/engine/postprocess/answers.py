"""Turn a sequence that has ended into the answer that its caller gets."""

from itertools import zip_longest

import torch

from gemma4_block.contract import Answer, GenerationConfig
from gemma4_block.engine.family import Detokenizer, SamplingDefaults
from gemma4_block.engine.sampling import Grammars, Sampler
from gemma4_block.engine.scheduler import Outcome, Sequence
from gemma4_block.engine.token_scores import place_scores
from gemma4_block.errors import PromptError


class AnswerReader:
    """Detokenizes the sequences of one checkpoint. May be used from many threads.

    Args:
        detokenizer: Of the checkpoint.
        grammars: Of its tokenizer; they know the bytes of each token.
        defaults: Of the checkpoint, for choices that are drawn by chance.

    """

    def __init__(self, detokenizer: Detokenizer, grammars: Grammars, defaults: SamplingDefaults) -> None:
        self._detokenizer = detokenizer
        self._grammars = grammars
        self._defaults = defaults

    def read(self, outcome: Outcome, generation: GenerationConfig) -> Answer | PromptError:
        """Return the answer that a prompt's outcome stands for.

        Args:
            outcome: Of a request that is done.
            generation: How it was to be answered.

        Returns:
            The answer, or why there is none.

        """
        if isinstance(outcome, PromptError):
            return outcome
        if not isinstance(outcome, Sequence):
            return Answer(
                text="", thinking="", finish_reason=outcome, input_tokens=0, output_tokens=0, image_tokens=0
            )
        if outcome.failure is not None:
            return outcome.failure
        if outcome.choice_scores is not None:
            return self._read_choices(outcome, outcome.choice_scores, generation)
        return self._read_text(outcome, generation)

    def _read_text(self, sequence: Sequence, generation: GenerationConfig) -> Answer:
        ids = sequence.output_ids
        reply = self._detokenizer.read(ids, generation.stop)
        scores = None
        if sequence.prompt.needs_token_scores:
            pieces = self._grammars.token_bytes([ids[place] for place in reply.answer_places])
            known = list(zip_longest(sequence.log_probabilities, sequence.free_log_probabilities))
            scores = place_scores(reply.text, pieces, [known[place] for place in reply.answer_places])
        assert sequence.finish_reason is not None, "an outcome has ended"
        return Answer(
            text=reply.text,
            thinking=reply.thinking,
            finish_reason=sequence.finish_reason,
            input_tokens=len(sequence.prompt.input_ids),
            output_tokens=reply.output_tokens,
            image_tokens=sequence.prompt.image_tokens,
            token_scores=scores,
        )

    def _read_choices(
        self, sequence: Sequence, scores: tuple[float, ...], generation: GenerationConfig
    ) -> Answer:
        prompt, left = sequence.prompt, iter(scores)
        sampler = Sampler(generation, self._defaults)
        chosen: list[int] = []
        probabilities: list[tuple[float, ...]] = []
        totals: list[float] = []
        for group in prompt.choices:
            free = torch.tensor([next(left) for _ in group], dtype=torch.float64)
            if prompt.choice_rest is not None:
                free[prompt.choice_rest] = free[prompt.choice_rest].logaddexp(_log_rest(free))
            totals.append(min(1.0, float(free.logsumexp(dim=0).exp())))
            known = free.log_softmax(dim=0)
            chosen.append(int(sampler.draw(known).argmax()))
            sampler.advance()
            probabilities.append(tuple(known.exp().tolist()))
        thought = self._detokenizer.read(sequence.output_ids)
        written = sum(len(group[place]) for group, place in zip(prompt.choices, chosen, strict=True))
        texts = [group[place] for group, place in zip(prompt.choice_texts, chosen, strict=True)]
        return Answer(
            text="\n".join(texts),
            thinking=thought.thinking,
            finish_reason="stop",
            input_tokens=len(prompt.input_ids),
            output_tokens=len(sequence.output_ids) + written,
            image_tokens=prompt.image_tokens,
            choice_probabilities=tuple(probabilities),
            group_probabilities=tuple(totals),
        )


def _log_rest(free: torch.Tensor) -> torch.Tensor:
    """Return the logarithm of what the probabilities with these logarithms leave of 1."""
    return torch.log1p(-free.logsumexp(dim=0).exp().clamp(max=1))
