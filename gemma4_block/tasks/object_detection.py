"""Ask where the objects of the given classes are in an image."""

import json
from collections.abc import Sequence
from typing import Final

from gemma4_block.contract import Answer, JsonSchema
from gemma4_block.errors import AnswerError
from gemma4_block.reading import (
    BOX_CONTRACTS,
    DEFAULT_BOX_FORMAT,
    BoxFormat,
    JsonValue,
    boxes_schema,
    find_class,
    read_boxes,
    read_json,
    score_entries,
)
from gemma4_block.tasks.class_list import list_classes
from gemma4_block.tasks.inputs import Inputs
from gemma4_block.tasks.results import Detection, Detections, Outputs, Result
from gemma4_block.tasks.task import JsonTask, TaskRequest

_NAME: Final = "object-detection"


def wording(classes: Sequence[str], box_format: BoxFormat = DEFAULT_BOX_FORMAT) -> str:
    """Word the question for `classes`, in the order given."""
    contract = BOX_CONTRACTS[box_format]
    return (
        f"Detect every object of these classes in the image: {list_classes(classes)}. {contract.instruction}"
    )


def _constrain(request: TaskRequest) -> JsonSchema:
    schema = boxes_schema(BOX_CONTRACTS[request.box_format], request.classes)
    return JsonSchema(text=json.dumps(schema, ensure_ascii=False))


def _read(answer: Answer, request: TaskRequest) -> Result:
    height, width = request.images[0].shape[:2]
    value = _read_value(answer)
    reading = read_boxes(
        value,
        BOX_CONTRACTS[request.box_format],
        image_size_wh=(width, height),
        task=_NAME,
        answer=answer.text,
        cut_off=answer.cut_off,
    )
    confidences: Sequence[float | None] = []
    if answer.token_scores is not None:
        confidences = score_entries(answer.text, answer.token_scores, request.classes)
    named = [(find_class(box.label, request.classes), box) for box in reading.boxes]
    items = tuple(
        Detection(
            class_name=name,
            box_xyxy_px=box.box_xyxy_px,
            confidence=confidences[box.entry] if box.entry < len(confidences) else None,
        )
        for name, box in named
        if name is not None
    )
    loss = _find_loss(answer, reading.skipped, [box.label for name, box in named if name is None])
    flat = f"Boxes without an area are left out: {reading.flat}." if reading.flat else None
    return Result(
        output=answer.text,
        parsed=value,
        count=len(items),
        predictions=Detections(items=items),
        error_message=loss if loss is None or flat is None else f"{loss} {flat}",
        note=flat if loss is None else None,
    )


def _read_value(answer: Answer) -> JsonValue:
    try:
        return read_json(answer.text, task=_NAME).value
    except AnswerError:
        # A list that was cut off inside its first entry has no complete one.
        if answer.cut_off is not None:
            return []
        raise


def _find_loss(answer: Answer, skipped: int, strangers: Sequence[str]) -> str | None:
    """Say what of the answer is not among the detections; None where all of it is."""
    losses = []
    if answer.cut_off is not None:
        kept = "The boxes are those that were complete"
        # The tokens of a box say how far to raise max_new_tokens.
        kept += "; one takes about 30 tokens." if answer.finish_reason == "length" else "."
        losses.append(f"{answer.cut_off} {kept}")
    if skipped:
        losses.append(f"{skipped} entries of the answer could not be read as boxes and are left out.")
    if strangers:
        names = ", ".join(sorted(set(strangers)))
        losses.append(f"Boxes of classes that were not asked for are left out: {names}.")
    return " ".join(losses) if losses else None


TASK = JsonTask(
    name=_NAME,
    title="Object detection",
    description="Where the objects of your classes are: a box for each, with a measured confidence.",
    # Source: https://huggingface.co/google/gemma-4-E2B-it, which gives small objects 560 or 1120, and
    # https://ai.google.dev/gemma/docs/capabilities/vision/image, where 70 misses objects. The smaller of
    # the two, because the time to answer grows with it.
    image_seq_length=560,
    takes=Inputs(classes="required", box_format="optional"),
    gives=Outputs(predictions="boxes", parsed="list"),
    word=lambda request: wording(request.classes, request.box_format),
    constrain=_constrain,
    read_answer=_read,
    needs_token_scores=True,
)
