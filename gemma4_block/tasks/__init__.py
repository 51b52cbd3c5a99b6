"""What we ask the model and how we read its answer, one file a task."""

from collections.abc import Mapping
from types import MappingProxyType

from gemma4_block.tasks import caption, detailed_caption, ocr, unconstrained, visual_question_answering
from gemma4_block.tasks.task import Result, Task, TaskRequest, TaskType, limit_image_seq_length

__all__ = ["TASKS", "Result", "Task", "TaskRequest", "TaskType", "limit_image_seq_length"]

_ALL: tuple[Task, ...] = (
    unconstrained.TASK,
    visual_question_answering.TASK,
    caption.TASK,
    detailed_caption.TASK,
    ocr.TASK,
)

TASKS: Mapping[TaskType, Task] = MappingProxyType({task.name: task for task in _ALL})
"""Every task by its name, in the order in which forms show them."""
