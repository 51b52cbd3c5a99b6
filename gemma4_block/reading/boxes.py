"""Read boxes in pixels out of an answer's JSON."""

import math
from dataclasses import dataclass

from gemma4_block.errors import AnswerError
from gemma4_block.reading.box_contracts import BoxContract
from gemma4_block.reading.excerpt import excerpt
from gemma4_block.reading.json_scalars import is_number
from gemma4_block.reading.json_text import JsonValue

# Source of box_2d, bbox_2d and most label keys: BOX_2D_KEYS and LABEL_KEYS of roboflow_workflows 0.2.13,
# core_steps/common/vlm_decoding/detection_formats.py. The others are our choice, for models that know others.
_BOX_KEYS = ("box_2d", "bbox_2d", "bbox", "box", "bounding_box")
_LABEL_KEYS = ("label", "class_name", "class", "name", "description")
_LIST_KEYS = ("detections", "objects", "boxes", "bounding_boxes", "predictions", "results")
_SIDE_KEYS = (
    ("x_min", "y_min", "x_max", "y_max"),
    ("xmin", "ymin", "xmax", "ymax"),
    ("x1", "y1", "x2", "y2"),
    ("left", "top", "right", "bottom"),
)

# float takes 309 digits, and no coordinate has so many.
_MAX_NUMBER_CHARACTERS = 32

_Box = tuple[float, float, float, float]


@dataclass(frozen=True, kw_only=True, slots=True)
class ReadBox:
    """One box of an answer.

    Attributes:
        label: As the model wrote it.
        box_xyxy_px: Left, top, right, bottom in pixels of the original image, x right, y down; inside the
            image, with an area.
        entry: Its place in the list that the model wrote.

    """

    label: str
    box_xyxy_px: _Box
    entry: int


@dataclass(frozen=True, kw_only=True, slots=True)
class BoxesReading:
    """The boxes of an answer.

    Attributes:
        boxes: Those that could be read, in the order in which the model wrote them.
        skipped: How many entries could not.
        flat: How many were boxes whose own numbers leave them no width or no height.

    """

    boxes: tuple[ReadBox, ...]
    skipped: int
    flat: int = 0


def read_boxes(
    value: JsonValue,
    contract: BoxContract,
    *,
    image_size_wh: tuple[int, int],
    task: str,
    answer: str,
    cut_off: str | None = None,
) -> BoxesReading:
    """Read boxes out of an answer's JSON.

    An entry needs a label and four finite numbers, which may be quoted. Swapped corners are put in order and
    what is out of range is moved to the image's edge; a box that has no area only then cannot be read, and
    one that never had any is left out. Sides with names of their own, such as `x_min`, are in the contract's
    scale or, where that is integers, fractions.

    Args:
        value: A list of entries, an object that holds one, or a single entry.
        contract: What the numbers mean.
        image_size_wh: Of the original image, in pixels.
        task: The task's name in messages.
        answer: The model's answer, for the error.
        cut_off: Why the answer ends early and what to do about it, for the error; None where it is whole.

    Returns:
        The boxes; none for an empty list, or for one of boxes without an area.

    Raises:
        AnswerError: It holds no list of entries, or none of its entries can be read.

    """
    entries = _find_entries(value, contract)
    if entries is None:
        remedy = "Ask again, or try a larger model." if cut_off is None else cut_off
        raise AnswerError(
            f"The answer to {task} holds no list of boxes; it must be a list of objects with "
            f'"{contract.box_key}" and "{contract.label_key}". {remedy} It is {excerpt(answer)}.',
            answer=answer,
            task=task,
        )
    read = [_read_entry(entry, contract, image_size_wh) for entry in entries]
    boxes = tuple(
        ReadBox(label=found[0], box_xyxy_px=found[1], entry=place)
        for place, found in enumerate(read)
        if found is not None and _has_area(found[1])
    )
    readable = sum(found is not None for found in read)
    if entries and not readable:
        reason = "" if cut_off is None else f"{cut_off} "
        raise AnswerError(
            f"None of the {len(entries)} entries in the answer to {task} can be read; each must have a "
            f'"{contract.label_key}" and a "{contract.box_key}" with an area: {contract.description} '
            f"{reason}If the checkpoint was taught another form, choose its box_format. "
            f"It is {excerpt(answer)}.",
            answer=answer,
            task=task,
        )
    return BoxesReading(boxes=boxes, skipped=len(entries) - readable, flat=readable - len(boxes))


