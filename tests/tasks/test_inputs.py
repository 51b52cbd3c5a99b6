"""A field is given where a task looks at it, and nowhere else."""

from dataclasses import replace

import numpy as np
import pytest

from gemma4_block.errors import PromptError
from gemma4_block.tasks import TASKS, Inputs, Task, TaskRequest, TaskType

FIELDS = ("prompt", "classes", "output_structure")
GIVEN = TaskRequest(
    images=(np.zeros((4, 6, 3), np.uint8),),
    image_seq_length=70,
    prompt="What?",
    classes=("cat",),
    output_structure={"color": "of the car"},
)
EMPTY: dict[str, tuple[object, ...]] = {
    "prompt": (None, "", " \n"),
    "classes": ((),),
    "output_structure": (None, {}),
}
EVERY_TASK = pytest.mark.parametrize("task", TASKS.values(), ids=lambda task: task.name)


def wanted_by(task: Task) -> TaskRequest:
    """Fill what the task looks at, and nothing else."""
    idle = {name: EMPTY[name][0] for name in FIELDS if getattr(task.takes, name) == "unused"}
    return replace(GIVEN, **idle)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("name", "takes"),
    [
        ("unconstrained", Inputs(prompt="required")),
        ("visual-question-answering", Inputs(prompt="required")),
        ("caption", Inputs()),
        ("detailed-caption", Inputs()),
        ("ocr", Inputs()),
        ("classification", Inputs(classes="required")),
        ("multi-label-classification", Inputs(classes="required")),
        ("object-detection", Inputs(classes="required", box_format="optional")),
        ("structured-answering", Inputs(prompt="optional", output_structure="required")),
        ("counting", Inputs(classes="required")),
    ],
)
def test_each_task_says_what_it_looks_at(name: TaskType, takes: Inputs) -> None:
    """Forms, checks and the README are made from it."""
    assert TASKS[name].takes == takes


@EVERY_TASK
@pytest.mark.parametrize("field", FIELDS)
def test_every_field_is_missed_refused_or_free(task: Task, field: str) -> None:
    """A form sends the fields that it hides empty, so every empty value means that none was given."""
    use, wanted = getattr(task.takes, field), wanted_by(task)
    for nothing in EMPTY[field]:
        request = replace(wanted, **{field: nothing})  # type: ignore[arg-type]
        if use == "required":
            with pytest.raises(PromptError, match=f"task_type {task.name} needs .*{field}"):
                task.ask(request)
        else:
            task.ask(request)
    request = replace(wanted, **{field: getattr(GIVEN, field)})
    if use == "unused":
        with pytest.raises(PromptError, match=f"task_type {task.name} .*would do nothing"):
            task.ask(request)
    else:
        task.ask(request)


@pytest.mark.parametrize(
    ("name", "fields", "message"),
    [
        (
            "caption",
            {"prompt": "What?"},
            "task_type caption brings its own question, and a prompt would do nothing. Leave prompt empty, or "
            "choose unconstrained or visual-question-answering to ask your own.",
        ),
        (
            "caption",
            {"classes": ("cat",)},
            "task_type caption has no classes, and those given would do nothing. Leave classes empty, or "
            "choose classification, multi-label-classification, object-detection or counting.",
        ),
        (
            "caption",
            {"output_structure": {"color": "of the car"}},
            "task_type caption has a fixed form, and an output_structure would do nothing. Leave it empty, or "
            "choose structured-answering.",
        ),
    ],
    ids=["prompt", "classes", "output_structure"],
)
def test_a_field_that_would_do_nothing_names_the_tasks_it_is_for(
    name: TaskType, fields: dict[str, object], message: str
) -> None:
    """Who chose the wrong task reads which ones are right."""
    request = replace(wanted_by(TASKS[name]), **fields)  # type: ignore[arg-type]
    with pytest.raises(PromptError) as caught:
        TASKS[name].ask(request)
    assert str(caught.value) == message
