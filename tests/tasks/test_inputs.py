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
    ("field", "advice"),
    [
        (
            "prompt",
            "Leave prompt empty, or choose unconstrained or visual-question-answering to ask your own.",
        ),
        (
            "classes",
            (
                "Leave classes empty, or choose classification, multi-label-classification, object-detection "
                "or counting."
            ),
        ),
        ("output_structure", "Leave it empty, or choose structured-answering."),
    ],
)
def test_who_gives_a_field_to_the_wrong_task_reads_the_right_ones(field: str, advice: str) -> None:
    """They are named in the order in which forms show them."""
    request = replace(wanted_by(TASKS["caption"]), **{field: getattr(GIVEN, field)})
    with pytest.raises(PromptError) as caught:
        TASKS["caption"].ask(request)
    assert str(caught.value).endswith(f"would do nothing. {advice}")
