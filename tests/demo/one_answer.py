"""An engine for tests of the evaluation."""

from collections.abc import Sequence
from threading import Event

from gemma4_block.contract import Answer, Capabilities, GenerationConfig, ImageSeqLength, Prompt
from gemma4_block.errors import PromptError


class OneAnswerEngine:
    """Say the same to every prompt, and keep what was asked.

    Args:
        text: What it says.
        image_seq_lengths: Budgets that it claims.

    """

    nbytes = 0

    def __init__(self, text: str, image_seq_lengths: tuple[ImageSeqLength, ...] = (70,)) -> None:
        self.text = text
        self.capabilities = Capabilities(image_seq_lengths=image_seq_lengths)
        self.asked: list[tuple[Prompt, GenerationConfig]] = []

    def answer(
        self,
        prompts: Sequence[Prompt],
        generation: GenerationConfig,
        *,
        deadline: float | None = None,  # noqa: ARG002 - part of the signature
        cancelled: Event | None = None,  # noqa: ARG002
    ) -> list[Answer | PromptError]:
        """Return the one answer for each prompt."""
        self.asked += [(prompt, generation) for prompt in prompts]
        return [
            Answer(
                text=self.text,
                thinking="",
                finish_reason="stop",
                input_tokens=1,
                output_tokens=1,
                image_tokens=1,
            )
            for _ in prompts
        ]

    def close(self) -> None:
        """There is nothing to give back."""
