"""The engine, the reference that names one, and the provider that a step gets it from."""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, Literal, Protocol, runtime_checkable

from gemma4_block.contract.generation import GenerationConfig
from gemma4_block.contract.prompt import ImageSeqLength, Prompt

if TYPE_CHECKING:
    from gemma4_block.contract.answer import Answer
    from gemma4_block.errors import PromptError

Quantization = Literal["auto", "none", "nf4", "int8", "int8_tower"]
"""`auto`: NF4 on CUDA, none on the CPU, as inference_models does; `none`: the checkpoint's precision;
`int8`: the language model in 8 bits, on a CPU only; `int8_tower`: the vision tower too."""

KeepAlive = float | Literal["forever"]
"""How many seconds an engine that nobody uses stays loaded."""


@dataclass(frozen=True, kw_only=True, slots=True)
class LocalModel:
    """A model in a directory of this machine; equal references mean the same engine.

    Attributes:
        directory: Holds the weights. Absolute, links followed.
        quantization: Any but `auto`.
        adapter: Directory of the LoRA adapter on top of them, absolute, links followed; None without one.

    """

    directory: Path
    quantization: Quantization
    adapter: Path | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class ServedModel:
    """A model that a server runs; equal references mean the same engine.

    Attributes:
        server: The operator's name for it.
        model: The server's name for it.

    """

    server: str
    model: str


ModelReference = LocalModel | ServedModel
"""Which engine is meant."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Capabilities:
    """The features that an engine has.

    Attributes:
        image_seq_lengths: The visual token budgets that the checkpoint was trained for, smallest first.
        has_token_scores: Whether it says how sure the model was of each token.
        has_choices: Whether it scores every alternative; without, it holds the answer to the schema of the
            `Choices`.
        has_json_schema: Whether it holds an answer to a JSON Schema.
        has_thinking_allowance: Whether thoughts can have an allowance of their own.
        has_seed: Whether the same seed draws the same tokens.

    """

    image_seq_lengths: tuple[ImageSeqLength, ...]
    has_token_scores: bool = True
    has_choices: bool = True
    has_json_schema: bool = True
    has_thinking_allowance: bool = True
    has_seed: bool = True


class Engine(Protocol):
    """Runs a model. May be used from many threads."""

    @property
    def capabilities(self) -> Capabilities:
        """The features that it has."""

    @property
    def nbytes(self) -> int:
        """This machine's memory that it takes, in bytes: the weights, and its caches between calls."""

    def answer(
        self,
        prompts: Sequence[Prompt],
        generation: GenerationConfig,
        *,
        deadline: float | None = None,
        cancelled: Event | None = None,
    ) -> "list[Answer | PromptError]":
        """Answer many prompts at once; blocks until every one has its answer.

        Args:
            prompts: Any number, with images of any sizes and counts.
            generation: How to answer all of them.
            deadline: When every answer ends where it stands, by `time.monotonic`; None for never.
            cancelled: Set by another thread to end every answer where it stands.

        Returns:
            One entry for each prompt, in the same order. A prompt that cannot be asked has its error in
            its own place; the others are answered.

        Raises:
            EngineError: The engine itself failed, or is closed.

        """

    def close(self) -> None:
        """Give back memory, threads and connections; calls under way fail, later ones are refused."""


@dataclass(frozen=True, kw_only=True, slots=True)
class HeldAdapter:
    """An adapter that is loaded beside its base.

    Attributes:
        directory: Where its files are.
        nbytes: Its size in memory.

    """

    directory: Path
    nbytes: int


@runtime_checkable
class AdaptableEngine(Engine, Protocol):
    """An engine that can have adapters beside its weights."""

    @property
    def adapters(self) -> tuple[HeldAdapter, ...]:
        """The adapters that are loaded; their sizes are a part of `nbytes`."""

    def adapted(self, adapter: Path) -> AbstractContextManager[Engine]:
        """Lend this engine with an adapter, which is not removed before the context is left.

        Entering the context loads the adapter where needed, and blocks while it loads.

        Args:
            adapter: Its directory.

        Returns:
            A context with an engine that answers with the adapter.

        Raises:
            CheckpointError: The adapter's files are missing or damaged, or it was trained on another base.
            EngineError: The engine is closed.

        """


class EngineProvider(Protocol):
    """Where a block gets its engine from."""

    def lease(
        self, model_version: str, quantization: Quantization, *, keep_alive: KeepAlive | None = None
    ) -> AbstractContextManager[Engine]:
        """Lend the process's one engine of a model, which is not closed before the context is left.

        Entering the context loads the engine where needed, and blocks while it loads.

        Args:
            model_version: A variant id, `gemma-4-demo`, a fine-tuned `project/version`, or a directory
                under one of the operator's roots.
            quantization: Precision of the weights.
            keep_alive: How long the engine stays loaded afterwards; None means as long as the operator says,
                which cannot be exceeded.

        Returns:
            A context with the engine, the same object in all that lend the same model and precision at
            the same time.

        Raises:
            ConfigurationError: The id is unknown or may not be used, or the precision cannot work.
            CheckpointError: The weights are missing, incomplete or damaged.
            EngineLoadingError: The engine is still loading, and the operator lets nobody wait longer.

        """
