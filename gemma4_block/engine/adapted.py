"""The engine of this process as it is with one of its adapters."""

from collections.abc import Sequence
from threading import Event
from typing import Protocol

from gemma4_block.contract import Answer, Capabilities, Engine, GenerationConfig, ImageSeqLength, Prompt
from gemma4_block.engine.loading import Checkpoint
from gemma4_block.engine.preprocess import Preprocessor
from gemma4_block.engine.residency import LoadedAdapter
from gemma4_block.errors import PromptError


class PreparingEngine(Engine, Protocol):
    """An engine that answers prompts as a preprocessor prepares them, which names an adapter."""

    def answer_prepared(
        self,
        preprocessor: Preprocessor,
        prompts: Sequence[Prompt],
        generation: GenerationConfig,
        *,
        deadline: float | None,
        cancelled: Event | None,
    ) -> list[Answer | PromptError]:
        """Answer as `answer` does."""


class AdaptedEngine:
    """An `Engine` that answers with an adapter, on the weights and in the batches of its base.

    Args:
        base: Has the adapter loaded, and keeps it as long as this is used.
        preprocessor: Prepares prompts for the adapter.

    """

    def __init__(self, base: PreparingEngine, preprocessor: Preprocessor) -> None:
        self._base = base
        self._preprocessor = preprocessor

    @property
    def capabilities(self) -> Capabilities:
        """Those of the base."""
        return self._base.capabilities

    @property
    def nbytes(self) -> int:
        """What the base takes, with all of its adapters."""
        return self._base.nbytes

    def answer(
        self,
        prompts: Sequence[Prompt],
        generation: GenerationConfig,
        *,
        deadline: float | None = None,
        cancelled: Event | None = None,
    ) -> list[Answer | PromptError]:
        """Answer many prompts, together with those of the base and of other adapters; see `Engine.answer`.

        Args:
            prompts: Any number, with images of any sizes and counts.
            generation: How to answer all of them.
            deadline: When all answers end where they stand, by `time.monotonic`.
            cancelled: Set it from another thread to end all answers where they stand.

        Returns:
            One entry for each prompt, in the same order.

        Raises:
            EngineError: The engine failed, or is closed.
            OutOfMemoryError: The device's memory does not hold one of the prompts alone.

        """
        return self._base.answer_prepared(
            self._preprocessor, prompts, generation, deadline=deadline, cancelled=cancelled
        )

    def close(self) -> None:
        """Do nothing: the base goes on, and gives the adapter's memory back when another needs its place."""


def make_preprocessor(
    checkpoint: Checkpoint, image_seq_length: ImageSeqLength | None, adapter: LoadedAdapter | None = None
) -> Preprocessor:
    """Return what turns prompts into tensors.

    Args:
        checkpoint: Of the base.
        image_seq_length: Visual token budget where a prompt names none; None means the checkpoint's.
        adapter: Answers the prompts; None for the base.

    Returns:
        The preprocessor.

    """
    return Preprocessor(
        checkpoint.template,
        checkpoint.image_processor,
        checkpoint.special_tokens,
        checkpoint.budgets,
        context_tokens=checkpoint.context_tokens,
        inference_config=checkpoint.inference_config if adapter is None else adapter.inference_config,
        image_seq_length=image_seq_length,
        adapter=None if adapter is None else adapter.tag,
    )
