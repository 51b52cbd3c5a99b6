"""What we ask the model and how we read its answer, one file a task."""

from collections.abc import Mapping
from types import MappingProxyType

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
from gemma4_block.tasks.image_budget import fit_image_seq_length
from gemma4_block.tasks.inputs import Inputs, OutputStructure, check_inputs
from gemma4_block.tasks.results import (
    Classification,
    ClassScore,
    Detection,
    Detections,
    MultiLabelClassification,
    Predictions,
    Result,
)
from gemma4_block.tasks.structured_answering import answer_schema
from gemma4_block.tasks.task import Task, TaskRequest, TaskType

__all__ = [
    "TASKS",
    "ClassScore",
    "Classification",
    "Detection",
    "Detections",
    "Inputs",
    "MultiLabelClassification",
    "OutputStructure",
    "Predictions",
    "Result",
    "Task",
    "TaskRequest",
    "TaskType",
    "answer_schema",
    "check_inputs",
    "fit_image_seq_length",
]

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
"""Every task by its name, in the order in which forms show them."""
