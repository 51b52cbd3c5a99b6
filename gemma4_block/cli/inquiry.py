"""Check all that the options of a command say about a question, before anything heavy is imported."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeVar, get_args

from gemma4_block.contract import (
    Engine,
    GenerationConfig,
    ImageSeqLength,
    Quantization,
    RgbImage,
    check_image_seq_length,
)
from gemma4_block.engine.pool import locate
from gemma4_block.errors import ConfigurationError
from gemma4_block.fields import GenerationFields, check_classes, check_structure, resolve_generation
from gemma4_block.limits import check_text
from gemma4_block.reading import DEFAULT_BOX_FORMAT, BoxFormat, JsonValue
from gemma4_block.settings import get_settings
from gemma4_block.tasks import TASKS, FieldName, Task, TaskRequest, TaskType, fit_image_seq_length

_T = TypeVar("_T", bound=str)

_OWN_QUESTION: Final = "or choose a task that brings its own question, such as caption"
QUESTION_ARGUMENT: Final = f"a question: write one behind the pictures, in quotation marks, {_OWN_QUESTION}"
QUESTION_OPTION: Final = f"--prompt, {_OWN_QUESTION}"

_NEEDED: Final[Mapping[FieldName, str]] = {
    "classes": "--classes, such as --classes cat,dog",
    "output_structure": """--structure, such as --structure '{"color": "color of the car"}'""",
}
_NAMES: Final[Mapping[FieldName, str]] = {
    "prompt": "question",
    "classes": "--classes",
    "output_structure": "--structure",
    "box_format": "--box-format",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Options:
    """What was written in the terminal, unchecked; None where an option was left out.

    Attributes:
        task_type: Name of the task.
        model_version: Id of the model.
        question: The user's own words.
        system_prompt: Text of the system turn.
        classes: Names with commas between them.
        structure: A JSON object, or the name of a file that holds one.
        box_format: Name of a box contract.
        image_seq_length: Visual token budget.
        quantization: Precision of the weights.
        generation: How to answer.

    """

    task_type: str
    model_version: str
    question: str | None
    system_prompt: str | None = None
    classes: str | None
    structure: str | None
    box_format: str | None = None
    image_seq_length: int | None
    quantization: str | None
    generation: GenerationFields


@dataclass(frozen=True, kw_only=True, slots=True)
class Inquiry:
    """The same question about any number of pictures, all of it checked that needs no model.

    Attributes:
        task: What is asked.
        model_version: Which model.
        quantization: Precision of its weights; None for what suits this machine.
        generation: How to answer.
        image_seq_length: Visual token budget; None for what suits task and picture.
        question: The user's own words; None where the task needs none.
        system_prompt: Text of the system turn; None for none.
        classes: The possible answers.
        output_structure: The form of the answer; None where the task has its own.
        box_format: How the checkpoint writes boxes.

    """

    task: Task
    model_version: str
    quantization: Quantization | None
    generation: GenerationConfig
    image_seq_length: ImageSeqLength | None
    question: str | None
    system_prompt: str | None
    classes: tuple[str, ...]
    output_structure: dict[str, JsonValue] | None
    box_format: BoxFormat

    def about(self, image: RgbImage, engine: Engine) -> TaskRequest:
        """Return the question about one picture.

        Args:
            image: `(H, W, 3)` uint8, RGB.
            engine: Knows which budgets its checkpoint was trained for.

        Returns:
            What the task is to word.

        """
        image_seq_length = self.image_seq_length
        if image_seq_length is None:
            trained = engine.capabilities.image_seq_lengths
            image_seq_length = fit_image_seq_length(self.task.image_seq_length, trained, [image])
        return TaskRequest(
            images=(image,),
            image_seq_length=image_seq_length,
            prompt=self.question,
            system_prompt=self.system_prompt,
            classes=self.classes,
            output_structure=self.output_structure,
            box_format=self.box_format,
        )


def check_options(options: Options, *, question_is: str) -> Inquiry:
    """Refuse what can be known to be wrong without a model.

    Args:
        options: What was written.
        question_is: What to do where a question is missing, for the message.

    Returns:
        The question.

    Raises:
        Gemma4BlockError: An option is missing, would do nothing or cannot work, or the model is not on this
            machine.

    """
    settings = get_settings()
    task = TASKS[_choose("--task-type", options.task_type, get_args(TaskType))]
    structure = None if options.structure is None else read_structure(options.structure)
    classes = tuple(split_classes(options.classes))
    given: dict[FieldName, bool] = {
        "prompt": options.question is not None and bool(options.question.strip()),
        "classes": bool(classes),
        "output_structure": bool(structure),
        "box_format": options.box_format is not None,
    }
    _check_given(task, given, question_is)
    check_classes(classes)
    check_structure(structure)
    for name, text in (("question", options.question), ("system prompt", options.system_prompt)):
        if text is not None:
            check_text(name, text, max_characters=settings.max_prompt_characters)
    budget, precision, box_format = options.image_seq_length, options.quantization, options.box_format
    inquiry = Inquiry(
        task=task,
        model_version=options.model_version,
        quantization=None
        if precision is None
        else _choose("--quantization", precision, get_args(Quantization)),
        generation=resolve_generation(options.generation),
        image_seq_length=None if budget is None else check_image_seq_length(budget),
        question=options.question,
        system_prompt=options.system_prompt,
        classes=classes,
        output_structure=structure,
        box_format=DEFAULT_BOX_FORMAT
        if box_format is None
        else _choose("--box-format", box_format, get_args(BoxFormat)),
    )
    locate(options.model_version, settings)
    return inquiry


def split_classes(classes: str | None) -> Iterator[str]:
    """Yield the names between the commas, without the blanks around them."""
    if classes is not None:
        yield from (name.strip() for name in classes.split(","))


def read_structure(structure: str) -> dict[str, JsonValue]:
    """Read an output structure.

    Args:
        structure: A JSON object, or the name of a file that holds one.

    Returns:
        Field names with descriptions, or a JSON Schema.

    Raises:
        ConfigurationError: It is neither.

    """
    text, where = structure, "--structure"
    if not structure.lstrip().startswith("{"):
        where = structure
        try:
            text = Path(structure).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigurationError(
                f"--structure is {structure!r}, which is neither a JSON object nor a readable file: {error}. "
                'Write one, as in \'{"color": "color of the car"}\'.'
            ) from error
    try:
        value: JsonValue = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ConfigurationError(f"{where} is no JSON: {error}. Correct it.") from error
    if not isinstance(value, dict):
        raise ConfigurationError(f"{where} holds a {type(value).__name__}; it must be a JSON object.")
    return value


def _choose(option: str, value: str, choices: Sequence[_T]) -> _T:
    for choice in choices:
        if value == choice:
            return choice
    raise ConfigurationError(f"{option} is {value!r}; it must be one of {', '.join(choices)}.")


def _check_given(task: Task, given: Mapping[FieldName, bool], question_is: str) -> None:
    for field, is_given in given.items():
        use = getattr(task.takes, field)
        if use == "required" and not is_given:
            raise ConfigurationError(f"--task-type {task.name} needs {_NEEDED.get(field, question_is)}.")
        if use == "unused" and is_given:
            raise ConfigurationError(
                f"--task-type {task.name} takes no {_NAMES[field]}. Leave it out, or choose "
                f"{_list_tasks(field)}."
            )


def _list_tasks(field: FieldName) -> str:
    *first, last = [task.name for task in TASKS.values() if getattr(task.takes, field) != "unused"]
    return f"{', '.join(first)} or {last}" if first else last
