"""The second generator: what it says of its pictures is true, and it draws every kind that it names."""

from dataclasses import replace

import numpy as np
import pytest

from gemma4_block.demo.evaluation.held_out import CONDITIONS, Condition, draw_held_out
from gemma4_block.demo.evaluation.held_out.fields import cut, disc, hull, join, ray_star, ring, rod, slab
from gemma4_block.demo.evaluation.held_out.things import HELD_OUT_WAYS
from gemma4_block.demo.training.drawing import EVERYDAY_KINDS, Picture


def draw(name: str, count: int) -> list[Picture]:
    """Draw small pictures of a condition."""
    rng = np.random.default_rng(0)
    condition = replace(CONDITIONS[name], unit_px=150)
    return [draw_held_out(rng, condition) for _ in range(count)]


@pytest.mark.parametrize("name", CONDITIONS)
def test_boxes_hold_what_is_drawn(name: str) -> None:
    """Each box is that of the pixels that its thing owns, or owned; all is in the order of tops."""
    for picture in draw(name, 6):
        height, width = picture.image.shape[:2]
        keys = []
        for index, thing in enumerate(picture.things):
            x1, y1, x2, y2 = thing.box_xyxy_px
            y, x = np.nonzero(picture.owners == index)
            assert 0 <= x1 <= x.min()
            assert x.max() + 1 <= x2 <= width
            assert 0 <= y1 <= y.min()
            assert y.max() + 1 <= y2 <= height
            if CONDITIONS[name].overlap == 0:
                assert (x.min(), y.min(), x.max() + 1, y.max() + 1) == (x1, y1, x2, y2)
            keys.append((round(100 * y1 / height), x1))
        assert keys == sorted(keys)


@pytest.mark.parametrize(
    ("name", "low", "high"), [("six to eight", 5, 8), ("large", 1, 1), ("white background", 1, 5)]
)
def test_a_condition_keeps_its_count(name: str, low: int, high: int) -> None:
    """One fewer where no place is free among many."""
    counts = [len(picture.things) for picture in draw(name, 12)]
    assert low <= min(counts) <= max(counts) <= high


@pytest.mark.parametrize(
    ("name", "low", "high"),
    [("white background", 235, 255), ("dark background", 0, 60), ("grey background", 80, 200)],
)
def test_a_background_is_as_light_as_its_name(name: str, low: int, high: int) -> None:
    """Measured at the pixels that nothing covers."""
    for picture in draw(name, 6):
        assert low <= picture.image[picture.owners == -1].mean() <= high


def test_the_same_seed_draws_the_same_picture() -> None:
    """Every choice comes from the generator."""
    for first, second in zip(draw("overlaps", 3), draw("overlaps", 3), strict=True):
        np.testing.assert_array_equal(first.image, second.image)
        assert first.things == second.things


def test_outlines_are_hollow() -> None:
    """The middle of an outlined circle is the background's."""
    hollow = Condition(is_hollow=True, border=0.1, count=(1, 1), size=(0.5, 0.6), unit_px=150)
    rng = np.random.default_rng(0)
    for _ in range(8):
        picture = draw_held_out(rng, hollow)
        (thing,) = picture.things
        x1, y1, x2, y2 = thing.box_xyxy_px
        assert picture.image[int((y1 + y2) / 2), int((x1 + x2) / 2)].min() > 230


@pytest.mark.parametrize("kind", EVERYDAY_KINDS)
def test_every_part_of_an_everyday_thing_is_there(kind: str) -> None:
    """Each part has an inside within the unit square, and all together span most of it."""
    y, x = np.mgrid[-1:1:200j, -1:1:200j]
    for seed in range(5):
        insides = [field(x, y) < 0 for field, _ in HELD_OUT_WAYS[kind](np.random.default_rng(seed))]
        assert all(inside.any() for inside in insides)
        whole = np.logical_or.reduce(insides)
        spans = [np.ptp(np.nonzero(whole.any(axis=axis))[0]) for axis in (0, 1)]
        assert max(spans) > 130


@pytest.mark.parametrize(
    ("field", "point", "expected"),
    [
        (disc(0, 0, 0.5), (1, 0), 0.5),
        (slab(0, 0, 0.5, 0.5), (0, 0), -0.5),
        (slab(0, 0, 0.5, 0.5), (0.8, 0.9), 0.5),
        (rod(0, 0, 1, 0, 0.2), (0.5, 0.3), 0.2),
        (hull((0, -1), (1, 0), (0, 1), (-1, 0)), (0, 0), -(0.5**0.5)),
        (ring(0, 0, 0.5, 0.2), (0.5, 0), -0.1),
        (join(disc(-1, 0, 0.5), disc(1, 0, 0.5)), (0, 0), 0.5),
        (cut(disc(0, 0, 1), disc(0, 0, 0.4)), (0, 0), 0.4),
        (ray_star(5, 0.45), (0, -1), 0.0),
    ],
    ids=["disc", "slab inside", "slab corner", "rod", "hull", "ring", "join", "cut", "star tip"],
)
def test_fields_say_how_far_outside_a_point_is(
    field: object, point: tuple[float, float], expected: float
) -> None:
    """Negative inside."""
    assert callable(field)
    found = field(np.array([float(point[0])]), np.array([float(point[1])]))
    np.testing.assert_allclose(found, [expected], atol=1e-9)
