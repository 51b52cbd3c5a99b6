"""Begin replies to prompts, and turn what became of them into answers."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import torch

from gemma4_block.contract import Answer, GenerationConfig
from gemma4_block.engine.gemma4.detokenizer import has_stop_text, place_scores, read_reply
from gemma4_block.engine.gemma4.special_tokens import Vocabulary
from gemma4_block.engine.preprocess.prepared import PreparedPrompt
from gemma4_block.engine.sampling.grammar import Grammars
from gemma4_block.engine.sampling.sampler import Sampler
from gemma4_block.engine.scheduler.request import Job, Outcome
from gemma4_block.engine.scheduler.sequence import Row
from gemma4_block.errors import PromptError


class ReplyDesk:
    """Knows the tokens of one checkpoint. May be used from many threads.

    Args:
        tokenizer: The checkpoint's.
        vocabulary: Its steering ids.
        grammars: Of its tokenizer.
        defaults: Its generation config.
        vocabulary_size: Entries of the model's vocabulary, which may be more than the tokenizer's.

    """

    def __init__(
        self,
        tokenizer: Any,  # noqa: ANN401 - foreign objects
        vocabulary: Vocabulary,
        grammars: Grammars,
        defaults: Any,  # noqa: ANN401
        *,
        vocabulary_size: int,
    ) -> None:
        self._tokenizer = tokenizer
        self._vocabulary = vocabulary
        self._grammars = grammars
        self._defaults = defaults
        self._vocabulary_size = vocabulary_size

    def begin(self, prompt: PreparedPrompt, generation: GenerationConfig) -> Row:
        """Return the reply to a prompt, with the tokens in it that its schema forces at once.

        Args:
            prompt: What is asked.
            generation: How to answer.

        Returns:
            A row of its own for every call.

        Raises:
            PromptError: The schema allows no beginning.

        """
        is_stopped = partial(
            has_stop_text, tokenizer=self._tokenizer, vocabulary=self._vocabulary, stop=generation.stop
        )
        row = Row(
            prompt.input_ids,
            generation,
            self._vocabulary,
            Sampler(generation, self._defaults),
            grammar=None if prompt.schema is None else self._grammars.start(prompt.schema),
            is_stopped=is_stopped if generation.stop else None,
            needs_scores=prompt.needs_token_scores,
            ends_after_thought=bool(prompt.choices),
        )
        row.take_forced(self._vocabulary_size)
        if row.failure is not None:
            raise row.failure
        return row

    def read(self, outcome: Outcome, generation: GenerationConfig) -> Answer | PromptError:
        """Return what a prompt's outcome means to its caller.

        Args:
            outcome: Of a call that is done.
            generation: How it was to be answered.

        Returns:
            The answer, or why there is none.

        """
        if isinstance(outcome, PromptError):
            return outcome
        if not isinstance(outcome, Job):
            return Answer(
                text="", thinking="", finish_reason=outcome, input_tokens=0, output_tokens=0, image_tokens=0
            )
        if outcome.row.failure is not None:
            return outcome.row.failure
        if outcome.scores is not None:
            return self._read_choices(outcome, outcome.scores, generation)
        return self._read_row(outcome.prompt, outcome.row, generation)

    def _read_row(self, prompt: PreparedPrompt, row: Row, generation: GenerationConfig) -> Answer:
        reply = read_reply(row.ids, self._tokenizer, self._vocabulary, generation.stop)
        scores = None
        if prompt.needs_token_scores:
            pieces = self._grammars.token_bytes([row.ids[place] for place in reply.answer_places])
            scores = place_scores(
                reply.text, pieces, [row.log_probabilities[place] for place in reply.answer_places]
            )
        assert row.finish_reason is not None, "an outcome has ended"
        return Answer(
            text=reply.text,
            thinking=reply.thinking,
            finish_reason=row.finish_reason,
            input_tokens=len(prompt.input_ids),
            output_tokens=reply.output_tokens,
            image_tokens=prompt.image_tokens,
            token_scores=scores,
        )

    def _read_choices(self, job: Job, scores: Sequence[float], generation: GenerationConfig) -> Answer:
        prompt, left = job.prompt, iter(scores)
        sampler = Sampler(generation, self._defaults)
        chosen: list[int] = []
        probabilities: list[tuple[float, ...]] = []
        for group in prompt.choices:
            known = torch.tensor([next(left) for _ in group], dtype=torch.float64).log_softmax(dim=0)
            chosen.append(int(sampler.draw(known).argmax()))
            probabilities.append(tuple(known.exp().tolist()))
        thought = read_reply(job.row.ids, self._tokenizer, self._vocabulary)
        written = sum(len(group[place]) for group, place in zip(prompt.choices, chosen, strict=True))
        texts = [group[place] for group, place in zip(prompt.choice_texts, chosen, strict=True)]
        return Answer(
            text="\n".join(texts),
            thinking=thought.thinking,
            finish_reason="stop",
            input_tokens=len(prompt.input_ids),
            output_tokens=len(job.row.ids) + written,
            image_tokens=prompt.image_tokens,
            choice_probabilities=tuple(probabilities),
        )
