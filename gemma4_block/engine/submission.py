"""Prepare the prompts of a request beside the model, a little ahead of it, and submit them."""

import os
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from gemma4_block.contract import GenerationConfig, Prompt
from gemma4_block.engine.loading import Checkpoint
from gemma4_block.engine.preprocess import FeatureCache, Prefetcher, PreparedPrompt, Preprocessor
from gemma4_block.engine.sampling import Grammars, Sampler
from gemma4_block.engine.scheduler import Outcome, Request, Scheduler
from gemma4_block.engine.scheduler import Sequence as TokenSequence
from gemma4_block.errors import EngineError, Gemma4BlockError, PromptError
from gemma4_block.meter import get_meter

_MOST_THREADS = 4


class PromptSubmitter:
    """Turns prompts into sequences that wait for the model. May be used from many threads.

    Args:
        checkpoint: Whose prompts they are.
        grammars: Of the checkpoint's tokenizer.
        features: Images that need not be prepared again.
        scheduler: Gets what is ready.
        ahead: How many prompts of a request may be prepared and have no outcome yet.

    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        grammars: Grammars,
        features: FeatureCache,
        scheduler: Scheduler,
        *,
        ahead: int,
    ) -> None:
        self._checkpoint = checkpoint
        self._grammars = grammars
        self._features = features
        self._scheduler = scheduler
        self._ahead = ahead
        # One core is left to the model.
        threads = min(_MOST_THREADS, max(1, (os.cpu_count() or 1) - 1))
        self._executor = ThreadPoolExecutor(threads, thread_name_prefix="gemma4-block-prepare")

    def submit_all(
        self,
        request: Request,
        prompts: Sequence[Prompt],
        generation: GenerationConfig,
        preprocessor: Preprocessor,
    ) -> None:
        """Prepare and submit the prompts of a request; one alone in this thread, before it returns.

        Args:
            request: It is served; its `on_outcome` is taken over.
            prompts: One for each of its places.
            generation: How to answer.
            preprocessor: Turns them into tensors.

        """

        def prepare(place: int) -> None:
            self._prepare(request, place, prompts[place], generation, preprocessor)

        if len(prompts) == 1:
            prepare(0)
            return
        prefetcher = Prefetcher(
            self._executor,
            prepare,
            partial(self._scheduler.fail, request),
            count=len(prompts),
            ahead=self._ahead,
        )
        request.on_outcome = prefetcher.prepare_next
        prefetcher.start()

    def begin(self, request: Request, prompt: PreparedPrompt, generation: GenerationConfig) -> TokenSequence:
        """Return the sequence of a prompt, with the tokens of its answer that its schema forces at once.

        Args:
            request: Whose it is.
            prompt: The prompt as tensors.
            generation: How to answer.

        Returns:
            One that was not submitted.

        Raises:
            PromptError: The schema cannot be used.

        """
        sequence = TokenSequence(
            request,
            prompt,
            generation,
            self._checkpoint.special_tokens,
            Sampler(generation, self._checkpoint.sampling_defaults),
            grammar=None if prompt.schema is None else self._grammars.start(prompt.schema),
            has_stop_text=self._checkpoint.detokenizer.has_stop_text if generation.stop else None,
        )
        sequence.take_forced(self._checkpoint.model.vocabulary_size)
        return sequence

    def close(self) -> None:
        """End the threads; nothing can be prepared any more."""
        self._executor.shutdown(wait=True, cancel_futures=True)

    def _prepare(
        self,
        request: Request,
        place: int,
        prompt: Prompt,
        generation: GenerationConfig,
        preprocessor: Preprocessor,
    ) -> None:
        """Prepare a prompt and submit it; whatever happens, it gets an outcome or its request fails."""
        if (reason := request.over) is not None:
            self._scheduler.settle(request, place, reason)
            return
        started = time.perf_counter()
        try:
            outcome = self._prepare_one(request, place, prompt, generation, preprocessor)
        except Gemma4BlockError as error:
            self._scheduler.fail(request, error)
            return
        except Exception as error:  # noqa: BLE001 - raised where the call waits
            self._scheduler.fail(request, _explain(error))
            return
        except BaseException as error:
            self._scheduler.fail(request, _explain(error))
            raise
        seconds = time.perf_counter() - started
        get_meter().note_pass("preprocess", 1, seconds)
        # The caller may read the profile as soon as the outcome is there.
        request.profile.add("preprocess", seconds, 1)
        if isinstance(outcome, TokenSequence) and not outcome.has_ended:
            self._scheduler.submit(outcome)
        else:
            self._scheduler.settle(request, place, outcome)

    def _prepare_one(
        self,
        request: Request,
        place: int,
        prompt: Prompt,
        generation: GenerationConfig,
        preprocessor: Preprocessor,
    ) -> Outcome:
        try:
            prepared = preprocessor.prepare(
                place, prompt, enable_thinking=generation.enable_thinking, features=self._features
            )
            return self.begin(request, prepared, generation)
        except PromptError as error:
            # The frames of its traceback would keep the images as long as the caller keeps the error.
            return error.with_traceback(None)


def _explain(error: BaseException) -> EngineError:
    explained = EngineError(f"The prompt could not be prepared: {type(error).__name__}: {error}")
    explained.__cause__ = error
    return explained
