"""The drawn pictures and what is said to be true about them."""

import itertools

import numpy as np
import pytest

from gemma4_block.demo.scenes import (
    COLORS,
    SHAPE_KINDS,
    Digit,
    Scene,
    Shape,
    draw_crop,
    draw_number,
    draw_scene,
    order_boxes,
    wear,
)

SEEDS = range(20)


def test_names_are_those_of_the_answers() -> None:
    """Colours and kinds are sorted, which is the order of descriptions."""
    assert COLORS == ("blue", "green", "orange", "purple", "red", "yellow")
    assert SHAPE_KINDS == ("circle", "square", "star", "triangle")


def test_a_shape_is_labelled_and_centred() -> None:
    """The label is colour and kind; the centre is the middle of the box, x first."""
    shape = Shape(kind="star", color="red", box_xyxy_px=(10, 20, 30, 60))
    assert (shape.label, shape.center_xy_px) == ("red star", (20, 40))


@pytest.mark.parametrize("draw", [draw_scene, draw_crop, draw_number])
def test_the_same_seed_draws_the_same_picture(draw: type) -> None:
    """Every choice comes from the generator."""
    first, second = draw(np.random.default_rng(7)), draw(np.random.default_rng(7))
    np.testing.assert_array_equal(first.image, second.image)
    assert (first.shapes, first.digits) == (second.shapes, second.digits)


@pytest.mark.parametrize("count", [0, 1, 3])
def test_a_scene_holds_as_many_shapes_as_asked_for(count: int) -> None:
    """Up to three shapes always find a place."""
    for seed in SEEDS:
        assert len(draw_scene(np.random.default_rng(seed), shape_count=count).shapes) == count


def test_a_scene_is_rgb_of_160_to_640_px() -> None:
    """Images are uint8 with three channels, and no side is out of range."""
    for seed in SEEDS:
        image = draw_scene(np.random.default_rng(seed)).image
        assert image.dtype == np.uint8
        assert image.shape[2] == 3
        assert 160 <= min(image.shape[:2]) <= max(image.shape[:2]) <= 640


def test_a_box_holds_all_ink_of_its_shape_and_no_more() -> None:
    """What differs from the background spans the box, to a pixel of soft edge."""
    for seed in SEEDS:
        scene = draw_scene(np.random.default_rng(seed), shape_count=1)
        rows, columns = np.nonzero((scene.image != scene.image[0, 0]).any(axis=2))
        found = (columns.min(), rows.min(), columns.max(), rows.max())
        np.testing.assert_allclose(found, scene.shapes[0].box_xyxy_px, atol=1.6)


def test_shapes_do_not_overlap() -> None:
    """Any two boxes are apart along one axis."""
    for seed in SEEDS:
        shapes = draw_scene(np.random.default_rng(seed), shape_count=5).shapes
        for one, other in itertools.combinations(shapes, 2):
            a, b = one.box_xyxy_px, other.box_xyxy_px
            assert a[2] < b[0] or b[2] < a[0] or a[3] < b[1] or b[3] < a[1]


def test_shapes_come_in_the_order_of_their_tops() -> None:
    """Each box begins below the one before it, by the first number that an answer gives."""
    for seed in SEEDS:
        scene = draw_scene(np.random.default_rng(seed), shape_count=5)
        height = scene.image.shape[0]
        tops = [round(100 * shape.box_xyxy_px[1] / height) for shape in scene.shapes]
        assert tops == sorted(tops)


def test_boxes_are_ordered_by_their_tops_then_from_the_left() -> None:
    """What ends lower or lies further left does not come first; a hundredth of the height is nothing."""
    boxes = [(50, 20.4, 60, 30), (5, 21, 20, 90), (70, 10, 90, 95), (10, 19.6, 30, 30)]

    assert order_boxes(boxes, 100) == [2, 3, 0, 1]
    # Of a picture ten times as high all tops but one are in the same hundredth.
    assert order_boxes(boxes, 1000) == [2, 1, 3, 0]


def test_ink_has_the_named_colour() -> None:
    """The middle of a red shape is red: much red, little green and blue."""
    for seed in range(60):
        (shape,) = (scene := draw_scene(np.random.default_rng(seed), shape_count=1)).shapes
        x, y = shape.center_xy_px
        red, green, blue = scene.image[round(y), round(x)].tolist()
        assert (shape.color == "red") == (red > 190 and green < 70 and blue < 80)


def test_a_crop_shows_one_shape_within_the_image() -> None:
    """The box is in pixels of the crop and inside it."""
    for seed in SEEDS:
        crop = draw_crop(np.random.default_rng(seed))
        (shape,) = crop.shapes
        x1, y1, x2, y2 = shape.box_xyxy_px
        height, width = crop.image.shape[:2]
        assert 0 <= x1 < x2 <= width
        assert 0 <= y1 < y2 <= height
        assert (x2 - x1) * (y2 - y1) > 0.4 * width * height


def test_a_number_is_drawn_as_given() -> None:
    """The digits are those of the value, left to right and apart."""
    scene = draw_number(np.random.default_rng(1), value=407)
    assert scene.number == "407"
    assert [digit.value for digit in scene.digits] == [4, 0, 7]
    assert scene.digits[0].box_xyxy_px[2] <= scene.digits[1].box_xyxy_px[0]
    assert scene.shapes == ()


def test_a_scene_without_digits_has_no_number() -> None:
    """None and not an empty text; a leading zero would be kept."""
    image = np.zeros((4, 4, 3), dtype=np.uint8)
    assert Scene(image=image).number is None
    assert Scene(image=image, digits=(Digit(value=0, box_xyxy_px=(0, 0, 1, 1)),)).number == "0"


def test_wear_changes_a_copy_and_little() -> None:
    """The image given stays; the one returned has its form and nearly its colours."""
    image = draw_scene(np.random.default_rng(2), shape_count=2).image
    before = image.copy()
    worn = wear(np.random.default_rng(3), image)
    np.testing.assert_array_equal(image, before)
    assert (worn.shape, worn.dtype) == (image.shape, image.dtype)
    difference = np.abs(worn.astype(int) - image).mean()
    # Noise of 4 grey levels and JPEG's rounding; swapped colour channels would give far more.
    assert 0.5 < difference < 6
