"""Engines that follow a script: build and test on the block without weights or a GPU."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from threading import Event

from gemma4_block.contract import (
    IMAGE_SEQ_LENGTHS,
    Answer,
    Capabilities,
    Engine,
    FinishReason,
    GenerationConfig,
    KeepAlive,
    Prompt,
    Quantization,
)
from gemma4_block.errors import EngineError, Gemma4BlockError, PromptError

_ALL = Capabilities(image_seq_lengths=IMAGE_SEQ_LENGTHS)

Line = str | Answer | PromptError
"""A script's answer to one prompt; a text stands for an ordinary answer."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ScriptedCall:
    """One call of `ScriptedEngine.answer`."""

    prompts: tuple[Prompt, ...]
    generation: GenerationConfig
    deadline: float | None = None
    cancelled: Event | None = None


class ScriptedEngine:
    """An engine that answers from a list, in order, or by a function of the prompt.

    Args:
        script: Lines for the prompts of all calls, one each, or what to say to any prompt.
        capabilities: What it claims to do; by default all that an engine can.
        failure: Raised by every call after it is recorded.

    Attributes:
        capabilities: As given.
        calls: Every call of `answer` so far.
        is_closed: Whether it was closed.

    >>> engine = ScriptedEngine(["a cat", "a dog"])
    >>> answers = engine.answer([Prompt(text="What is it?"), Prompt(text="And this?")], GenerationConfig())
    >>> [answer.text for answer in answers]
    ['a cat', 'a dog']
    >>> engine.prompts[1].text
    'And this?'

    """

    def __init__(
        self,
        script: Sequence[Line] | Callable[[Prompt], Line],
        *,
        capabilities: Capabilities = _ALL,
        failure: Gemma4BlockError | None = None,
    ) -> None:
        self.capabilities = capabilities
        self.is_closed = False
        self.calls: list[ScriptedCall] = []
        self._failure = failure
        self._say = script if callable(script) else _in_order(script)

    @property
    def prompts(self) -> tuple[Prompt, ...]:
        """The prompts of all calls so far, in order."""
        return tuple(prompt for call in self.calls for prompt in call.prompts)

    @property
    def nbytes(self) -> int:
        """A script takes no memory to speak of."""
        return 0

    def answer(
        self,
        prompts: Sequence[Prompt],
        generation: GenerationConfig,
        *,
        deadline: float | None = None,
        cancelled: Event | None = None,
    ) -> list[Answer | PromptError]:
        """Record the call and say what the script says.

        Args:
            prompts: Any number.
            generation: Recorded, and otherwise without effect.
            deadline: Recorded; where it has passed, every answer ends before its first token.
            cancelled: Recorded; where it is set, every answer ends before its first token.

        Returns:
            One entry for each prompt, in order.

        Raises:
            Gemma4BlockError: The failure that the engine was given.
            EngineError: It is closed.
            AssertionError: The script has no line left.

        """
        if self.is_closed:
            raise EngineError("The engine is closed. Load the model again.")
        self.calls.append(
            ScriptedCall(
                prompts=tuple(prompts), generation=generation, deadline=deadline, cancelled=cancelled
            )
        )
        if self._failure is not None:
            raise self._failure
        if cancelled is not None and cancelled.is_set():
            return [_end(prompt, "cancelled") for prompt in prompts]
        if deadline is not None and time.monotonic() >= deadline:
            return [_end(prompt, "deadline") for prompt in prompts]
        return [_answer(self._say(prompt), prompt) for prompt in prompts]

    def close(self) -> None:
        """Refuse later calls."""
        self.is_closed = True


class ScriptedProvider:
    """A provider that lends one engine, or refuses.

    Args:
        engine: Lent for every model.
        failure: Raised by every request after it is recorded.

    Attributes:
        requests: Model and precision of every request so far.
        keep_alives: How long each of them wanted the engine to stay.
        open_leases: How many have the engine now.

    """

    def __init__(self, engine: Engine, *, failure: Gemma4BlockError | None = None) -> None:
        self.requests: list[tuple[str, Quantization]] = []
        self.keep_alives: list[KeepAlive | None] = []
        self.open_leases = 0
        self._engine = engine
        self._failure = failure

    @contextmanager
    def lease(
        self, model_version: str, quantization: Quantization, *, keep_alive: KeepAlive | None = None
    ) -> Iterator[Engine]:
        """Record the request and lend the engine.

        Args:
            model_version: Recorded.
            quantization: Recorded.
            keep_alive: Recorded.

        Yields:
            The engine.

        Raises:
            Gemma4BlockError: The failure that the provider was given.

        """
        self.requests.append((model_version, quantization))
        self.keep_alives.append(keep_alive)
        if self._failure is not None:
            raise self._failure
        self.open_leases += 1
        try:
            yield self._engine
        finally:
            self.open_leases -= 1


def _in_order(lines: Sequence[Line]) -> Callable[[Prompt], Line]:
    left = iter(lines)

    def say(prompt: Prompt) -> Line:
        line = next(left, None)
        assert line is not None, f"the script of {len(lines)} lines has none left for {prompt.text!r}"
        return line

    return say


def _answer(line: Line, prompt: Prompt) -> Answer | PromptError:
    if not isinstance(line, str):
        return line
    # Counting words is near enough: a test that asserts on counts scripts a whole Answer.
    image_tokens = len(prompt.images) * (0 if prompt.image_seq_length is None else prompt.image_seq_length)
    return Answer(
        text=line,
        thinking="",
        finish_reason="stop",
        input_tokens=len(prompt.text.split()) + image_tokens,
        output_tokens=len(line.split()),
        image_tokens=image_tokens,
    )


def _end(prompt: Prompt, reason: FinishReason) -> Answer | PromptError:
    ended = _answer("", prompt)
    return replace(ended, finish_reason=reason) if isinstance(ended, Answer) else ended
