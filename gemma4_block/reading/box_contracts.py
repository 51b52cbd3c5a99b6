"""The formats of a box's four numbers, each in one place: axis order, scale, keys, wording, schema."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

from gemma4_block.reading.json_text import JsonValue

BoxFormat = Literal["yxyx_0_1000", "xyxy_0_1000", "xyxy_0_1", "xyxy_pixels"]

DEFAULT_BOX_FORMAT: BoxFormat = "yxyx_0_1000"
"""Source: object detection in https://huggingface.co/google/gemma-4-E2B-it; the demo is trained on it too."""


@dataclass(frozen=True, kw_only=True, slots=True)
class BoxContract:
    """How a checkpoint was taught to write a box.

    Attributes:
        name: Its name in workflows.
        title: Its name for people.
        description: One sentence for people who choose.
        order: Which axis comes first.
        scale: The number at the image's right and lower edges; None means pixels of the original image.
        box_key: Where an entry holds its four numbers.
        label_key: Where it holds its class.
        is_integer: Whether the numbers have no fraction.
        instruction: The sentence that asks for it.

    """

    name: BoxFormat
    title: str
    description: str
    order: Literal["yxyx", "xyxy"]
    scale: int | None
    box_key: str = "box_2d"
    label_key: str = "label"
    is_integer: bool
    instruction: str


BOX_CONTRACTS: Mapping[BoxFormat, BoxContract] = MappingProxyType(
    {
        contract.name: contract
        for contract in (
            BoxContract(
                name="yxyx_0_1000",
                title="Gemma 4: y first, 0-1000",
                description="[y1, x1, y2, x2], integers 0-1000 of the image's height and width.",
                order="yxyx",
                scale=1000,
                is_integer=True,
                # Checkpoints are trained on these words.
                instruction='Answer in JSON with a list of "box_2d" and "label".',
            ),
            BoxContract(
                name="xyxy_0_1000",
                title="x first, 0-1000",
                description="[x1, y1, x2, y2], integers 0-1000 of the image's width and height.",
                order="xyxy",
                scale=1000,
                is_integer=True,
                instruction=(
                    'Answer in JSON with a list of "box_2d" and "label". "box_2d" is [x1, y1, x2, y2], '
                    "integers from 0 to 1000 of the image's width and height."
                ),
            ),
            BoxContract(
                name="xyxy_0_1",
                title="x first, 0-1",
                description="[x1, y1, x2, y2], fractions 0-1 of the image's width and height.",
                order="xyxy",
                scale=1,
                is_integer=False,
                instruction=(
                    'Answer in JSON with a list of "box_2d" and "label". "box_2d" is [x1, y1, x2, y2], '
                    "fractions from 0 to 1 of the image's width and height."
                ),
            ),
            BoxContract(
                name="xyxy_pixels",
                title="x first, pixels",
                description="[x1, y1, x2, y2], pixels of the original image.",
                order="xyxy",
                scale=None,
                is_integer=False,
                instruction=(
                    'Answer in JSON with a list of "box_2d" and "label". "box_2d" is [x1, y1, x2, y2], '
                    "pixels of the image."
                ),
            ),
        )
    }
)
"""Every contract by its name, the default first."""


def boxes_schema(contract: BoxContract, classes: Sequence[str]) -> dict[str, JsonValue]:
    """Return the JSON Schema of an answer: a list of boxes, each labelled with one of the classes.

    Args:
        contract: How boxes are written.
        classes: At least one, each once.

    Returns:
        A schema whose members stand in the order in which the model writes them.

    """
    number: dict[str, JsonValue] = {"type": "integer" if contract.is_integer else "number", "minimum": 0}
    if contract.scale is not None:
        number["maximum"] = contract.scale
    return {
        "type": "array",
        "items": {
            "type": "object",
            "properties": {
                contract.box_key: {"type": "array", "items": number, "minItems": 4, "maxItems": 4},
                contract.label_key: {"enum": list(classes)},
            },
            "required": [contract.box_key, contract.label_key],
            "additionalProperties": False,
        },
    }
