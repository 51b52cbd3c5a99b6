"""The texts of the multi-image step's form, for people who do not write code."""

from pydantic.config import JsonDict, JsonValue

from gemma4_block.blocks.group_fields import DEFAULT_MAX_IMAGES, GroupTaskType
from gemma4_block.blocks.multi_image_outputs import GROUP_OUTPUT_MEANINGS
from gemma4_block.tasks import TASKS

SEARCH_KEYWORDS: list[JsonValue] = [
    "Gemma",
    "Gemma 4",
    "Google",
    "VLM",
    "LMM",
    "vision language model",
    "multi-image",
    "compare images",
    "change detection",
    "before and after",
    "crops",
    "video",
    "frames",
    "visual question answering",
    "JSON",
    "structured output",
    "local",
    "offline",
]

WHEN_TOO_MANY: JsonDict = {
    "refuse": {
        "name": "Refuse",
        "description": "The group gets an error and no answer; others are answered.",
    },
    "sample": {
        "name": "Sample evenly",
        "description": "The first, the last, and others evenly spread between them, max_images together.",
    },
}

_TASKS: dict[GroupTaskType, str] = {
    "unconstrained": "Your own prompt, sent as it is after the names of the images.",
    "visual-question-answering": "Your question about the images is answered with a word or a short phrase.",
    "structured-answering": "Facts about the images in JSON, with the fields that you name or by your JSON "
    "Schema.",
}
TASK_TYPES: JsonDict = {
    name: {"name": TASKS[name].title, "description": description} for name, description in _TASKS.items()
}

_TASK_LIST = "\n".join(
    f"* **{TASKS[name].title}** (`{name}`): {description}" for name, description in _TASKS.items()
)
_OUTPUT_ROWS = "\n".join(f"| `{name}` | {meaning} |" for name, meaning in GROUP_OUTPUT_MEANINGS.items())

LONG_DESCRIPTION = f"""
Ask Google's Gemma 4 one question about several images together, and get one answer for all of them. The model
runs on this machine: no cloud service, no API key, no cost per call.

#### What is a group of images

This step takes away one level: what was many images becomes one answer.

* **The crops of a frame.** Behind a detection model and a dynamic crop, the crops of each frame are a group:
  one answer for each frame. "Are all these people wearing helmets?" A frame without crops gives an empty
  answer, `image_count` 0, and no error.
* **Photos to compare.** Connect the workflow's image input and send a list of images: all of them are one
  group with one answer. "What is damaged in image 2 that was whole in image 1?"
* **The frames of a window.** Connect the output of the Buffer block, which keeps the last frames of a video.
  It has the newest frame first, so that is image 1.

To ask about each image by itself, take the block Gemma 4 instead.

#### How the images are named

The model sees the images in order and then reads, for three of them: "There are 3 images: image 1, image 2,
image 3, in this order." Your question follows, and can use these names.

#### What you can ask

{_TASK_LIST}

#### Many images

A question may have {DEFAULT_MAX_IMAGES} images unless `max_images` says otherwise; the machine's operator
sets the highest number. A group with more is refused with an error of its own, or sampled: `when_too_many`
set to `sample` takes the first image, the last, and others evenly spread between them (of one image, the
middle). No chance is involved. Counted from 0, image `i` of `k` is image `round(i * (n - 1) / (k - 1))` of
`n`. So of 10 images 4 are, counted from 1, images 1, 4, 7 and 10. The prompt names those four image 1 to
image 4, and `asked_images` says [1, 4, 7, 10].

An image that cannot be read costs its group the answer, and the error says which image it is. Images that
a condition has filtered out are left out, and not counted.

#### What you get, for each group

| output | meaning |
|---|---|
{_OUTPUT_ROWS}

#### Licence

Gemma 4 is published under Apache-2.0; the terms are on each model card, for example
[google/gemma-4-E2B-it](https://huggingface.co/google/gemma-4-E2B-it). A fine-tuned model may have its own.
""".strip()
