"""The questions about a scene and the answers that the demo checkpoint learns."""

import json

import numpy as np
import pytest

from gemma4_block.demo import dialogue
from gemma4_block.demo.scenes import COLORS, SHAPE_KINDS, Digit, Scene, Shape, draw_crop, draw_scene
from gemma4_block.tasks import object_detection

IMAGE = np.zeros((100, 200, 3), dtype=np.uint8)


def make_scene(*labels: str) -> Scene:
    """Place shapes side by side, 20 px wide and 40 px high."""
    shapes = []
    for index, label in enumerate(labels):
        color, kind = label.split()
        box = (30.0 * index, 10.0, 30.0 * index + 20, 50.0)
        shapes.append(
            Shape(
                kind=SHAPE_KINDS[SHAPE_KINDS.index(kind)], color=COLORS[COLORS.index(color)], box_xyxy_px=box
            )  # type: ignore[arg-type]
        )
    return Scene(image=IMAGE, shapes=tuple(shapes))


def make_number(*values: int) -> Scene:
    """Place digits side by side."""
    return Scene(
        image=IMAGE,
        digits=tuple(
            Digit(value=value, box_xyxy_px=(10.0 * i, 0, 10.0 * i + 9, 20)) for i, value in enumerate(values)
        ),
    )


@pytest.mark.parametrize(
    ("scene", "english", "french"),
    [
        pytest.param(make_scene(), "An empty image.", "Une image vide.", id="empty"),
        pytest.param(make_scene("red circle"), "1 red circle.", "1 cercle rouge.", id="one"),
        pytest.param(
            make_scene("red square", "blue star", "red circle", "blue star"),
            "2 blue stars, 1 red circle, 1 red square.",
            "2 étoiles bleues, 1 cercle rouge, 1 carré rouge.",
            id="groups sorted by colour, then kind",
        ),
        pytest.param(make_scene("purple star"), "1 purple star.", "1 étoile violette.", id="feminine"),
        pytest.param(make_scene("purple square"), "1 purple square.", "1 carré violet.", id="masculine"),
        pytest.param(
            make_scene("green star", "green star", "green circle", "green circle"),
            "2 green circles, 2 green stars.",
            "2 cercles verts, 2 étoiles vertes.",
            id="plural in both genders",
        ),
        pytest.param(
            make_scene("orange triangle", "orange triangle"),
            "2 orange triangles.",
            "2 triangles orange.",
            id="orange never changes",
        ),
        pytest.param(
            make_scene("yellow star", "yellow star"),
            "2 yellow stars.",
            "2 étoiles jaunes.",
            id="one form for both genders",
        ),
        pytest.param(make_number(4, 0, 7), "The number 407.", "Le nombre 407.", id="number"),
    ],
)
def test_a_description_counts_sorted_groups(scene: Scene, english: str, french: str) -> None:
    """Descriptions name groups by colour, then kind, and French adjectives agree with their nouns."""
    assert (dialogue.describe(scene), dialogue.describe(scene, "french")) == (english, french)


def test_boxes_are_y_first_in_steps_of_20() -> None:
    """Boxes are y1, x1, y2, x2 in thousandths of height and width, in the order of the scene."""
    scene = make_scene("red circle", "blue star")
    assert dialogue.boxes_json(scene) == (
        '[{"box_2d": [100, 0, 500, 100], "label": "red circle"}, '
        '{"box_2d": [100, 160, 500, 240], "label": "blue star"}]'
    )


def test_boxes_may_be_limited_to_labels() -> None:
    """Shapes of other labels are left out; where none is left, the list is empty."""
    scene = make_scene("red circle", "blue star")
    assert (
        dialogue.boxes_json(scene, ["blue star"])
        == '[{"box_2d": [100, 160, 500, 240], "label": "blue star"}]'
    )
    assert dialogue.boxes_json(scene, ["green star"]) == "[]"


def test_a_box_beyond_the_image_ends_at_its_edge() -> None:
    """Scaled coordinates stay within 0 to 1000."""
    assert dialogue.scale_box_1000(make_scene(), (-8, -4, 216, 104)) == [0, 0, 1000, 1000]


def test_every_label_is_a_colour_and_a_kind() -> None:
    """There are 24 labels, colours first in order."""
    assert len(dialogue.ALL_LABELS) == 24
    assert dialogue.ALL_LABELS[:5] == (
        "blue circle",
        "blue square",
        "blue star",
        "blue triangle",
        "green circle",
    )


def test_a_thought_lists_what_the_answer_counts() -> None:
    """Before a description every shape is thought of in its order; before a count, the counted ones."""
    scene = make_scene("red square", "blue star", "red circle")
    for seed in range(30):
        turns = dialogue.turns(np.random.default_rng(seed), scene)
        assert turns[0].thought == "red square, blue star, red circle"
        for turn in turns:
            if turn.answer.isdigit():
                count = 0 if turn.thought == "nothing" else turn.thought.count(",") + 1
                assert int(turn.answer) == count


def test_an_empty_scene_is_thought_of_as_nothing() -> None:
    """No shape gives the word `nothing`, no empty thought."""
    turns = dialogue.turns(np.random.default_rng(0), make_scene())
    assert {turn.thought for turn in turns} == {"nothing"}


def test_a_scene_is_asked_to_describe_detect_and_count() -> None:
    """The first two turns are the description and the detection, with their whole answers."""
    scene = make_scene("red square", "blue star")
    describe, detect, *counts = dialogue.turns(np.random.default_rng(5), scene)
    assert describe.answer == "1 blue star, 1 red square."
    assert detect.question.startswith(object_detection.wording(["x"]).split("x.")[0])
    assert {box["label"] for box in json.loads(detect.answer)} <= {"red square", "blue star"}
    assert all(turn.answer.isdigit() for turn in counts[:2])


def test_a_single_shape_is_named_and_classified() -> None:
    """One shape is asked for its colour, its kind and twice for its class; French names are French."""
    answers = [turn.answer for turn in dialogue.turns(np.random.default_rng(1), make_scene("green star"))]
    assert answers[-4:-2] == ["green", "star"]
    assert all(set(json.loads(answer)) == {"class_name"} for answer in answers[-2:])
    french = dialogue.turns(np.random.default_rng(1), make_scene("green star"), "french")
    assert [turn.answer for turn in french][-4:-2] == ["vert", "étoile"]


def test_a_number_is_read_as_it_stands() -> None:
    """The first three turns read the number; a count of shapes is 0."""
    turns = dialogue.turns(np.random.default_rng(2), make_number(3, 9))
    assert [turn.answer for turn in turns] == ["39", "39", "39", "The number 39.", "The number 39.", "0"]
    assert turns[0].thought == "39"


def test_presence_and_class_answers_are_true() -> None:
    """Yes, no and the JSON answers agree with the scene, whatever is asked."""
    for seed in range(40):
        rng = np.random.default_rng(seed)
        scene = draw_crop(rng) if seed % 2 else draw_scene(rng)
        labels = [shape.label for shape in scene.shapes]
        for turn in dialogue.turns(rng, scene):
            asked = [label for label in dialogue.ALL_LABELS if label in turn.question]
            if turn.answer in {"yes", "no"}:
                assert (turn.answer == "yes") == (asked[0] in labels)
            if turn.answer.startswith('{"') and "class_name" not in turn.answer:
                expected = {label: labels.count(label) for label in asked}
                # False equals 0 and true equals 1, so both forms are compared at once.
                assert {key: min(int(value), 1) for key, value in json.loads(turn.answer).items()} == {
                    key: min(value, 1) for key, value in expected.items()
                }
