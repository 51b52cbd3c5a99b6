"""Run one batch at a time through a loaded model."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from threading import Lock
from typing import Any

import torch

from gemma4_block.contract import Answer, GenerationConfig
from gemma4_block.engine.batching import PreparedPrompt, pad_batch
from gemma4_block.engine.generation import Reply, generate_ids, read_reply, read_vocabulary
from gemma4_block.errors import OutOfMemoryError


class BatchRunner:
    """The model with its tokenizer and a lock; threads take turns by the batch."""

    def __init__(self, model: Any, processor: Any) -> None:  # noqa: ANN401 - one of several models
        self._model = model
        self._tokenizer = processor.tokenizer
        self._image_token_id = processor.image_token_id
        self._vocabulary = read_vocabulary(model, processor.tokenizer)
        self._lock = Lock()

    def answer(self, batch: Sequence[PreparedPrompt], generation: GenerationConfig) -> dict[int, Answer]:
        """Answer prompts of one budget together; keys are their places in the call.

        Args:
            batch: At least one, all of one budget.
            generation: How to answer all of them.

        Returns:
            Place in the call to answer.

        Raises:
            OutOfMemoryError: The device's memory does not hold the batch.

        """
        with _explained_memory(self._model, len(batch)):
            inputs = self.pad(batch)
        replies = self.read(self.generate(inputs, generation), generation.stop)
        return {
            prompt.index: Answer(
                text=reply.text,
                thinking=reply.thinking,
                finish_reason=reply.finish_reason,
                input_tokens=len(prompt.input_ids),
                output_tokens=reply.output_tokens,
                image_tokens=prompt.image_tokens,
            )
            for prompt, reply in zip(batch, replies, strict=True)
        }

    def pad(self, batch: Sequence[PreparedPrompt]) -> dict[str, torch.Tensor]:
        """Return the model's inputs for a batch, on its device."""
        return pad_batch(
            batch,
            pad_token_id=self._vocabulary.pad_id,
            image_token_id=self._image_token_id,
            device=self._model.device,
        )

    def generate(self, inputs: dict[str, torch.Tensor], generation: GenerationConfig) -> torch.Tensor:
        """Return the generated ids `(B, T)` int64, without the prompt.

        Args:
            inputs: What `pad` returned.
            generation: How to answer.

        Returns:
            One row for each of the inputs; rows that ended early are padded.

        Raises:
            OutOfMemoryError: The device's memory does not hold the batch.

        """
        with _explained_memory(self._model, len(inputs["input_ids"])), self._lock:
            return generate_ids(self._model, self._tokenizer, inputs, generation, self._vocabulary)

    def read(self, generated_ids: torch.Tensor, stop: Sequence[str]) -> list[Reply]:
        """Cut and split each generated row."""
        rows = generated_ids.tolist()
        return [read_reply(row, self._tokenizer, self._vocabulary, stop) for row in rows]

    def decode_raw(self, generated_ids: torch.Tensor) -> list[str]:
        """Return each generated row as text with all its control tokens."""
        rows = self._tokenizer.batch_decode(generated_ids, skip_special_tokens=False)
        return [text.strip() for text in rows]


@contextmanager
def _explained_memory(model: Any, rows: int) -> Iterator[None]:  # noqa: ANN401 - one of several models
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise OutOfMemoryError(
            f"{model.device} has too little memory for {rows} prompts at once. Lower image_seq_length or "
            "GEMMA4_BLOCK_MAX_BATCH_SIZE, or choose quantization nf4 or a smaller variant."
        ) from error
