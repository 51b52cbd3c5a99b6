"""The tasks: how each words its question and reads the answer, one file a task."""

from gemma4_block.tasks.image_budget import fit_image_seq_length
from gemma4_block.tasks.image_names import name_images
from gemma4_block.tasks.inputs import FieldName, Inputs, OutputStructure, check_inputs
from gemma4_block.tasks.registry import GROUP_TASKS, TASKS
from gemma4_block.tasks.results import (
    Classification,
    ClassScore,
    Detection,
    Detections,
    MultiLabelClassification,
    Outputs,
    ParsedKind,
    Predictions,
    PredictionsKind,
    Result,
)
from gemma4_block.tasks.structured_answering import answer_schema
from gemma4_block.tasks.task import GroupTaskType, Task, TaskRequest, TaskType

__all__ = [
    "GROUP_TASKS",
    "TASKS",
    "ClassScore",
    "Classification",
    "Detection",
    "Detections",
    "FieldName",
    "GroupTaskType",
    "Inputs",
    "MultiLabelClassification",
    "OutputStructure",
    "Outputs",
    "ParsedKind",
    "Predictions",
    "PredictionsKind",
    "Result",
    "Task",
    "TaskRequest",
    "TaskType",
    "answer_schema",
    "check_inputs",
    "fit_image_seq_length",
    "name_images",
]
