"""The wide pictures of the training: what is said to be true about them is."""

import colorsys
import itertools

import numpy as np
import pytest

from gemma4_block.demo.scenes import Scene, draw_scene
from gemma4_block.demo.training.drawing import (
    COLORS,
    EVERYDAY_KINDS,
    SHAPE_KINDS,
    Limits,
    Picture,
    composing,
    draw_picture,
)
from gemma4_block.demo.training.drawing.inks import distance, mix_ink, shade
from gemma4_block.demo.training.drawing.lettering import HELD_OUT_FONTS, list_fonts, load_font, training_fonts
from gemma4_block.demo.training.drawing.outlines import arc, box, ellipse, line
from gemma4_block.demo.training.drawing.painting import Pose
from gemma4_block.demo.training.drawing.picture import NOBODY
from gemma4_block.demo.training.drawing.placing import WAYS


def draw_many(count: int, difficulty: float = 1.0) -> list[Picture]:
    """Draw small pictures of one stream."""
    rng = np.random.default_rng(0)
    return [draw_picture(rng, Limits(unit_px=160, difficulty=difficulty)) for _ in range(count)]


@pytest.fixture(scope="module")
def pictures() -> list[Picture]:
    """Return pictures of everything that is drawn."""
    return draw_many(250)


def test_the_same_seed_draws_the_same_picture() -> None:
    """Every choice comes from the generator."""
    for first, second in zip(draw_many(10), draw_many(10), strict=True):
        np.testing.assert_array_equal(first.image, second.image)
        np.testing.assert_array_equal(first.owners, second.owners)
        assert (first.things, first.writing) == (second.things, second.writing)


def test_boxes_are_in_the_picture(pictures: list[Picture]) -> None:
    """No box leaves it, and each has an area."""
    for picture in pictures:
        height, width = picture.image.shape[:2]
        for thing in picture.things:
            x1, y1, x2, y2 = thing.box_xyxy_px
            assert 0 <= x1 < x2 <= width
            assert 0 <= y1 < y2 <= height


def test_things_are_seen_inside_their_boxes(pictures: list[Picture]) -> None:
    """Each owns pixels, none of them further than a pixel outside of its box, and a good part of it."""
    for picture in pictures:
        assert picture.owners.shape == picture.image.shape[:2]
        assert set(np.unique(picture.owners)) == {-1, *range(len(picture.things))} - (
            set() if (picture.owners == -1).any() else {-1}
        )
        for index, thing in enumerate(picture.things):
            x1, y1, x2, y2 = thing.box_xyxy_px
            y, x = np.nonzero(picture.owners == index)
            assert x.min() >= x1 - 1.5
            assert x.max() <= x2 + 1.5
            assert y.min() >= y1 - 1.5
            assert y.max() <= y2 + 1.5
            assert len(x) >= 0.06 * (x2 - x1) * (y2 - y1)


def test_things_are_in_the_order_of_their_tops(pictures: list[Picture]) -> None:
    """In hundredths of the height, then from the left."""
    for picture in pictures:
        corners = [
            (round(100 * y1 / picture.image.shape[0]), x1)
            for x1, y1, _, _ in (thing.box_xyxy_px for thing in picture.things)
        ]
        assert corners == sorted(corners)


def test_every_kind_and_colour_is_drawn(pictures: list[Picture]) -> None:
    """Shapes have colours, everyday things do not; nothing is left out."""
    things = [thing for picture in pictures for thing in picture.things]
    assert {thing.kind for thing in things if thing.color is not None} == set(SHAPE_KINDS)
    assert {thing.kind for thing in things if thing.color is None} == set(EVERYDAY_KINDS)
    assert {thing.color for thing in things} == {None, *COLORS}


def test_pictures_are_wide_ranging(pictures: list[Picture]) -> None:
    """None to eight things, sides from 1:4 to 4:1, light and dark, small and large, apart and overlapping."""
    assert {len(picture.things) for picture in pictures} == set(range(9))
    ratios = [
        picture.image.shape[1] / picture.image.shape[0]
        for picture in pictures
        if picture.image.size > 3 * 140**2
    ]
    assert 0.24 < min(ratios) < 0.35
    assert 2.8 < max(ratios) < 4.2
    lightness = [np.median(picture.image) for picture in pictures]
    assert min(lightness) < 40
    assert max(lightness) > 240
    sizes = [
        (thing.box_xyxy_px[3] - thing.box_xyxy_px[1]) / np.sqrt(picture.image[..., 0].size)
        for picture in pictures
        for thing in picture.things
    ]
    assert min(sizes) < 0.08
    assert max(sizes) > 0.8
    assert any(
        a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]
        for picture in pictures
        for a, b in itertools.combinations([thing.box_xyxy_px for thing in picture.things], 2)
    )


def test_the_easiest_pictures_hold_one_thing_on_a_light_background() -> None:
    """Difficulty 0 is where the curriculum begins."""
    for picture in draw_many(60, difficulty=0.0):
        assert len(picture.things) <= 1
        corners = picture.image[[0, 0, -1, -1], [0, -1, 0, -1]]
        assert picture.things or corners.min() >= 225


def test_a_good_share_looks_as_the_examples_do(monkeypatch: pytest.MonkeyPatch) -> None:
    """Scenes of the package's generator are among them, and each shape owns what it covers."""
    drawn: list[Scene] = []

    def draw_and_keep(rng: np.random.Generator) -> Scene:
        drawn.append(draw_scene(rng))
        return drawn[-1]

    monkeypatch.setattr(composing, "draw_scene", draw_and_keep)
    pictures = draw_many(100)
    assert 8 <= len(drawn) <= 35
    for scene in drawn:
        (picture,) = (one for one in pictures if one.image is scene.image)
        assert [thing.label for thing in picture.things] == [shape.label for shape in scene.shapes]
        is_ink = np.abs(scene.image.astype(int) - scene.image[0, 0]).sum(axis=-1) > 0
        assert (is_ink | (picture.owners == NOBODY)).all()


