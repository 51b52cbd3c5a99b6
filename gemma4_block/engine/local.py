"""The engine of this process: a loaded checkpoint that answers the calls of all threads."""

import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from threading import Event

import torch

from gemma4_block.contract import (
    Answer,
    Capabilities,
    Engine,
    GenerationConfig,
    HeldAdapter,
    ImageSeqLength,
    Prompt,
)
from gemma4_block.engine.adapted import AdaptedEngine, make_preprocessor
from gemma4_block.engine.byte_cache import ByteCache
from gemma4_block.engine.family import DecodedReply
from gemma4_block.engine.hardware import read_free_memory
from gemma4_block.engine.loading import Checkpoint
from gemma4_block.engine.postprocess import AnswerReader
from gemma4_block.engine.preprocess import FeatureCache, Preprocessor, make_model_inputs, read_model_inputs
from gemma4_block.engine.profiling import Profile, StageClock
from gemma4_block.engine.residency import AdapterResidency
from gemma4_block.engine.runner import ForwardPasses, ModelRunner, PrefixCache, make_graphs
from gemma4_block.engine.sampling import Grammars
from gemma4_block.engine.scheduler import Admission, Outcome, Request, Scheduler
from gemma4_block.engine.submission import PromptSubmitter
from gemma4_block.errors import EngineError, PromptError
from gemma4_block.meter import get_meter
from gemma4_block.settings import Settings

# What is prepared waits in memory, up to 31 MB an image at a budget of 1120.
BATCHES_AHEAD = 4
"""Prompts that are prepared ahead of the model, for each that it works on."""

_LOGGER = logging.getLogger(__name__)


