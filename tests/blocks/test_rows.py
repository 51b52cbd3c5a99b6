"""From results and errors to the rows that the next steps read."""

from dataclasses import replace

# The host's settings must be installed before roboflow_workflows freezes its own.
import inference.core  # noqa: F401  # isort: split
import numpy as np
import pytest
from roboflow_workflows.execution_engine.entities.base import ImageParentMetadata, WorkflowImageData

from gemma4_block.blocks.outputs import describe_outputs, describe_outputs_of
from gemma4_block.blocks.rows import answer_row, refused_row
from gemma4_block.contract import Answer
from gemma4_block.errors import PromptError
from gemma4_block.tasks import TASKS, TaskRequest, TaskType

PIXELS = np.zeros((4, 6, 3), np.uint8)
IMAGE = WorkflowImageData(parent_metadata=ImageParentMetadata(parent_id="image"), numpy_image=PIXELS)
ANSWER = Answer(
    text="neither", thinking="", finish_reason="length", input_tokens=9, output_tokens=2, image_tokens=4
)
REQUEST = TaskRequest(images=(PIXELS,), image_seq_length=70, classes=("cat", "dog"))


def test_an_unreadable_answer_is_an_error_that_keeps_its_text_and_counts() -> None:
    """Who looks for the reason finds what the model said, and what it cost."""
    row = answer_row(TASKS["counting"], REQUEST, ANSWER, IMAGE, "gemma-4-demo")
    assert row.pop("inference_id")
    assert "holds no JSON" in row.pop("error_message")
    assert row == {
        "output": "neither",
        "thinking": "",
        "finish_reason": "length",
        "input_tokens": 9,
        "output_tokens": 2,
        "image_tokens": 4,
        "error_status": True,
        "model_id": "gemma-4-demo",
        "predictions": None,
        "parsed": None,
        "count": None,
        "classes": ["cat", "dog"],
    }


def test_a_box_without_an_area_is_told_in_a_row_that_is_no_error() -> None:
    """The other boxes are all that the model found."""
    text = '[{"box_2d": [5, 5, 5, 5], "label": "cat"}, {"box_2d": [0, 0, 500, 500], "label": "dog"}]'
    said = replace(ANSWER, text=text, finish_reason="stop")
    row = answer_row(TASKS["object-detection"], REQUEST, said, IMAGE, "gemma-4-demo")
    assert (row["error_status"], row["error_message"], row["count"]) == (
        False,
        "Boxes without an area are left out: 1.",
        1,
    )
    assert len(row["predictions"]) == 1


@pytest.mark.parametrize("task_type", TASKS)
def test_rows_hold_exactly_the_declared_outputs(task_type: TaskType) -> None:
    """The host refuses a row that lacks an output or has another one."""
    declared = [output.name for output in describe_outputs_of(task_type)]
    assert declared == [output.name for output in describe_outputs()]
    assert set(answer_row(TASKS["caption"], REQUEST, ANSWER, IMAGE, "gemma-4-demo")) == set(declared)
    assert set(refused_row(PromptError("no"), (), "gemma-4-demo")) == set(declared)
