"""Answer the calls of all threads with one model: prepare, schedule, read."""

import logging
import os
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from threading import Event
from typing import TYPE_CHECKING

import torch

from gemma4_block.contract import Answer, GenerationConfig, ImageSeqLength, Prompt
from gemma4_block.engine.answers import ReplyDesk
from gemma4_block.engine.byte_cache import ByteCache
from gemma4_block.engine.gemma4.detokenizer import Reply, read_reply
from gemma4_block.engine.gemma4.special_tokens import read_vocabulary
from gemma4_block.engine.loading.checkpoint import Checkpoint
from gemma4_block.engine.preprocess.prefetcher import Feeder
from gemma4_block.engine.preprocess.prepared import PreparedPrompt, find_prefix, pad_images
from gemma4_block.engine.preprocess.preprocessor import Limits, Preparer
from gemma4_block.engine.profiling import Profile, StageClock
from gemma4_block.engine.runner.forward import ModelPasses
from gemma4_block.engine.runner.runner import ModelRunner
from gemma4_block.engine.runner.vision import FeatureCache, PreparedImage, unpad_images
from gemma4_block.engine.sampling.grammar import Grammars
from gemma4_block.engine.scheduler.request import Call, Job
from gemma4_block.engine.scheduler.scheduler import Scheduler
from gemma4_block.errors import ConfigurationError, PromptError
from gemma4_block.settings import Settings

if TYPE_CHECKING:
    from gemma4_block.engine.runner.prefill import PrefixCache

# What is prepared waits in memory, up to 31 MB an image at a budget of 1120.
_AHEAD_BATCHES = 4
_MOST_PREPARING_THREADS = 4

_log = logging.getLogger(__name__)