class LocalEngine:
    """A loaded model; an `Engine`. Calls of many threads share it.

    Args:
        checkpoint: What was loaded.
        settings: The operator's: batch size and caches.
        image_seq_length: Visual token budget where a prompt names none; None means the checkpoint's.

    Attributes:
        checkpoint: As given.
        preprocessor: Turns prompts into tensors.

    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        settings: Settings,
        *,
        image_seq_length: ImageSeqLength | None = None,
    ) -> None:
        self.checkpoint = checkpoint
        self._features: FeatureCache = ByteCache(settings.vision_cache_bytes)
        self._prefixes: PrefixCache = ByteCache(settings.prefix_cache_bytes)
        grammars = Grammars(checkpoint.tokenizer, checkpoint.special_tokens)
        self._reader = AnswerReader(checkpoint.detokenizer, grammars, checkpoint.sampling_defaults)
        self.preprocessor = make_preprocessor(checkpoint, image_seq_length)
        model, tokens, adapters = checkpoint.model, checkpoint.special_tokens, checkpoint.adapters
        clock = StageClock(model.device)
        read_free = partial(read_free_memory, model.device)
        passes = ForwardPasses(model, pad_id=tokens.pad_id, image_id=tokens.image_id, adapters=adapters)
        graphs = make_graphs(model, read_free=read_free, are_wanted=settings.cuda_graphs)
        self._runner = ModelRunner(
            passes,
            settings.guessed_tokens,
            features=self._features,
            prefixes=self._prefixes,
            clock=clock,
            graphs=graphs,
        )
        admission = Admission(settings.max_batch_size, measure=model.measure_cache, read_free=read_free)
        self._scheduler = Scheduler(self._runner, clock, admission)
        ahead = BATCHES_AHEAD * settings.max_batch_size
        self._submitter = PromptSubmitter(checkpoint, grammars, self._features, self._scheduler, ahead=ahead)
        self._adapters = AdapterResidency(
            checkpoint.adapters,
            self._scheduler,
            inference_config=checkpoint.inference_config,
            most=settings.max_adapters,
            forget=self._runner.forget_adapter,
        )

    @property
    def capabilities(self) -> Capabilities:
        """All that an engine can do, with the budgets that the checkpoint was trained for."""
        return Capabilities(image_seq_lengths=self.checkpoint.budgets.trained)

    @property
    def nbytes(self) -> int:
        """Size in memory of the weights, of adapters, and of what is kept of earlier prompts."""
        weights = self.checkpoint.model.nbytes + self.checkpoint.adapters.nbytes
        return weights + self._features.nbytes + self._prefixes.nbytes

    @property
    def adapters(self) -> tuple[HeldAdapter, ...]:
        """The adapters that are loaded, in the order of loading."""
        return self._adapters.held

    @contextmanager
    def adapted(self, adapter: Path) -> Iterator[Engine]:
        """Lend this engine with an adapter; see `AdaptableEngine`."""
        with self._adapters.borrow(adapter) as loaded:
            yield AdaptedEngine(self, make_preprocessor(self.checkpoint, None, loaded))

    def answer(
        self,
        prompts: Sequence[Prompt],
        generation: GenerationConfig,
        *,
        deadline: float | None = None,
        cancelled: Event | None = None,
    ) -> list[Answer | PromptError]:
        """Answer many prompts, each on its own, together with those of other threads; see `Engine.answer`.

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
        return self.answer_prepared(
            self.preprocessor, prompts, generation, deadline=deadline, cancelled=cancelled
        )

    def answer_prepared(
        self,
        preprocessor: Preprocessor,
        prompts: Sequence[Prompt],
        generation: GenerationConfig,
        *,
        deadline: float | None,
        cancelled: Event | None,
    ) -> list[Answer | PromptError]:
        """Answer as `answer` does, with the preprocessor and so the adapter that the caller names."""
        profile = Profile(is_wanted=_LOGGER.isEnabledFor(logging.DEBUG))
        request = Request(len(prompts), deadline=deadline, cancelled=cancelled, profile=profile)
        return self._answer(request, prompts, generation, preprocessor)

    def profile(
        self, prompts: Sequence[Prompt], generation: GenerationConfig
    ) -> tuple[list[Answer | PromptError], Profile]:
        """Answer as `answer` does, and say where the time went; a GPU is waited for after every stage.

        Args:
            prompts: Any number.
            generation: How to answer all of them.

        Returns:
            One entry for each prompt, in order, and the stages.

        Raises:
            EngineError: The engine failed, or is closed.

        """
        request = Request(len(prompts), profile=Profile(is_wanted=True))
        return self._answer(request, prompts, generation, self.preprocessor), request.profile

    def prepare_inputs(
        self, prompt: Prompt, *, enable_thinking: bool, image_size_wh: tuple[int, int] | None
    ) -> dict[str, torch.Tensor]:
        """Return the model's own inputs for one prompt.

        Args:
            prompt: What is asked.
            enable_thinking: Ask the template for the thinking form.
            image_size_wh: Width and height that replace those of inference_config.json.

        Returns:
            Tensors of one row on the model's device.

        Raises:
            PromptError: An image cannot be read, or the prompt has more tokens than the model reads.
            ConfigurationError: `image_size_wh` would do nothing.

        """
        prepared = self.preprocessor.prepare(
            0, prompt, enable_thinking=enable_thinking, image_size_wh=image_size_wh
        )
        tokens, device = self.checkpoint.special_tokens, self.checkpoint.model.device
        return make_model_inputs(
            [prepared], pad_token_id=tokens.pad_id, image_token_id=tokens.image_id, device=device
        )

    def generate_from_inputs(
        self,
        inputs: Mapping[str, torch.Tensor],
        generation: GenerationConfig,
        *,
        deadline: float | None = None,
    ) -> torch.Tensor:
        """Return the generated ids `(B, T)` int64, without the prompt.

        Args:
            inputs: As `prepare_inputs` returns them, of any number of rows.
            generation: How to answer.
            deadline: When all answers end where they stand, by `time.monotonic`.

        Returns:
            One row for each of the inputs on the model's device; rows that ended early are padded.

        Raises:
            ConfigurationError: The images are not those of the texts, or a row has no text.
            EngineError: The engine failed, or is closed.

        """
        tokens = self.checkpoint.special_tokens
        prompts = read_model_inputs(
            inputs, image_token_id=tokens.image_id, image_processor=self.checkpoint.image_processor
        )
        profile = Profile(is_wanted=_LOGGER.isEnabledFor(logging.DEBUG))
        request = Request(len(prompts), deadline=deadline, profile=profile)
        sequences = [self._submitter.begin(request, prompt, generation) for prompt in prompts]
        started = time.perf_counter()
        try:
            with self._scheduler.serve(request):
                for sequence in sequences:
                    self._scheduler.submit(sequence)
                self._scheduler.wait(request)
        finally:
            request.release()
        _report(request, time.perf_counter() - started)
        longest = max(len(one.output_ids) for one in sequences)
        padded = [one.output_ids + [tokens.pad_id] * (longest - len(one.output_ids)) for one in sequences]
        return torch.tensor(padded, dtype=torch.long, device=self.checkpoint.model.device)

    def read_generated(self, generated_ids: torch.Tensor, stop: Sequence[str]) -> list[DecodedReply]:
        """Cut and split each row of generated ids `(B, T)`."""
        return [self.checkpoint.detokenizer.read(row, stop) for row in generated_ids.tolist()]

    def read_generated_raw(self, generated_ids: torch.Tensor) -> list[str]:
        """Return each row of generated ids `(B, T)` as text with all its control tokens."""
        return [self.checkpoint.detokenizer.read_raw(row) for row in generated_ids.tolist()]

    def forget(self) -> None:
        """Drop what is kept of earlier prompts; a question about a known image takes as long as the first."""
        self._runner.forget_prompts()

    def close(self) -> None:
        """End the threads after the pass that is under way, and let the caches go; calls that wait fail."""
        self._scheduler.close()
        self._submitter.close()
        self._runner.release_caches()

    def _answer(
        self,
        request: Request,
        prompts: Sequence[Prompt],
        generation: GenerationConfig,
        preprocessor: Preprocessor,
    ) -> list[Answer | PromptError]:
        started = time.perf_counter()
        try:
            with self._scheduler.serve(request):
                self._submitter.submit_all(request, prompts, generation, preprocessor)
                self._scheduler.wait(request)
            reading = time.perf_counter()
            answers = self._read([request.outcomes[place] for place in range(len(prompts))], generation)
        finally:
            request.release()
        ended = time.perf_counter()
        get_meter().note_pass("read", len(prompts), ended - reading)
        request.profile.add("read", ended - reading, len(prompts))
        _report(request, ended - started)
        return answers

    def _read(self, outcomes: Sequence[Outcome], generation: GenerationConfig) -> list[Answer | PromptError]:
        try:
            return [self._reader.read(outcome, generation) for outcome in outcomes]
        except Exception as error:
            raise EngineError(f"The answer could not be read: {type(error).__name__}: {error}") from error


def _report(request: Request, seconds: float) -> None:
    _LOGGER.debug("Prompts answered: %d, in %.3f s: %s", request.count, seconds, request.profile)
