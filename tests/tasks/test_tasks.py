"""What each task asks, and how its answer is read."""

from typing import get_args

import numpy as np
import pytest

from gemma4_block.contract import Answer, Prompt
from gemma4_block.errors import PromptError
from gemma4_block.tasks import (
    GROUP_TASKS,
    TASKS,
    Classification,
    Detections,
    GroupTaskType,
    MultiLabelClassification,
    Result,
    TaskRequest,
    TaskType,
    text,
)

IMAGE = np.zeros((2, 3, 3), np.uint8)
QUESTION_TASKS: tuple[TaskType, ...] = ("unconstrained", "visual-question-answering")
FIXED_TASKS: tuple[TaskType, ...] = ("caption", "detailed-caption", "ocr")
TEXT_TASKS = QUESTION_TASKS + FIXED_TASKS


def request(prompt: str | None = None, system_prompt: str | None = None) -> TaskRequest:
    """Ask about one image at 70 tokens."""
    return TaskRequest(images=(IMAGE,), image_seq_length=70, prompt=prompt, system_prompt=system_prompt)


def full_request(name: TaskType) -> TaskRequest:
    """Fill what a task needs, and nothing else."""
    takes = TASKS[name].takes
    return TaskRequest(
        images=(IMAGE,),
        image_seq_length=70,
        prompt="What?" if takes.prompt == "required" else None,
        system_prompt="Be brief.",
        classes=("cat", "dog") if takes.classes == "required" else (),
        output_structure={"color": "of the car"} if takes.output_structure == "required" else None,
    )


def test_every_task_type_has_a_task() -> None:
    """The names that a workflow may write are those of the tasks, in the same order."""
    assert tuple(TASKS) == get_args(TaskType)


def test_the_tasks_for_groups_are_those_with_words_for_them() -> None:
    """A task that names what is in one image is not offered for several."""
    described = tuple(task.name for task in TASKS.values() if task.group_description is not None)
    assert described == tuple(GROUP_TASKS) == get_args(GroupTaskType)


@pytest.mark.parametrize(
    ("name", "prompt", "asked"),
    [
        ("unconstrained", "Count: ", "Count: "),
        (
            "visual-question-answering",
            "What colour?",
            "What colour?\nAnswer with a word or a short phrase.",
        ),
        ("caption", None, "Describe the image in one short sentence."),
        ("detailed-caption", None, "Describe the image in detail."),
        ("ocr", None, "Read the text in the image. Answer with the text only."),
    ],
)
def test_the_wording_is_what_checkpoints_are_trained_on(
    name: TaskType, prompt: str | None, asked: str
) -> None:
    """A changed word changes answers, so it shows here."""
    assert TASKS[name].ask(request(prompt)).text == asked


def test_the_trainer_and_the_tasks_share_one_wording() -> None:
    """The demo checkpoint is trained on the words that workflows ask with."""
    assert TASKS["caption"].ask(request()).text == text.CAPTION
    assert TASKS["detailed-caption"].ask(request()).text == text.DETAILED_CAPTION
    assert TASKS["ocr"].ask(request()).text == text.OCR
    assert TASKS["visual-question-answering"].ask(request("Why?")).text == text.short_answer("Why?")


@pytest.mark.parametrize("name", TASKS)
def test_a_request_is_carried_into_the_prompt(name: TaskType) -> None:
    """Images, budget and system prompt arrive as they were given."""
    prompt = TASKS[name].ask(full_request(name))
    assert (prompt.images, prompt.image_seq_length, prompt.system) == ((IMAGE,), 70, "Be brief.")


@pytest.mark.parametrize("system_prompt", [None, "", " \n"])
def test_a_blank_system_prompt_means_no_system_turn(system_prompt: str | None) -> None:
    """An empty field adds nothing to the conversation."""
    assert TASKS["caption"].ask(request(system_prompt=system_prompt)) == Prompt(
        text="Describe the image in one short sentence.", images=(IMAGE,), image_seq_length=70
    )


@pytest.mark.parametrize("name", QUESTION_TASKS)
@pytest.mark.parametrize("prompt", [None, "", " \n"])
def test_a_question_that_is_missing_is_refused(name: TaskType, prompt: str | None) -> None:
    """Without a question there is nothing to ask."""
    with pytest.raises(PromptError, match=f"task_type {name} needs a prompt, and it is empty"):
        TASKS[name].ask(request(prompt))


@pytest.mark.parametrize("name", FIXED_TASKS)
def test_a_question_that_nobody_would_read_is_refused(name: TaskType) -> None:
    """A field never silently does nothing."""
    with pytest.raises(PromptError, match=f"task_type {name} brings its own question"):
        TASKS[name].ask(request("What?"))


@pytest.mark.parametrize(
    ("name", "length"),
    [
        ("unconstrained", 280),
        ("visual-question-answering", 280),
        ("caption", 140),
        ("detailed-caption", 280),
        ("ocr", 1120),
        ("classification", 140),
        ("multi-label-classification", 280),
        ("object-detection", 560),
        ("structured-answering", 280),
        ("counting", 560),
    ],
)
def test_the_wanted_budget_suits_the_task(name: TaskType, length: int) -> None:
    """Text needs more visual tokens than a caption."""
    assert TASKS[name].image_seq_length == length


@pytest.mark.parametrize("name", TEXT_TASKS)
def test_the_answer_is_the_output(name: TaskType) -> None:
    """Plain text tasks change nothing about what the model said."""
    answer = Answer(
        text='{"a": 1} ',
        thinking="hm",
        finish_reason="stop",
        input_tokens=1,
        output_tokens=1,
        image_tokens=0,
    )
    assert TASKS[name].read(answer, full_request(name)) == Result(output='{"a": 1} ')


@pytest.mark.parametrize(
    ("name", "answer"),
    [
        ("caption", "A cat."),
        ("classification", '{"class_name": "cat"}'),
        ("multi-label-classification", '{"cat": true, "dog": false}'),
        ("object-detection", '[{"box_2d": [1, 2, 30, 40], "label": "cat"}]'),
        ("structured-answering", '{"color": "red"}'),
        ("counting", '{"cat": 1, "dog": 0}'),
    ],
)
def test_a_task_gives_what_it_says(name: TaskType, answer: str) -> None:
    """The declared kinds of a step's outputs are made from it."""
    said = Answer(
        text=answer, thinking="", finish_reason="stop", input_tokens=1, output_tokens=1, image_tokens=0
    )
    result, gives = TASKS[name].read(said, full_request(name)), TASKS[name].gives
    predictions: dict[str, type | tuple[type, ...]] = {
        "none": type(None),
        "classes": (Classification, MultiLabelClassification),
        "boxes": Detections,
    }
    parsed: dict[str, type | tuple[type, ...]] = {
        "none": type(None),
        "object": dict,
        "list": list,
        "any": object,
    }
    assert isinstance(result.predictions, predictions[gives.predictions])
    assert isinstance(result.parsed, parsed[gives.parsed])
