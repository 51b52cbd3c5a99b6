"""Judge a model by examples that it does not learn from."""

from collections.abc import Iterator, Sequence
from typing import Final

import torch

from gemma4_block.contract import Answer, GenerationConfig
from gemma4_block.engine.loading import Checkpoint
from gemma4_block.engine.local import LocalEngine
from gemma4_block.finetuning.dataset import Example
from gemma4_block.finetuning.lessons import Lesson, Lessons
from gemma4_block.finetuning.results import Judgement
from gemma4_block.finetuning.rows import answer_losses
from gemma4_block.settings import Settings

_AT_ONCE: Final = 8


class Judge:
    """Asks a loaded model, with what adapters it has, and compares.

    Args:
        checkpoint: The model.
        lessons: Prepare its rows.
        examples: At least one.
        settings: The operator's.

    """

    def __init__(
        self, checkpoint: Checkpoint, lessons: Lessons, examples: Sequence[Example], settings: Settings
    ) -> None:
        self._checkpoint = checkpoint
        self._lessons = lessons
        self._examples = examples
        self._settings = settings

    def judge(self) -> Judgement:
        """Ask all, and return how good the answers are."""
        # Another one every time: what an engine keeps of prompts is of the model as it was.
        engine = LocalEngine(self._checkpoint, self._settings)
        losses: list[float] = []
        answers: list[str] = []
        hits = 0
        try:
            for lessons in self._batches():
                losses += self._measure(lessons)
                for lesson, answer in zip(lessons, self._ask(engine, lessons), strict=True):
                    hits += answer == lesson.target
                    answers.append(answer)
        finally:
            engine.close()
        return Judgement(exact=hits / len(answers), loss=sum(losses) / len(losses), answers=tuple(answers))

    def _batches(self) -> Iterator[list[Lesson]]:
        for start in range(0, len(self._examples), _AT_ONCE):
            yield [self._lessons.word(one) for one in self._examples[start : start + _AT_ONCE]]

    @torch.no_grad()
    def _measure(self, lessons: Sequence[Lesson]) -> list[float]:
        model, pad_id = self._checkpoint.model, self._checkpoint.special_tokens.pad_id
        return [
            float(answer_losses(model, [row], self._lessons.features, pad_id=pad_id))
            for row in self._lessons.prepare(lessons)
        ]

    def _ask(self, engine: LocalEngine, lessons: Sequence[Lesson]) -> list[str]:
        encode = self._checkpoint.template.encode_text
        # Twice as long as any right answer is wrong.
        longest = 2 * max(len(encode(lesson.target)) for lesson in lessons) + 1
        found = engine.answer(
            [lesson.prompt for lesson in lessons], GenerationConfig(max_new_tokens=longest, do_sample=False)
        )
        return [answer.text if isinstance(answer, Answer) else str(answer) for answer in found]
