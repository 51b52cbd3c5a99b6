"""Time a workflow step that asks about pictures, and see into the engine that it calls."""

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from threading import Event
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from gemma4_block.cli.workflows import WorkflowRunner, one_step_workflow
from gemma4_block.contract import (
    Answer,
    Capabilities,
    Engine,
    EngineProvider,
    GenerationConfig,
    KeepAlive,
    Prompt,
    Quantization,
)
from gemma4_block.errors import ConfigurationError, PromptError

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from gemma4_block.engine.profiling import Profile


@runtime_checkable
class ProfiledEngine(Engine, Protocol):
    """An engine that says where the time of a call went, as the local one does."""

    def profile(
        self, prompts: Sequence[Prompt], generation: GenerationConfig
    ) -> "tuple[list[Answer | PromptError], Profile]":
        """Answer as `answer` does, and say where the time went."""

    def forget(self) -> None:
        """Drop what is kept of earlier images."""


@dataclass(frozen=True, kw_only=True)
class TimedCall:
    """One run of the workflow.

    Attributes:
        seconds: From the pictures to the rows.
        engine_seconds: Of these, the engine's.
        answers: One for each picture, in order.
        profile: Where the engine's time went; None where it was not asked for.

    """

    seconds: float
    engine_seconds: float
    answers: tuple[Answer, ...]
    profile: "Profile | None"

    @property
    def output_tokens(self) -> int:
        """How many tokens were generated for all pictures."""
        return sum(answer.output_tokens for answer in self.answers)

    @property
    def workflow_seconds(self) -> float:
        """Seconds that the host and the block took around the engine."""
        return self.seconds - self.engine_seconds

    def find_other_seconds(self, profile: "Profile") -> float:
        """Return the engine's seconds outside of its stages, or in which it waited for preprocessing."""
        # Several pictures are preprocessed in threads beside the model.
        beside = ("preprocess",) if len(self.answers) > 1 else ()
        stages = profile.stages.items()
        return self.engine_seconds - sum(spent.seconds for stage, spent in stages if stage not in beside)


@dataclass(frozen=True, kw_only=True)
class Timing:
    """A step that was run several times.

    Attributes:
        load_seconds: How long the model took to load, libraries not counted; near 0 where it was loaded.
        calls: At least one, in order.

    """

    load_seconds: float
    calls: tuple[TimedCall, ...]

    @cached_property
    def typical(self) -> TimedCall:
        """The call of median time; the faster of two."""
        return sorted(self.calls, key=lambda call: call.seconds)[(len(self.calls) - 1) // 2]

    @property
    def answers_per_second(self) -> float:
        """How many pictures are answered in a second."""
        return len(self.typical.answers) / self.typical.seconds

    @property
    def output_tokens_per_second(self) -> float:
        """How many tokens are generated in a second, for all pictures together."""
        return self.typical.output_tokens / self.typical.seconds


class StepTimer:
    """Runs one step again and again. Making it starts the host, its first run loads the model.

    Args:
        fields: Of the step; None keeps the block's default.
        pictures: `(H, W, 3)` uint8, BGR; at least one.
        provider: Where the step gets its engine from.

    """

    def __init__(
        self,
        fields: Mapping[str, object],
        pictures: "Sequence[npt.NDArray[np.uint8]]",
        provider: EngineProvider,
    ) -> None:
        self._provider = _TimedProvider(provider=provider)
        self._parameters = {"image": list(pictures)}
        self._runner = WorkflowRunner(
            one_step_workflow(fields), init_parameters={"gemma4_block.engine_provider": self._provider}
        )

    def run(self) -> TimedCall:
        """Ask about all pictures in one call.

        Returns:
            How long that took.

        Raises:
            ConfigurationError: The engine cannot be profiled, or a picture cannot be asked about.

        """
        started = time.perf_counter()
        rows = self._runner.run(self._parameters)
        seconds = time.perf_counter() - started
        for place, row in enumerate(rows, start=1):
            if row["output"] is None:
                raise ConfigurationError(f"Picture {place} of {len(rows)}: {row['error_message']}")
        spent = self._provider.engine.last
        assert spent is not None, "a step asks its engine for what is in its rows"
        return TimedCall(
            seconds=seconds,
            engine_seconds=spent.seconds,
            answers=tuple(answer for answer in spent.answers if isinstance(answer, Answer)),
            profile=spent.profile,
        )

    def measure(self, *, repeats: int, forgets: bool, profiles: bool) -> Timing:
        """Run several times, and once before, which is not counted.

        Args:
            repeats: How often, at least once.
            forgets: Whether the engine forgets between them what it saw.
            profiles: Whether to look into the engine, which takes a little time on a GPU.

        Returns:
            How long each took.

        Raises:
            ConfigurationError: As `run`.

        """
        self.run()
        self._provider.engine.profiles = profiles
        calls = []
        for _ in range(repeats):
            if forgets:
                self._provider.engine.forget()
            calls.append(self.run())
        return Timing(load_seconds=self._provider.load_seconds, calls=tuple(calls))


@dataclass(frozen=True, kw_only=True, slots=True)
class _EngineCall:
    seconds: float
    answers: Sequence[Answer | PromptError]
    profile: "Profile | None"


@dataclass(kw_only=True)
class _TimedEngine:
    inner: ProfiledEngine
    profiles: bool = False
    last: _EngineCall | None = None

    @property
    def capabilities(self) -> Capabilities:
        return self.inner.capabilities

    @property
    def nbytes(self) -> int:
        return self.inner.nbytes

    def answer(
        self,
        prompts: Sequence[Prompt],
        generation: GenerationConfig,
        *,
        deadline: float | None = None,
        cancelled: Event | None = None,
    ) -> list[Answer | PromptError]:
        profile = None
        started = time.perf_counter()
        if self.profiles:
            answers, profile = self.inner.profile(prompts, generation)
        else:
            answers = self.inner.answer(prompts, generation, deadline=deadline, cancelled=cancelled)
        seconds = time.perf_counter() - started
        self.last = _EngineCall(seconds=seconds, answers=answers, profile=profile)
        return answers

    def forget(self) -> None:
        self.inner.forget()

    def close(self) -> None:
        self.inner.close()


@dataclass(kw_only=True)
class _TimedProvider:
    provider: EngineProvider
    load_seconds: float = 0.0
    engines: list[_TimedEngine] = field(default_factory=list)

    @property
    def engine(self) -> _TimedEngine:
        assert self.engines, "the step has run"
        return self.engines[0]

    @contextmanager
    def lease(
        self, model_version: str, quantization: Quantization, *, keep_alive: KeepAlive | None = None
    ) -> Iterator[Engine]:
        # Importing torch and transformers takes longer than loading the demo model, and no longer with a
        # larger one.
        import gemma4_block.engine.local  # noqa: F401

        started = time.perf_counter()
        with self.provider.lease(model_version, quantization, keep_alive=keep_alive) as engine:
            if not self.engines:
                self.load_seconds = time.perf_counter() - started
                if not isinstance(engine, ProfiledEngine):
                    raise ConfigurationError(
                        f"{model_version} runs in a {type(engine).__name__}, which cannot say where its time "
                        "goes. Time a model that runs in this process."
                    )
                self.engines.append(_TimedEngine(inner=engine))
            yield self.engines[0]
