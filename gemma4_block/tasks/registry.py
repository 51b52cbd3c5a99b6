"""All tasks, in the order in which forms show them."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import get_args

from gemma4_block.tasks import (
    caption,
    classification,
    counting,
    detailed_caption,
    multi_label_classification,
    object_detection,
    ocr,
    structured_answering,
    unconstrained,
    visual_question_answering,
)
from gemma4_block.tasks.task import GroupTaskType, Task, TaskType

_ALL: tuple[Task, ...] = (
    unconstrained.TASK,
    visual_question_answering.TASK,
    caption.TASK,
    detailed_caption.TASK,
    ocr.TASK,
    classification.TASK,
    multi_label_classification.TASK,
    object_detection.TASK,
    structured_answering.TASK,
    counting.TASK,
)

TASKS: Mapping[TaskType, Task] = MappingProxyType({task.name: task for task in _ALL})
"""Every task by its name."""

GROUP_TASKS: Mapping[GroupTaskType, Task] = MappingProxyType(
    {name: TASKS[name] for name in get_args(GroupTaskType)}
)
"""The tasks that can be asked about several images together."""