class ModelService:
    """One model for all threads.

    Args:
        checkpoint: What was loaded.
        settings: The operator's.
        image_seq_length: Visual token budget where a prompt names none; None means the checkpoint's.

    """

    def __init__(
        self, checkpoint: Checkpoint, settings: Settings, image_seq_length: ImageSeqLength | None
    ) -> None:
        model, tokenizer = checkpoint.model, checkpoint.processor.tokenizer
        limits = Limits(
            max_prompt_characters=settings.max_prompt_characters, max_image_pixels=settings.max_image_pixels
        )
        self._tokenizer = tokenizer
        self._vocabulary = read_vocabulary(model, tokenizer)
        self._passes = ModelPasses(model, pad_id=self._vocabulary.pad_id)
        self._features: FeatureCache = ByteCache(settings.vision_cache_bytes)
        self._prefixes: PrefixCache = ByteCache(settings.prefix_cache_bytes)
        self._clock = StageClock(model.device)
        grammars = Grammars(tokenizer, self._vocabulary, settings.max_schema_characters)
        self._preparer = Preparer(checkpoint, limits, grammars, self._features, image_seq_length)
        self._desk = ReplyDesk(
            tokenizer,
            self._vocabulary,
            grammars,
            model.generation_config,
            vocabulary_size=self._passes.config.vocab_size,
        )
        self._runner = ModelRunner(
            self._passes, features=self._features, prefixes=self._prefixes, clock=self._clock
        )
        self._scheduler = Scheduler(self._runner, self._clock, max_rows=settings.max_batch_size)
        self._ahead = _AHEAD_BATCHES * settings.max_batch_size
        self._max_seconds = settings.max_seconds
        # One core is left to the model.
        threads = min(_MOST_PREPARING_THREADS, max(1, (os.cpu_count() or 1) - 1))
        self._executor = ThreadPoolExecutor(threads, thread_name_prefix="gemma4-block-prepare")

    def answer(
        self,
        prompts: Sequence[Prompt],
        generation: GenerationConfig,
        *,
        max_seconds: float | None = None,
        cancelled: Event | None = None,
    ) -> list[Answer | PromptError]:
        """Answer prompts, each on its own.

        Args:
            prompts: Any number.
            generation: How to answer all of them.
            max_seconds: As `Gemma4HF.answer`.
            cancelled: As `Gemma4HF.answer`.

        Returns:
            One entry for each prompt, in order.

        Raises:
            EngineError: The engine failed.

        """
        call = self._make_call(len(prompts), max_seconds=max_seconds, cancelled=cancelled)
        return self._answer(call, prompts, generation)

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
            EngineError: The engine failed.

        """
        call = self._make_call(len(prompts))
        call.profile.is_wanted = True
        return self._answer(call, prompts, generation), call.profile

    def prepare_inputs(
        self, prompt: Prompt, *, enable_thinking: bool, image_size_wh: tuple[int, int] | None
    ) -> dict[str, torch.Tensor]:
        """Return the model's own inputs for one prompt, on its device."""
        prepared = self._preparer.prepare(
            0, prompt, enable_thinking=enable_thinking, image_size_wh=image_size_wh
        )
        return self.pad([prepared])

    def pad(self, prompts: Sequence[PreparedPrompt]) -> dict[str, torch.Tensor]:
        """Return the model's own inputs for prompts whose images have pixels, on its device."""
        images = [image for prompt in prompts for image in prompt.images]
        texts = self._passes.pad([prompt.input_ids for prompt in prompts])
        kinds = {"mm_token_type_ids": self._passes.mark_images(texts)}
        return texts | kinds | pad_images(images, device=self._passes.model.device)

    def generate(self, inputs: dict[str, torch.Tensor], generation: GenerationConfig) -> torch.Tensor:
        """Return the generated ids `(B, T)` int64, without the prompt.

        Args:
            inputs: As `prepare_inputs` returns them, of any number of rows.
            generation: How to answer.

        Returns:
            One row for each of the inputs; rows that ended early, at the operator's limit too, are padded.

        Raises:
            ConfigurationError: The images are not those of the texts, or a row has no text.
            EngineError: The engine failed.

        """
        prompts = self._read_inputs(inputs)
        call = self._make_call(len(prompts))
        jobs = [Job(call=call, prompt=prompt, row=self._desk.begin(prompt, generation)) for prompt in prompts]
        started = time.perf_counter()
        for job in jobs:
            self._scheduler.submit(job)
        self._scheduler.run(call)
        _report(call, time.perf_counter() - started)
        longest = max(len(job.row.ids) for job in jobs)
        pad_id = self._vocabulary.pad_id
        padded = [job.row.ids + [pad_id] * (longest - len(job.row.ids)) for job in jobs]
        return torch.tensor(padded, dtype=torch.long, device=self._passes.model.device)

    def read(self, generated_ids: torch.Tensor, stop: Sequence[str]) -> list[Reply]:
        """Cut and split each generated row."""
        return [read_reply(row, self._tokenizer, self._vocabulary, stop) for row in generated_ids.tolist()]

    def decode_raw(self, generated_ids: torch.Tensor) -> list[str]:
        """Return each generated row as text with all its control tokens."""
        rows = self._tokenizer.batch_decode(generated_ids, skip_special_tokens=False)
        return [text.strip() for text in rows]

    def forget(self) -> None:
        """Drop what is kept of earlier images."""
        self._runner.release()

    def _make_call(
        self, count: int, *, max_seconds: float | None = None, cancelled: Event | None = None
    ) -> Call:
        limits = [limit for limit in (max_seconds, self._max_seconds) if limit is not None]
        return Call(
            count=count,
            deadline=time.monotonic() + min(limits) if limits else None,
            cancelled=Event() if cancelled is None else cancelled,
            profile=Profile(is_wanted=_log.isEnabledFor(logging.DEBUG)),
        )

    def _answer(
        self, call: Call, prompts: Sequence[Prompt], generation: GenerationConfig
    ) -> list[Answer | PromptError]:
        started = time.perf_counter()

        def prepare(place: int) -> None:
            self._prepare(call, place, prompts[place], generation)

        if len(prompts) == 1:
            prepare(0)
        else:
            fail = partial(self._scheduler.fail, call)
            feeder = Feeder(self._executor, prepare, fail, count=len(prompts), ahead=self._ahead)
            call.after_outcome = feeder.go_on
            feeder.start()
        self._scheduler.run(call)
        reading = time.perf_counter()
        answers = [self._desk.read(call.outcomes[place], generation) for place in range(len(prompts))]
        # A job knows its call; nothing of either is needed any more.
        call.outcomes.clear()
        ended = time.perf_counter()
        call.profile.add("read", ended - reading, len(prompts))
        _report(call, ended - started)
        return answers

    def _prepare(self, call: Call, place: int, prompt: Prompt, generation: GenerationConfig) -> None:
        if (reason := call.over) is not None:
            self._scheduler.settle(call, place, reason)
            return
        started = time.perf_counter()
        outcome = self._begin(call, place, prompt, generation)
        # Whoever waits for the outcome may read the profile as soon as there is one.
        call.profile.add("preprocess", time.perf_counter() - started, 1)
        if isinstance(outcome, PromptError):
            self._scheduler.settle(call, place, outcome)
        elif isinstance(outcome, Exception):
            self._scheduler.fail(call, outcome)
        elif outcome.row.is_ended and not outcome.prompt.choices:
            # All of the answer was forced.
            self._scheduler.settle(call, place, outcome)
        else:
            self._scheduler.submit(outcome)

    def _begin(self, call: Call, place: int, prompt: Prompt, generation: GenerationConfig) -> Job | Exception:
        try:
            prepared = self._preparer.prepare(
                place, prompt, enable_thinking=generation.enable_thinking, features=self._features
            )
            return Job(call=call, prompt=prepared, row=self._desk.begin(prepared, generation))
        except Exception as error:  # noqa: BLE001 - raised where the call waits, or the prompt's own answer
            return error

    def _read_inputs(self, inputs: dict[str, torch.Tensor]) -> list[PreparedPrompt]:
        images: list[PreparedImage] = []
        if "pixel_values" in inputs:
            vision = self._passes.model.config.vision_config
            # The 12B makes a soft token of every patch.
            patches = 1 if hasattr(vision, "model_patch_size") else vision.pooling_kernel_size**2
            images = unpad_images(inputs["pixel_values"], inputs["image_position_ids"], patches)
        image_token_id = self._passes.model.config.image_token_id
        prompts = []
        mask = inputs.get("attention_mask", torch.ones_like(inputs["input_ids"]))
        for index, (row, is_real) in enumerate(zip(inputs["input_ids"], mask.bool(), strict=True)):
            ids = tuple(row[is_real].tolist())
            if not ids:
                raise ConfigurationError(f"Row {index} of input_ids has no token that counts. Leave it out.")
            places = left = ids.count(image_token_id)
            own: list[PreparedImage] = []
            while left > 0 and images:
                own.append(images.pop(0))
                left -= own[-1].soft_tokens
            if left:
                raise _strange_images(f"row {index} has {places} image tokens, and they do not make as many")
            prompts.append(
                PreparedPrompt(
                    index=index,
                    input_ids=ids,
                    image_tokens=places,
                    images=tuple(own),
                    prefix_length=find_prefix(ids, image_token_id),
                )
            )
        if images:
            raise _strange_images(f"{len(images)} of their images have no image tokens")
        return prompts


def _strange_images(problem: str) -> ConfigurationError:
    return ConfigurationError(
        f"pixel_values do not fit input_ids: {problem}. Give what pre_process_generation returned."
    )


def _report(call: Call, seconds: float) -> None:
    _log.debug("Prompts answered: %d, in %.3f s: %s", call.count, seconds, call.profile)