def _find_entries(value: JsonValue, contract: BoxContract) -> list[JsonValue] | None:
    if isinstance(value, list):
        return value
    if not isinstance(value, dict):
        return None
    if any(key in value for key in (contract.box_key, *_BOX_KEYS)) or _read_sides(value) is not None:
        return [value]
    for key in _LIST_KEYS:
        entries = value.get(key)
        if isinstance(entries, list):
            return entries
    return None


def _read_entry(
    entry: JsonValue, contract: BoxContract, image_size_wh: tuple[int, int]
) -> tuple[str, _Box] | None:
    if not isinstance(entry, dict):
        return None
    label, box = _read_label(entry, contract), _read_box(entry, contract, image_size_wh)
    return None if label is None or box is None else (label, box)


def _read_label(entry: dict[str, JsonValue], contract: BoxContract) -> str | None:
    for key in (contract.label_key, *_LABEL_KEYS):
        label = entry.get(key)
        if isinstance(label, str) and label.strip():
            return label
        # Classes may be numbers, such as the digits of a meter.
        if isinstance(label, int) and not isinstance(label, bool):
            return str(label)
    return None


def _read_box(
    entry: dict[str, JsonValue], contract: BoxContract, image_size_wh: tuple[int, int]
) -> _Box | None:
    keys = (contract.box_key, *_BOX_KEYS)
    for box in (_read_numbers(entry.get(key)) for key in keys):
        if box is not None:
            # A checkpoint that was taught another contract may use another order too.
            if contract.is_integer and _are_fractions(box):
                return None
            first, second, third, fourth = box
            xyxy = (second, first, fourth, third) if contract.order == "yxyx" else box
            return _scale(xyxy, contract.scale, image_size_wh)
    for sides in (_read_sides(holder) for holder in (entry, *(entry.get(key) for key in keys))):
        if sides is not None:
            # Names leave no doubt about the order.
            is_fraction = contract.is_integer and _are_fractions(sides)
            return _scale(sides, 1 if is_fraction else contract.scale, image_size_wh)
    return None


def _are_fractions(box: _Box) -> bool:
    return all(0 <= number <= 1 for number in box) and any(number % 1 for number in box)


def _scale(box: _Box, scale: int | None, image_size_wh: tuple[int, int]) -> _Box | None:
    ends = image_size_wh if scale is None else (scale, scale)
    unit, sizes = (1, (1, 1)) if scale is None else (scale, image_size_wh)
    # Divided first, as the stock blocks do: where they round half a pixel, the last bit decides.
    xs, ys = (
        sorted(min(max(box[axis + corner], 0.0), ends[axis]) / unit * sizes[axis] for corner in (0, 2))
        for axis in (0, 1)
    )
    scaled = (xs[0], ys[0], xs[1], ys[1])
    is_flat = box[0] == box[2] or box[1] == box[3]
    return scaled if is_flat or _has_area(scaled) else None


def _has_area(box: _Box) -> bool:
    return box[0] < box[2] and box[1] < box[3]


def _read_sides(holder: JsonValue) -> _Box | None:
    if not isinstance(holder, dict):
        return None
    for keys in _SIDE_KEYS:
        sides = _read_numbers([holder.get(key) for key in keys])
        if sides is not None:
            return sides
    return None


def _read_numbers(value: JsonValue) -> _Box | None:
    if isinstance(value, str):
        value = [*value.strip(" []()").split(",")]
    if not isinstance(value, list):
        return None
    match [_read_number(part) for part in value]:
        case [float(first), float(second), float(third), float(fourth)]:
            return first, second, third, fourth
        case _:
            return None


def _read_number(value: JsonValue) -> float | None:
    if isinstance(value, str):
        text = value.strip()
        if len(text) > _MAX_NUMBER_CHARACTERS or not is_number(text):
            return None
        value = float(text)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None
