"""A task, and the two kinds of tasks: those that answer in text, and those that answer in JSON."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Literal

from gemma4_block.contract import Answer, Constraint, ImageSeqLength, Prompt, RgbImage
from gemma4_block.errors import AnswerError, MismatchError
from gemma4_block.reading import DEFAULT_BOX_FORMAT, BoxFormat
from gemma4_block.tasks.inputs import Inputs, OutputStructure, check_inputs, is_blank
from gemma4_block.tasks.results import Outputs, Result
from gemma4_block.tasks.sendable import find_unsendable

TaskType = Literal[
    "unconstrained",
    "visual-question-answering",
    "caption",
    "detailed-caption",
    "ocr",
    "classification",
    "multi-label-classification",
    "object-detection",
    "structured-answering",
    "counting",
]

GroupTaskType = Literal["unconstrained", "visual-question-answering", "structured-answering"]
"""The tasks with a `group_description`."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TaskRequest:
    """The question of one row of a workflow.

    Attributes:
        images: What the question is about.
        image_seq_length: Visual token budget per image.
        prompt: The user's own question; None or blank means none was given.
        system_prompt: Text of the system turn; None or blank means no system turn.
        classes: The possible answers, each once; empty where none were given.
        output_structure: The form of the answer; None or empty where nothing was given.
        box_format: How the checkpoint writes boxes.

    """

    images: tuple[RgbImage, ...]
    image_seq_length: ImageSeqLength
    prompt: str | None = None
    system_prompt: str | None = None
    classes: tuple[str, ...] = ()
    output_structure: OutputStructure | None = None
    box_format: BoxFormat = DEFAULT_BOX_FORMAT


@dataclass(frozen=True, kw_only=True, slots=True)
class Task(ABC):
    """Something to ask about images, and how its answer is read.

    Attributes:
        name: Its name in workflows.
        title: Its name for people.
        description: One sentence for people who choose.
        group_description: The same where several images are asked about together; None where it makes no
            sense for them, because the answer names what is in one image.
        image_seq_length: The visual token budget it wants where the user leaves the choice to us.
        takes: Which fields it looks at.
        gives: What it reads from every answer.

    """

    name: TaskType
    title: str
    description: str
    group_description: str | None = None
    image_seq_length: ImageSeqLength
    takes: Inputs
    gives: Outputs = field(default_factory=Outputs)

    @abstractmethod
    def ask(self, request: TaskRequest) -> Prompt:
        """Word the question.

        Args:
            request: The question of a row.

        Returns:
            The prompt for the engine.

        Raises:
            PromptError: A field is missing, would do nothing, or cannot be used.

        """

    @abstractmethod
    def read(self, answer: Answer, request: TaskRequest) -> Result:
        """Read the answer.

        Args:
            answer: The model's answer.
            request: The question it answers.

        Returns:
            What the task makes of it.

        Raises:
            AnswerError: The answer does not say what the task needs.

        """

    def ask_again(self, prompt: Prompt, answer: Answer, request: TaskRequest) -> Prompt | None:
        """Word the question anew, where the answer is no good and another try may be better.

        Args:
            prompt: What was asked.
            answer: The model's answer to it.
            request: The question of the row.

        Returns:
            The prompt of a second try; None where the answer is to be taken as it is.

        """
        try:
            self.read(answer, request)
        except MismatchError as error:
            problem = f"This was answered: {answer.text}\n{error} Answer so that all of it matches."
            return replace(prompt, text=f"{prompt.text}\n\n{problem}")
        except AnswerError:
            pass
        return None


@dataclass(frozen=True, kw_only=True, slots=True)
class TextTask(Task):
    """A task whose answer is plain text.

    Attributes:
        word: Returns what the model is asked for the user's question, "" where the task brings its own.

    """

    word: Callable[[str], str]

    def ask(self, request: TaskRequest) -> Prompt:
        """Word the question.

        Args:
            request: The question of a row.

        Returns:
            The prompt for the engine.

        Raises:
            PromptError: A field is missing, or would do nothing.

        """
        check_request(self, request)
        return _prompt(self.word("" if request.prompt is None else request.prompt), request)

    def read(self, answer: Answer, request: TaskRequest) -> Result:  # noqa: ARG002 - the signature of every task
        """Take the answer as it is."""
        # The user chose max_new_tokens and wants what fits in it; the other limits are the operator's.
        problem = None if answer.finish_reason == "length" else answer.cut_off
        return Result(output=answer.text, error_message=problem)


@dataclass(frozen=True, kw_only=True, slots=True)
class JsonTask(Task):
    """A task whose answer is held to a form.

    Attributes:
        word: Returns what the model is asked.
        constrain: Returns what the answer may be.
        read_answer: Returns what the answer says; raises AnswerError.
        needs_token_scores: Whether reading wants to know how sure the model was of each token.

    """

    word: Callable[[TaskRequest], str]
    constrain: Callable[[TaskRequest], Constraint]
    read_answer: Callable[[Answer, TaskRequest], Result]
    needs_token_scores: bool = False

    def ask(self, request: TaskRequest) -> Prompt:
        """Word the question and say what may be answered.

        Args:
            request: The question of a row.

        Returns:
            The prompt for the engine.

        Raises:
            PromptError: A field is missing, would do nothing, or cannot be used.

        """
        check_request(self, request)
        # First, because it refuses what cannot be worded.
        constraint = self.constrain(request)
        return _prompt(
            self.word(request),
            request,
            constraint=constraint,
            needs_token_scores=self.needs_token_scores,
        )

    def read(self, answer: Answer, request: TaskRequest) -> Result:
        """Read the answer.

        Args:
            answer: The model's answer.
            request: The question it answers.

        Returns:
            What it means.

        Raises:
            AnswerError: It does not say what the task needs.

        """
        try:
            result = self.read_answer(answer, request)
        except AnswerError as error:
            if answer.cut_off is None or answer.text:
                raise
            # An answer that was not begun says nothing wrong; only the cut is worth telling.
            raise AnswerError(answer.cut_off, answer=answer.text, task=self.name) from error
        problem = find_unsendable(result.parsed)
        if problem is not None:
            raise AnswerError(
                f"The answer to {self.name} holds {problem}, which the next steps cannot take. Ask for it as "
                "text, or ask again.",
                answer=answer.text,
                task=self.name,
            )
        return result


def check_request(task: Task, request: TaskRequest) -> None:
    """Refuse a request with a field that is missing, or that would do nothing.

    Args:
        task: What is asked.
        request: With what.

    Raises:
        PromptError: There is such a field.

    """
    check_inputs(
        task.name,
        task.takes,
        prompt=request.prompt,
        classes=request.classes,
        output_structure=request.output_structure,
    )


def _prompt(
    text: str,
    request: TaskRequest,
    *,
    constraint: Constraint | None = None,
    needs_token_scores: bool = False,
) -> Prompt:
    return Prompt(
        text=text,
        images=request.images,
        system=None if is_blank(request.system_prompt) else request.system_prompt,
        image_seq_length=request.image_seq_length,
        constraint=constraint,
        needs_token_scores=needs_token_scores,
    )
