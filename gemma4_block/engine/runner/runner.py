"""Run the model for the scheduler: prefill, scoring, decode steps, and the caches between requests."""

import logging
import math

import torch

from gemma4_block.engine.preprocess import FeatureCache, PreparedPrompt
from gemma4_block.engine.profiling import StageClock
from gemma4_block.engine.runner.decode import RunningBatch
from gemma4_block.engine.runner.forward import NOT_FINITE, ForwardPasses
from gemma4_block.engine.runner.graphed import GraphedSteps
from gemma4_block.engine.runner.prefill import Prefiller, PrefixCache
from gemma4_block.engine.runner.scoring import ScoredText, score_texts
from gemma4_block.engine.runner.speculation import Speculator
from gemma4_block.engine.scheduler import Sequence
from gemma4_block.errors import PromptError

_LOGGER = logging.getLogger(__name__)


class ModelRunner:
    """A `Worker` of the scheduler, from whose thread alone it is called where nothing else is said.

    Args:
        passes: Of the model.
        guessed_tokens: The most tokens of an answer that are guessed and checked in one pass; 0 for none. On
            a GPU none are.
        features: Of images that were encoded before.
        prefixes: Of prompts that were prefilled before.
        clock: Measures the stages.
        graphs: Decode steps of one token; None where the device has no graphs.

    """

    def __init__(
        self,
        passes: ForwardPasses,
        guessed_tokens: int = 0,
        *,
        features: FeatureCache,
        prefixes: PrefixCache,
        clock: StageClock,
        graphs: GraphedSteps | None = None,
    ) -> None:
        self._passes = passes
        self._features = features
        self._prefixes = prefixes
        self._prefiller = Prefiller(passes, features=features, prefixes=prefixes, clock=clock)
        # By what goes together in one pass, see `PreparedPrompt.batch_name`.
        self._running: dict[str | None, RunningBatch] = {}
        self._clock = clock
        self._graphs = graphs
        is_guessing = guessed_tokens > 0 and passes.model.device.type == "cpu"
        self._speculator = Speculator(passes, most=guessed_tokens) if is_guessing else None

    @torch.inference_mode()
    def prefill(self, sequences: list[Sequence]) -> None:
        """Prefill prompts and choose the first token of each; those that go on join the running batch."""
        prefilled = self._prefiller.read(sequences)
        (name,) = {one.prompt.batch_name for one in sequences}
        running = self._running.setdefault(name, RunningBatch(self._passes, self._graphs, self._speculator))
        running.add(prefilled, sequences)

    @torch.inference_mode()
    def score(self, sequences: list[Sequence]) -> None:
        """Prefill prompts and score their choices."""
        prefilled = self._prefiller.read(sequences)
        texts = [_texts_of(one.prompt) for one in sequences]
        rows = self._passes.for_rows(one.prompt for one in sequences)
        with self._clock.measure("score", len(sequences)), rows:
            found = score_texts(self._passes.model, prefilled, texts)
        for sequence, scores in zip(sequences, found, strict=True):
            if any(math.isnan(score) for score in scores):
                sequence.fail(PromptError(NOT_FINITE))
            else:
                sequence.take_choice_scores(scores)

    @torch.inference_mode()
    def decode(self) -> None:
        """Generate a token for every running sequence; where that fails, some may not have theirs yet."""
        self._running = {name: batch for name, batch in self._running.items() if batch.sequences}
        for batch in self._running.values():
            with self._clock.measure("decode", len(batch.sequences)):
                batch.step()

    @torch.inference_mode()
    def drop_stopped(self) -> None:
        """Drop sequences that are not running any more."""
        for batch in self._running.values():
            batch.drop_stopped()

    def clear(self) -> None:
        """Drop all sequences, and free their memory."""
        self._running.clear()
        if self._passes.model.device.type == "cuda":
            try:
                torch.cuda.empty_cache()
            except RuntimeError:
                # A device that has failed raises at every call; the callers get the error of the first.
                _LOGGER.exception("The GPU cannot give memory back.")

    def release_caches(self) -> bool:
        """Drop what is kept of earlier prompts and batches, and return whether that was anything."""
        dropped = [self.forget_prompts()]
        if self._graphs is not None:
            dropped.append(self._graphs.clear())
        return any(dropped)

    def forget_prompts(self) -> bool:
        """Drop what is kept of earlier prompts, and return whether that was anything; from any thread."""
        dropped = [self._features.clear(), self._prefixes.clear()]
        return any(dropped)

    def forget_adapter(self, name: str) -> None:
        """Drop what is kept of the prompts of an adapter that was removed; from any thread."""
        self._features.drop(lambda key: key[-1] == name)
        self._prefixes.drop(lambda key: key[-1] == name)


def _texts_of(prompt: PreparedPrompt) -> list[ScoredText]:
    groups = zip(prompt.choices, prompt.lead_lengths, strict=True)
    return [ScoredText(ids=ids, given=given) for group, given in groups for ids in group]
