"""A list of classes in a question keeps each class one."""

from collections.abc import Callable

import pytest

from gemma4_block.tasks import TASKS, TaskRequest, TaskType

Ask = Callable[..., TaskRequest]


@pytest.mark.parametrize(
    "name", ["classification", "multi-label-classification", "object-detection", "counting"]
)
def test_a_class_with_a_comma_stays_one(request_classes: Ask, name: TaskType) -> None:
    """It is put in quotes; the others are written as they are."""
    question = TASKS[name].ask(request_classes("cat", "red, blue", 'a "dog", asleep', 'a "cow"')).text
    assert 'cat, "red, blue", "a \\"dog\\", asleep", a "cow"' in question