def test_what_is_written_is_what_is_said(pictures: list[Picture]) -> None:
    """The letters spell the text, stand in the picture from left to right, and differ from what is around."""
    written = [picture for picture in pictures if picture.writing is not None]
    assert len(written) > 40
    for picture in written:
        writing = picture.writing
        assert writing is not None
        assert "".join(letter.char for letter in writing.letters) == writing.text.replace(" ", "")
        height, width = picture.image.shape[:2]
        for letter in writing.letters:
            x1, y1, x2, y2 = letter.box_xyxy_px
            assert -2 <= x1 < x2 <= width + 2
            assert -2 <= y1 < y2 <= height + 2
            region = picture.image[max(0, int(y1)) : int(y2) + 1, max(0, int(x1)) : int(x2) + 1].astype(float)
            assert np.ptp(region, axis=(0, 1)).max() > 40


def test_a_crop_shows_one_thing_that_fills_it(pictures: list[Picture]) -> None:
    """Some pictures are what a detector would cut out."""
    filled = [
        picture
        for picture in pictures
        if len(picture.things) == 1
        and (picture.things[0].box_xyxy_px[2] - picture.things[0].box_xyxy_px[0])
        > 0.7 * picture.image.shape[1]
        and (picture.things[0].box_xyxy_px[3] - picture.things[0].box_xyxy_px[1])
        > 0.7 * picture.image.shape[0]
    ]
    assert len(filled) > 10


@pytest.mark.parametrize("kind", EVERYDAY_KINDS)
def test_an_everyday_thing_is_drawn_in_several_ways_that_fill_the_unit_square(kind: str) -> None:
    """Every way spans most of the square and leaves it by little."""
    assert len(set(WAYS[kind])) >= 2
    rng = np.random.default_rng(1)
    for way in WAYS[kind]:
        for _ in range(5):
            points = np.concatenate([part.points for part in way(rng)])
            assert 0.85 < np.abs(points).max() < 1.35
            assert np.ptp(points, axis=0).max() > 1.35


def test_the_ways_to_draw_are_of_everyday_things() -> None:
    """Nothing can be drawn that has no name, and all names can be drawn."""
    assert set(WAYS) == set(EVERYDAY_KINDS)


def test_colour_names_do_not_share_hues() -> None:
    """A hundred looks of each name keep to their part of the circle of hues."""
    rng = np.random.default_rng(0)
    hues = {
        color: [
            360 * colorsys.rgb_to_hsv(*(part / 255 for part in mix_ink(rng, color)))[0] for _ in range(100)
        ]
        for color in COLORS
    }
    turned = {color: [(hue + 30) % 360 for hue in found] for color, found in hues.items()}
    spans = sorted((min(found), max(found)) for found in turned.values())
    assert all(before[1] + 8 < after[0] for before, after in itertools.pairwise(spans))


@pytest.mark.parametrize(
    ("factor", "expected"),
    [(0.5, (50, 25, 0)), (1.0, (100, 50, 0)), (1.5, (178, 152, 128)), (2.0, (255, 255, 255))],
)
def test_a_shade_is_darker_or_lighter(factor: float, expected: tuple[int, int, int]) -> None:
    """Below 1 towards black, above towards white."""
    assert shade((100, 50, 0), factor) == expected


def test_distance_is_that_of_the_eye() -> None:
    """Black and white are as far apart as can be; a colour is not apart from itself."""
    assert distance((10, 20, 30), np.array([10.0, 20.0, 30.0])) == 0
    assert distance((0, 0, 0), np.array([255.0, 255.0, 255.0])) == pytest.approx(764.8, abs=0.1)


def test_held_out_fonts_are_never_trained_on() -> None:
    """They are kept for the evaluation, and symbols are no letters."""
    trained, found = training_fonts(), list_fonts()
    assert len(trained) >= 18
    assert all(name not in str(path) for path in trained for name in HELD_OUT_FONTS)
    assert len(found) > len(trained)
    widths = {load_font(path, 40).getlength("Ag7") for path in trained}
    assert min(widths) > 20


def test_a_pose_mirrors_scales_turns_and_moves() -> None:
    """A quarter turn to the right takes what is right to below."""
    pose = Pose(x_px=100, y_px=50, half_width_px=10, half_height_px=20, angle=np.pi / 2, is_mirrored=True)
    placed = pose.place(np.array([[1.0, 0.0], [0.0, 1.0]]))
    np.testing.assert_allclose(placed, [[100, 40], [80, 50]], atol=1e-9)


def test_parts_have_the_outlines_that_they_name() -> None:
    """A box keeps its corners, an ellipse its radii, strokes their width."""
    np.testing.assert_allclose(box(-1, -0.5, 1, 0.5, radius=0.2).points.min(axis=0), [-1, -0.5], atol=1e-9)
    np.testing.assert_allclose(box(-1, -0.5, 1, 0.5, radius=0.2).points.max(axis=0), [1, 0.5], atol=1e-9)
    np.testing.assert_allclose(ellipse(0.5, 0, 0.4, 0.2).points.max(axis=0), [0.9, 0.2], atol=1e-2)
    np.testing.assert_allclose(np.ptp(line(0, 0, 1, 0, 0.2).points, axis=0), [1, 0.2], atol=1e-9)
    np.testing.assert_allclose(np.ptp(arc(0, 0, 0.5, 0.5, 0.2).points, axis=0), [1.2, 1.2], atol=1e-2)
