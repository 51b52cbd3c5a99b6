"""Box numbers mean one place in the image, to the pixel."""

import json
from typing import get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gemma4_block.errors import AnswerError
from gemma4_block.json_schema import compile_schema
from gemma4_block.reading import (
    BOX_CONTRACTS,
    DEFAULT_BOX_FORMAT,
    BoxesReading,
    BoxFormat,
    JsonValue,
    ReadBox,
    boxes_schema,
    read_boxes,
)
from gemma4_block.tasks import object_detection

Box = tuple[float, float, float, float]

SIZES_WH = [(1000, 1000), (640, 480), (8000, 3), (3, 8000), (1, 1), (2, 5), (65_535, 1), (1921, 1081)]


def read(
    value: JsonValue, name: BoxFormat = "yxyx_0_1000", size_wh: tuple[int, int] = (1000, 500)
) -> BoxesReading:
    """Read the JSON of an answer."""
    return read_boxes(value, BOX_CONTRACTS[name], image_size_wh=size_wh, task="t", answer="a")


def write(box_xyxy_px: Box, name: BoxFormat, size_wh: tuple[int, int]) -> list[JsonValue]:
    """Write a box as the contract says, without this package's own arithmetic."""
    (x1, y1, x2, y2), (width, height) = box_xyxy_px, size_wh
    return {
        "yxyx_0_1000": [y1 / height * 1000, x1 / width * 1000, y2 / height * 1000, x2 / width * 1000],
        "xyxy_0_1000": [x1 / width * 1000, y1 / height * 1000, x2 / width * 1000, y2 / height * 1000],
        "xyxy_0_1": [x1 / width, y1 / height, x2 / width, y2 / height],
        "xyxy_pixels": [x1, y1, x2, y2],
    }[name]


def test_the_contracts_are_those_that_may_be_named() -> None:
    """Every name has its contract, and the default is Gemma 4's."""
    assert get_args(BoxFormat) == tuple(BOX_CONTRACTS)
    assert DEFAULT_BOX_FORMAT == "yxyx_0_1000"
    assert all(name == contract.name for name, contract in BOX_CONTRACTS.items())


@pytest.mark.parametrize("size_wh", SIZES_WH)
@pytest.mark.parametrize("name", BOX_CONTRACTS)
def test_a_box_comes_back_where_it_was(name: BoxFormat, size_wh: tuple[int, int]) -> None:
    """Wide, tall and tiny images keep their boxes, each axis on its own scale."""
    width, height = size_wh
    box = (width * 0.25, height * 0.125, width * 0.75, height * 0.5)

    reading = read([{"box_2d": write(box, name, size_wh), "label": "cat"}], name, size_wh)

    # Two roundings of a float; a thousandth of a pixel is far more.
    assert [pytest.approx(box, abs=1e-3)] == [found.box_xyxy_px for found in reading.boxes]


@pytest.mark.parametrize("size_wh", SIZES_WH)
@pytest.mark.parametrize("name", BOX_CONTRACTS)
def test_the_whole_image_is_exactly_the_whole_image(name: BoxFormat, size_wh: tuple[int, int]) -> None:
    """The last bit of an edge would make a crop one pixel too small or too large."""
    width, height = size_wh
    full = {"yxyx_0_1000": 1000, "xyxy_0_1000": 1000, "xyxy_0_1": 1}
    edges: list[JsonValue] = [0, 0, full.get(name, width), full.get(name, height)]

    reading = read([{"box_2d": edges, "label": "cat"}], name, size_wh)

    assert (ReadBox(label="cat", box_xyxy_px=(0, 0, width, height), entry=0),) == reading.boxes


def test_every_integer_of_the_grid_is_its_pixel() -> None:
    """In an image of 3000 by 7000 pixels the grid falls on whole pixels, to the last bits of a float."""
    for step in range(1000):
        entry: JsonValue = {"box_2d": [step, step, step + 1, step + 1], "label": "cat"}
        found = read([entry], size_wh=(3000, 7000)).boxes[0].box_xyxy_px
        assert pytest.approx((3 * step, 7 * step, 3 * step + 3, 7 * step + 7), rel=1e-12) == found


@pytest.mark.parametrize(
    "number",
    [
        *(None, True, "", "ten", "nan", "inf", "1e999", "0x10", "1_0", "\u0663", "1" * 10_000, [1], {}),
        *(float("nan"), float("inf"), -float("inf"), 10**400),
    ],
    ids=lambda number: repr(number)[:12],
)
def test_what_is_no_finite_number_makes_the_entry_unreadable(number: JsonValue) -> None:
    """The neighbours stay, with their own places in the list."""
    broken: JsonValue = {"box_2d": [0, 0, number, 500], "label": "cat"}
    whole: JsonValue = {"box_2d": [0, 0, 500, 500], "label": "dog"}

    assert read([broken, whole]) == BoxesReading(
        boxes=(ReadBox(label="dog", box_xyxy_px=(0, 0, 500, 250), entry=1),), skipped=1
    )
    with pytest.raises(AnswerError, match="None of the 1 entries in the answer to t can be read"):
        read([broken])


