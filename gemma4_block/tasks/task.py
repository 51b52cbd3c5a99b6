"""What a task is, and the values that it takes and gives."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, Protocol

from gemma4_block.contract import Answer, ImageSeqLength, Prompt, RgbImage
from gemma4_block.errors import PromptError

TaskType = Literal["unconstrained", "visual-question-answering", "caption", "detailed-caption", "ocr"]


@dataclass(frozen=True, kw_only=True, slots=True)
class TaskRequest:
    """What one row of a workflow wants to know.

    Attributes:
        images: What the question is about.
        image_seq_length: Visual token budget per image.
        prompt: The user's own question; None or blank means none was given.
        system_prompt: Text of the system turn; None or blank means no system turn.

    """

    images: tuple[RgbImage, ...]
    image_seq_length: ImageSeqLength
    prompt: str | None = None
    system_prompt: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Result:
    """What a task read from an answer.

    Attributes:
        output: The answer as text.

    """

    output: str


class Task(Protocol):
    """Something to ask about images, and how its answer is read."""

    @property
    def name(self) -> TaskType:
        """What workflows call it."""

    @property
    def title(self) -> str:
        """Its name for people."""

    @property
    def description(self) -> str:
        """One sentence for people who choose."""

    @property
    def image_seq_length(self) -> ImageSeqLength:
        """The visual token budget it wants where the user leaves the choice to us."""

    @property
    def needs_prompt(self) -> bool:
        """Whether the user must write the question; if not, they must not."""

    def check_prompt(self, prompt: str | None) -> None:
        """Refuse a prompt that is missing, or that would do nothing.

        Args:
            prompt: The user's, or None.

        Raises:
            PromptError: It is one of the two.

        """

    def ask(self, request: TaskRequest) -> Prompt:
        """Word the question.

        Args:
            request: What a row wants to know.

        Returns:
            The prompt for the engine.

        Raises:
            PromptError: The request's prompt is missing, or would do nothing.

        """

    def read(self, answer: Answer) -> Result:
        """Read the answer.

        Args:
            answer: What the model said.

        Returns:
            What the task makes of it.

        Raises:
            AnswerError: The answer does not say what the task needs.

        """


@dataclass(frozen=True, kw_only=True, slots=True)
class QuestionTask:
    """A task whose question the user writes; the answer is plain text.

    Attributes:
        word: Returns what the model is asked for the user's question.

    """

    name: TaskType
    title: str
    description: str
    image_seq_length: ImageSeqLength
    word: Callable[[str], str]

    @property
    def needs_prompt(self) -> bool:
        """Always: there is nothing to ask without."""
        return True

    def check_prompt(self, prompt: str | None) -> None:
        """Refuse a prompt that is missing or blank.

        Args:
            prompt: The user's, or None.

        Raises:
            PromptError: It is.

        """
        if _is_blank(prompt):
            raise PromptError(
                f"task_type {self.name} needs a prompt, and it is empty. Write a question or an instruction, "
                "or choose a task that needs none, such as caption or ocr."
            )

    def ask(self, request: TaskRequest) -> Prompt:
        """Word the user's question.

        Args:
            request: What a row wants to know.

        Returns:
            The prompt for the engine.

        Raises:
            PromptError: There is none.

        """
        self.check_prompt(request.prompt)
        assert request.prompt is not None, "checked above"
        return _prompt(self.word(request.prompt), request)

    def read(self, answer: Answer) -> Result:
        """Take the answer as it is."""
        return Result(output=answer.text)


@dataclass(frozen=True, kw_only=True, slots=True)
class FixedTask:
    """A task that brings its own question; the answer is plain text.

    Attributes:
        wording: What the model is asked.

    """

    name: TaskType
    title: str
    description: str
    image_seq_length: ImageSeqLength
    wording: str

    @property
    def needs_prompt(self) -> bool:
        """Never: the question is fixed."""
        return False

    def check_prompt(self, prompt: str | None) -> None:
        """Refuse a prompt, because nobody would read it.

        Args:
            prompt: The user's, or None.

        Raises:
            PromptError: There is one.

        """
        if not _is_blank(prompt):
            raise PromptError(
                f"task_type {self.name} brings its own question, and a prompt would do nothing. Leave prompt "
                "empty, or choose unconstrained or visual-question-answering to ask your own."
            )

    def ask(self, request: TaskRequest) -> Prompt:
        """Word the fixed question.

        Args:
            request: What a row wants to know.

        Returns:
            The prompt for the engine.

        Raises:
            PromptError: The request has a prompt.

        """
        self.check_prompt(request.prompt)
        return _prompt(self.wording, request)

    def read(self, answer: Answer) -> Result:
        """Take the answer as it is."""
        return Result(output=answer.text)


def limit_image_seq_length(wish: ImageSeqLength, trained: tuple[ImageSeqLength, ...]) -> ImageSeqLength:
    """Return the largest trained budget that is not above the wish, else the smallest trained one.

    >>> limit_image_seq_length(280, (70, 140, 280, 560, 1120))
    280
    >>> limit_image_seq_length(560, (70, 140))
    140
    >>> limit_image_seq_length(70, (280,))
    280
    """
    return max((length for length in trained if length <= wish), default=min(trained))


def _is_blank(prompt: str | None) -> bool:
    return prompt is None or not prompt.strip()


def _prompt(text: str, request: TaskRequest) -> Prompt:
    return Prompt(
        text=text,
        images=request.images,
        system=None if _is_blank(request.system_prompt) else request.system_prompt,
        image_seq_length=request.image_seq_length,
    )
