"""Ask many questions from several callers at the same time, and keep when each was answered, and what."""

import math
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from threading import Lock

from gemma4_block.contract import Answer, GenerationConfig, Prompt
from gemma4_block.engine.remote import RemoteEngine
from gemma4_block.errors import EngineError, PromptError
from gemma4_block.tasks import TaskType
from tests.parity.cases import CLASSES, ask, draw

CALLERS = 8
# A request for each class, where a question is one of classes.
MOST_UNDER_WAY = CALLERS * len(CLASSES)
GENERATION = GenerationConfig(max_new_tokens=60)
# Text, an answer to a question, JSON, and one that is scored class by class.
_TASKS: tuple[TaskType, ...] = ("caption", "unconstrained", "object-detection", "classification")


@dataclass(frozen=True, kw_only=True, slots=True)
class Sent:
    """A question, and what became of it.

    Attributes:
        number: Which.
        asked_s: When it was sent, by `time.monotonic`.
        answered_s: When it was answered.
        result: The answer, or why there is none.

    """

    number: int
    asked_s: float
    answered_s: float
    result: Answer | PromptError | EngineError

    @property
    def waited_s(self) -> float:
        """How long the caller waited."""
        return self.answered_s - self.asked_s


def write_questions(count: int, *, first_frame: int) -> list[Prompt]:
    """Return questions of several tasks, four about each frame."""
    frames = [draw(first_frame + number) for number in range(math.ceil(count / len(_TASKS)))]
    return [ask(task, frame, 140) for frame in frames for task in _TASKS][:count]


def send_all(
    engine: RemoteEngine,
    prompts: Sequence[Prompt],
    *,
    at: int | None = None,
    do: Callable[[], None] | None = None,
) -> list[Sent]:
    """Ask each question in a call of its own.

    Args:
        engine: Is asked.
        prompts: The questions.
        at: After so many answers something is done; None for never.
        do: What.

    Returns:
        What became of each, in the order of the answers.

    """
    sent: list[Sent] = []
    lock = Lock()

    def send(number: int) -> None:
        asked = time.monotonic()
        result: Answer | PromptError | EngineError
        try:
            (result,) = engine.answer([prompts[number]], GENERATION)
        except EngineError as error:
            result = error
        with lock:
            sent.append(Sent(number=number, asked_s=asked, answered_s=time.monotonic(), result=result))
            is_time = len(sent) == at
        if is_time and do is not None:
            do()

    with ThreadPoolExecutor(CALLERS) as pool:
        list(pool.map(send, range(len(prompts))))
    return sent
