"""Put the questions of a task to an engine, and once more those whose answers do not match their schema."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from threading import Event

from gemma4_block.accounts import account_for
from gemma4_block.contract import Answer, Engine, GenerationConfig, Prompt
from gemma4_block.errors import PromptError
from gemma4_block.limits import Limits, ask
from gemma4_block.tasks import Task, TaskRequest


@dataclass(frozen=True, kw_only=True, slots=True)
class Question:
    """The question about one image, or about one group of them.

    Attributes:
        request: The same for the task, which reads the answer with it.
        prompt: The same for the engine.

    """

    request: TaskRequest
    prompt: Prompt


def ask_all(
    engine: Engine,
    task: Task,
    questions: Sequence[Question | PromptError],
    generation: GenerationConfig,
    *,
    limits: Limits,
    cancelled: Event | None = None,
) -> list[Answer | PromptError]:
    """Ask all questions in one call of the engine, and in a second one those that need another try.

    Args:
        engine: Runs the model.
        task: Of the questions.
        questions: Questions, and in the places of others why they cannot be asked.
        generation: How to answer.
        limits: What is allowed; both calls together end in its time.
        cancelled: Set by another thread to end all answers where they stand.

    Returns:
        One entry for each, in order: the answer, with the tokens of both tries where there were two, or the
        error that was there, that a limit raised, or that the engine gave.

    Raises:
        ConfigurationError: The generation asks for more than is allowed, or for what the engine cannot do, or
            there are more prompts or pixels than may ever wait.
        EngineError: The engine itself failed, or too much waits already.

    """
    deadline = limits.find_deadline()

    def put(prompts: Sequence[Prompt | PromptError]) -> list[Answer | PromptError]:
        started = time.monotonic()
        left_s = None if deadline is None else max(0.0, deadline - started)
        answers = ask(engine, prompts, generation, limits=limits, max_seconds=left_s, cancelled=cancelled)
        account_for(answers, time.monotonic() - started)
        return answers

    answers = put([one if isinstance(one, PromptError) else one.prompt for one in questions])
    again = {
        place: (first, prompt)
        for place, (question, first) in enumerate(zip(questions, answers, strict=True))
        if isinstance(question, Question)
        and isinstance(first, Answer)
        and (prompt := task.ask_again(question.prompt, first, question.request)) is not None
    }
    if again:
        seconds = put([prompt for _, prompt in again.values()])
        for (place, (first, _)), second in zip(again.items(), seconds, strict=True):
            answers[place] = _choose(first, second)
    return answers


def _choose(first: Answer, second: Answer | PromptError) -> Answer:
    """Return the second try where it came to its end, with the tokens of both."""
    if isinstance(second, PromptError):
        return first
    return replace(
        first if second.cut_off is not None else second,
        input_tokens=first.input_tokens + second.input_tokens,
        output_tokens=first.output_tokens + second.output_tokens,
    )
