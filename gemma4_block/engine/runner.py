"""Run one batch at a time through a loaded model."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from itertools import chain
from threading import Lock
from typing import Any

import torch

from gemma4_block.contract import Answer, GenerationConfig
from gemma4_block.engine.batching import PreparedPrompt, pad_images, pad_texts
from gemma4_block.engine.decoding import write_replies
from gemma4_block.engine.grammar import Grammars
from gemma4_block.engine.prefill import PromptReader, Reading
from gemma4_block.engine.reply import Reply, has_stop_text, place_scores, read_reply
from gemma4_block.engine.row import Row
from gemma4_block.engine.sampling import Sampler
from gemma4_block.engine.scoring import score_texts
from gemma4_block.engine.vision import FeatureCache, encode_images
from gemma4_block.engine.vocabulary import Vocabulary
from gemma4_block.errors import OutOfMemoryError, PromptError


class BatchRunner:
    """The model with its tokenizer and a lock; threads take turns by the batch."""

    def __init__(
        self,
        model: Any,  # noqa: ANN401 - one of several models
        processor: Any,  # noqa: ANN401
        vocabulary: Vocabulary,
        grammars: Grammars,
        features: FeatureCache,
    ) -> None:
        self._model = model
        self._reader = PromptReader(model)
        self._tokenizer = processor.tokenizer
        self._image_token_id = processor.image_token_id
        self._vocabulary = vocabulary
        self._grammars = grammars
        self._features = features
        self._lock = Lock()

    def answer(
        self, batch: Sequence[PreparedPrompt], generation: GenerationConfig
    ) -> dict[int, Answer | PromptError]:
        """Answer prompts of one budget together; keys are their places in the call.

        Args:
            batch: At least one, all of one budget, and all of them with choices or none.
            generation: How to answer all of them.

        Returns:
            Place in the call to answer.

        Raises:
            OutOfMemoryError: The device's memory does not hold the batch.

        """
        rows = [self._start(prompt, generation) for prompt in batch]
        if batch[0].choices:
            if generation.enable_thinking:
                self._write(batch, rows)
            return self._choose(batch, rows, generation)
        self._write(batch, rows)
        return {
            prompt.index: self._read_row(prompt, row, generation)
            for prompt, row in zip(batch, rows, strict=True)
        }

    def pad(self, batch: Sequence[PreparedPrompt]) -> dict[str, torch.Tensor]:
        """Return the model's inputs for a batch whose images have pixels, on its device."""
        images = [image for prompt in batch for image in prompt.images]
        return self._pad_texts(batch) | pad_images(images, device=self._model.device)

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
        kept = zip(inputs["input_ids"], inputs["attention_mask"].bool(), strict=True)
        rows = [self._row(ids[is_real].tolist(), generation) for ids, is_real in kept]
        with self._working(len(rows)):
            features: Sequence[torch.Tensor] = ()
            if "pixel_values" in inputs:
                features = self._model.get_image_features(
                    pixel_values=inputs["pixel_values"],
                    image_position_ids=inputs["image_position_ids"],
                    return_dict=True,
                ).pooler_output
            self._reply(self._reader.read(inputs, features), rows)
        longest = max(len(row.ids) for row in rows)
        padded = [row.ids + [self._vocabulary.pad_id] * (longest - len(row.ids)) for row in rows]
        return torch.tensor(padded, device=self._model.device)

    def read(self, generated_ids: torch.Tensor, stop: Sequence[str]) -> list[Reply]:
        """Cut and split each generated row."""
        rows = generated_ids.tolist()
        return [read_reply(row, self._tokenizer, self._vocabulary, stop) for row in rows]

    def decode_raw(self, generated_ids: torch.Tensor) -> list[str]:
        """Return each generated row as text with all its control tokens."""
        rows = self._tokenizer.batch_decode(generated_ids, skip_special_tokens=False)
        return [text.strip() for text in rows]

    def _start(self, prompt: PreparedPrompt, generation: GenerationConfig) -> Row:
        return self._row(
            prompt.input_ids,
            generation,
            schema=prompt.schema,
            needs_scores=prompt.needs_token_scores,
            ends_after_thought=bool(prompt.choices),
        )

    def _row(
        self,
        prompt_ids: Sequence[int],
        generation: GenerationConfig,
        *,
        schema: str | None = None,
        needs_scores: bool = False,
        ends_after_thought: bool = False,
    ) -> Row:
        is_stopped = partial(
            has_stop_text, tokenizer=self._tokenizer, vocabulary=self._vocabulary, stop=generation.stop
        )
        return Row(
            prompt_ids,
            generation,
            self._vocabulary,
            Sampler(generation, self._model.generation_config),
            grammar=None if schema is None else self._grammars.start(schema),
            is_stopped=is_stopped if generation.stop else None,
            needs_scores=needs_scores,
            ends_after_thought=ends_after_thought,
        )

    def _write(self, batch: Sequence[PreparedPrompt], rows: Sequence[Row]) -> None:
        with self._working(len(rows)):
            self._reply(self._read(batch), rows)

    def _read(self, batch: Sequence[PreparedPrompt]) -> Reading:
        images = [image for prompt in batch for image in prompt.images]
        features = encode_images(self._model, images, self._features)
        return self._reader.read(self._pad_texts(batch), features)

    def _reply(self, reading: Reading, rows: Sequence[Row]) -> None:
        write_replies(self._model, reading, rows, pad_id=self._vocabulary.pad_id)

    def _pad_texts(self, batch: Sequence[PreparedPrompt]) -> dict[str, torch.Tensor]:
        return pad_texts(
            [prompt.input_ids for prompt in batch],
            pad_token_id=self._vocabulary.pad_id,
            image_token_id=self._image_token_id,
            device=self._model.device,
        )

    @contextmanager
    def _working(self, rows: int) -> Iterator[None]:
        with _explained_memory(self._model, rows), self._lock, torch.inference_mode():
            yield

    def _read_row(
        self, prompt: PreparedPrompt, row: Row, generation: GenerationConfig
    ) -> Answer | PromptError:
        if row.failure is not None:
            return row.failure
        reply = read_reply(row.ids, self._tokenizer, self._vocabulary, generation.stop)
        scores = None
        if prompt.needs_token_scores:
            pieces = self._grammars.token_bytes([row.ids[place] for place in reply.answer_places])
            scores = place_scores(
                reply.text, pieces, [row.log_probabilities[place] for place in reply.answer_places]
            )
        return Answer(
            text=reply.text,
            thinking=reply.thinking,
            finish_reason=reply.finish_reason,
            input_tokens=len(prompt.input_ids),
            output_tokens=reply.output_tokens,
            image_tokens=prompt.image_tokens,
            token_scores=scores,
        )

    def _choose(
        self, batch: Sequence[PreparedPrompt], rows: Sequence[Row], generation: GenerationConfig
    ) -> dict[int, Answer | PromptError]:
        # What was thought has become part of the question.
        asked = [
            replace(prompt, input_ids=prompt.input_ids + tuple(row.ids))
            for prompt, row in zip(batch, rows, strict=True)
        ]
        texts = [list(chain.from_iterable(prompt.choices)) for prompt in asked]
        with self._working(len(batch)):
            scores = score_texts(self._model, self._read(asked), texts)
        return {
            prompt.index: self._read_choices(prompt, row, found, generation)
            for prompt, row, found in zip(batch, rows, scores, strict=True)
        }

    def _read_choices(
        self, prompt: PreparedPrompt, row: Row, scores: Sequence[float], generation: GenerationConfig
    ) -> Answer:
        left = iter(scores)
        sampler = Sampler(generation, self._model.generation_config)
        chosen: list[int] = []
        probabilities: list[tuple[float, ...]] = []
        for group in prompt.choices:
            known = torch.tensor([next(left) for _ in group], dtype=torch.float64).log_softmax(dim=0)
            chosen.append(int(sampler.draw(known).argmax()))
            probabilities.append(tuple(known.exp().tolist()))
        thought = read_reply(row.ids, self._tokenizer, self._vocabulary)
        written = sum(len(group[place]) for group, place in zip(prompt.choices, chosen, strict=True))
        texts = [group[place] for group, place in zip(prompt.choice_texts, chosen, strict=True)]
        return Answer(
            text="\n".join(texts),
            thinking=thought.thinking,
            finish_reason="stop",
            input_tokens=len(prompt.input_ids),
            output_tokens=len(row.ids) + written,
            image_tokens=prompt.image_tokens,
            choice_probabilities=tuple(probabilities),
        )


@contextmanager
def _explained_memory(model: Any, rows: int) -> Iterator[None]:  # noqa: ANN401 - one of several models
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise OutOfMemoryError(
            f"{model.device} has too little memory for {rows} prompts at once. Lower image_seq_length or "
            "GEMMA4_BLOCK_MAX_BATCH_SIZE, or choose quantization nf4 or a smaller variant."
        ) from error