@pytest.mark.parametrize(
    "box",
    [[5, 5, 5, 5], [5, 0, 5, 900], [0, 7, 900, 7], [1500, 0, 1500, 10]],
    ids=["a point", "no height", "no width", "a line outside"],
)
def test_a_box_without_an_area_is_left_out_alone(box: list[JsonValue]) -> None:
    """Alone or beside others it is counted, and it is no failed reading."""
    flat: JsonValue = {"box_2d": box, "label": "cat"}
    whole: JsonValue = {"box_2d": [0, 0, 500, 500], "label": "dog"}

    assert read([flat]) == BoxesReading(boxes=(), skipped=0, flat=1)
    assert read([flat, whole]) == BoxesReading(
        boxes=(ReadBox(label="dog", box_xyxy_px=(0, 0, 500, 250), entry=1),), skipped=0, flat=1
    )


def test_a_box_that_loses_its_area_at_the_edge_cannot_be_read() -> None:
    """It is wholly outside, so the numbers mean something else."""
    with pytest.raises(AnswerError, match="choose its box_format"):
        read([{"box_2d": [1100, 1200, 1300, 1400], "label": "cat"}])


@pytest.mark.parametrize("value", [None, 3, "cat", True, {}, {"cat": 2}, {"detections": 3}])
def test_what_holds_no_list_is_refused(value: JsonValue) -> None:
    """It is not the same as an empty list, which says that nothing was found."""
    with pytest.raises(AnswerError, match="holds no list of boxes; it must be a list of objects"):
        read(value)
    assert read([]) == BoxesReading(boxes=(), skipped=0)


@given(
    st.lists(
        st.floats() | st.integers() | st.text(max_size=5) | st.booleans() | st.none(), min_size=4, max_size=4
    ),
    st.sampled_from(list(BOX_CONTRACTS)),
    st.tuples(st.integers(1, 100_000), st.integers(1, 100_000)),
)
@settings(deadline=None, max_examples=500)
def test_no_box_leaves_the_image(numbers: list[JsonValue], name: BoxFormat, size_wh: tuple[int, int]) -> None:
    """Any four values give a box with an area inside the image, or none."""
    entry: JsonValue = {"box_2d": numbers, "label": "cat"}
    try:
        reading = read([entry], name, size_wh)
    except AnswerError:
        return
    for found in reading.boxes:
        x1, y1, x2, y2 = found.box_xyxy_px
        assert 0 <= x1 < x2 <= size_wh[0]
        assert 0 <= y1 < y2 <= size_wh[1]


def test_the_default_asks_in_the_words_that_checkpoints_are_trained_on() -> None:
    """Gemma 4 knows its own contract; the others say theirs."""
    asked = BOX_CONTRACTS[DEFAULT_BOX_FORMAT].instruction
    assert asked == 'Answer in JSON with a list of "box_2d" and "label".'
    assert object_detection.wording(["cat"]).endswith(asked)
    for name, contract in BOX_CONTRACTS.items():
        assert name == DEFAULT_BOX_FORMAT or "[x1, y1, x2, y2]" in contract.instruction


@pytest.mark.parametrize("name", BOX_CONTRACTS)
def test_the_schema_is_one_that_a_grammar_can_hold(name: BoxFormat) -> None:
    """Every contract can be constrained."""
    schema = json.dumps(boxes_schema(BOX_CONTRACTS[name], ["cat"]))
    assert len(schema) <= 10_000
    assert compile_schema(schema)


def test_the_schema_says_the_order_of_members() -> None:
    """The demo checkpoint is trained to write the box before its label."""
    assert boxes_schema(BOX_CONTRACTS["yxyx_0_1000"], ["cat", "dog"]) == {
        "type": "array",
        "items": {
            "type": "object",
            "properties": {
                "box_2d": {
                    "type": "array",
                    "items": {"type": "integer", "minimum": 0, "maximum": 1000},
                    "minItems": 4,
                    "maxItems": 4,
                },
                "label": {"enum": ["cat", "dog"]},
            },
            "required": ["box_2d", "label"],
            "additionalProperties": False,
        },
    }
    pixels = boxes_schema(BOX_CONTRACTS["xyxy_pixels"], ["cat"])["items"]
    assert isinstance(pixels, dict)
    assert '"items": {"type": "number", "minimum": 0}' in json.dumps(pixels)
