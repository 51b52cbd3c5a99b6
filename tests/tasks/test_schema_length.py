"""The schemas of tasks stay within the operator's limits."""

import numpy as np
import pytest

from gemma4_block.contract import Choices, JsonSchema
from gemma4_block.limits import Limits
from gemma4_block.settings import Settings
from gemma4_block.tasks import TASKS, TaskRequest, TaskType

SETTINGS = Settings.model_construct(**{name: field.default for name, field in Settings.model_fields.items()})
LIMITS = Limits.of_requests(SETTINGS)


@pytest.mark.parametrize("stem", ["the class", "红色的车辆"], ids=["latin", "chinese"])
@pytest.mark.parametrize(
    "name", ["classification", "multi-label-classification", "object-detection", "counting"]
)
def test_as_many_classes_as_are_allowed_fit_into_a_schema(name: TaskType, stem: str) -> None:
    """Two limits never contradict each other for names of ordinary length."""
    classes = tuple(f"{stem} {place:03d}" for place in range(SETTINGS.max_classes))
    request = TaskRequest(images=(np.zeros((4, 6, 3), np.uint8),), image_seq_length=70, classes=classes)
    constraint = TASKS[name].ask(request).constraint
    schema = constraint.schema if isinstance(constraint, Choices) else constraint
    assert isinstance(schema, JsonSchema)
    LIMITS.check_schema(schema)


def test_two_hundred_fields_fit_into_a_schema() -> None:
    """A form of many fields needs no schema of the user's own."""
    request = TaskRequest(
        images=(np.zeros((4, 6, 3), np.uint8),),
        image_seq_length=70,
        output_structure={f"field {place:03d}": "as printed" for place in range(200)},
    )
    schema = TASKS["structured-answering"].ask(request).constraint
    assert isinstance(schema, JsonSchema)
    LIMITS.check_schema(schema)
