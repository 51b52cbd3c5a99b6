"""The texts of the step's form, for people who do not write code."""

from typing import Literal

from pydantic.config import JsonDict, JsonValue

from gemma4_block.blocks.outputs import OUTPUT_MEANINGS
from gemma4_block.catalogue import VARIANTS
from gemma4_block.reading import BOX_CONTRACTS
from gemma4_block.tasks import TASKS

SEARCH_KEYWORDS: list[JsonValue] = [
    "Gemma",
    "Gemma 4",
    "Google",
    "VLM",
    "LMM",
    "vision language model",
    "caption",
    "OCR",
    "visual question answering",
    "classification",
    "object detection",
    "counting",
    "JSON",
    "structured output",
    "local",
    "offline",
]

TASK_TYPES: JsonDict = {
    task.name: {"name": task.title, "description": task.description} for task in TASKS.values()
}

MODEL_VERSIONS: JsonDict = {
    variant.model_id: {"name": variant.title, "description": variant.description} for variant in VARIANTS
}

BOX_FORMATS: JsonDict = {
    contract.name: {"name": contract.title, "description": contract.description}
    for contract in BOX_CONTRACTS.values()
}

QUANTIZATIONS: JsonDict = {
    "auto": {"name": "Automatic", "description": "4 bits on a CUDA GPU, full precision on a CPU."},
    "none": {"name": "Full precision", "description": "The precision that the weights are published in."},
    "nf4": {"name": "4 bits", "description": "About a third of the memory, and a little less exact."},
}


def tasks_that_take(field: Literal["prompt", "classes", "output_structure"]) -> JsonDict:
    """Return for a form in which tasks a field is shown, and whether it must be filled there."""
    uses = {str(task.name): getattr(task.takes, field) for task in TASKS.values()}
    shown: list[JsonValue] = [name for name, use in uses.items() if use != "unused"]
    is_required = all(use == "required" for use in uses.values() if use != "unused")
    return {"task_type": {"values": shown, "required": is_required}}


def _size(weights_gb: float | None) -> str:
    if weights_gb is None:
        return "-"
    return f"{weights_gb:.1f} GB" if weights_gb >= 1 else f"{weights_gb * 1000:.0f} MB"


_TASK_LIST = "\n".join(f"* **{task.title}** (`{task.name}`): {task.description}" for task in TASKS.values())

_MODEL_ROWS = "\n".join(
    f"| {variant.title} | `{variant.model_id}` | {_size(variant.weights_gb)} | {_size(variant.nf4_gb)} "
    f"| {variant.description} |"
    for variant in VARIANTS
)

_OUTPUT_ROWS = "\n".join(f"| `{name}` | {meaning} |" for name, meaning in OUTPUT_MEANINGS.items())

LONG_DESCRIPTION = f"""
Ask Google's Gemma 4, a model that reads images and text, about every image or crop that reaches this step.
The model runs on this machine: no cloud service, no API key, no cost per call.

#### What you can ask

{_TASK_LIST}

#### What you get, for each image

| output | meaning |
|---|---|
{_OUTPUT_ROWS}

Connect `output` to a parser, a text display, a condition or a sink, and `predictions` to whatever takes
detections or classifications: visualizations, filters, counters, crops, trackers.

#### Answers that the next step can trust

* Tasks that answer in JSON are held to their form while the model writes: the answer has the fields that you
  asked for, the classes that you listed, and boxes inside the image.
* A confidence is measured, not written by the model. Classification: the probability of each class among all
  of them. Multi-label: the probability that a class is there, each by itself. Object detection: how sure the
  model was of the label and the coordinates of a box; it tells good boxes from bad ones, and is no promise
  that so many in a hundred are right.
* An answer that was cut off says so in `error_status`; detections keep the boxes that were complete.

#### Models

| model | `model_version` | weights | in 4 bits | |
|---|---|---|---|---|
{_MODEL_ROWS}

Working memory comes on top of the weights. A model other than the demo must be on the machine before it is
used; where it is missing, the error says which command fetches it. The first answer after a start waits
until the model is loaded. Steps that use the same model share one copy.

#### Crops

Behind a detection model and a dynamic crop, all crops of a request are asked about together, and the
answers come back in the order of the crops. A frame without crops gives no answers and no error.

#### Licence

Gemma 4 is published under Apache-2.0; the terms are on each model card, for example
[google/gemma-4-E2B-it](https://huggingface.co/google/gemma-4-E2B-it). A fine-tuned model may have its own.
""".strip()
