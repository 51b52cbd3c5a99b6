"""What the demo's two adapters learn from says what is drawn, in German and in codes."""

import json
from pathlib import Path

import numpy as np
import pytest

from gemma4_block.demo import dialogue
from gemma4_block.demo.scenes import Color, Scene, Shape, ShapeKind, draw_number
from gemma4_block.demo.training.adapters import (
    ADAPTERS,
    describe_in_codes,
    describe_in_german,
    draw_dataset,
    translate,
)
from gemma4_block.finetuning import read_dataset


def _scene(*shapes: tuple[Color, ShapeKind]) -> Scene:
    box = (10.0, 10.0, 40.0, 40.0)
    return Scene(
        image=np.zeros((100, 100, 3), np.uint8),
        shapes=tuple(Shape(color=color, kind=kind, box_xyxy_px=box) for color, kind in shapes),
    )


@pytest.mark.parametrize(
    ("shapes", "german", "codes"),
    [
        ((), "Ein leeres Bild.", "0"),
        ((("red", "circle"),), "1 roter Kreis.", "1RC"),
        ((("orange", "square"),), "1 oranges Quadrat.", "1OQ"),
        ((("orange", "star"), ("orange", "star")), "2 orange Sterne.", "2OS"),
        (
            (("yellow", "triangle"), ("blue", "star"), ("blue", "star")),
            "2 blaue Sterne, 1 gelbes Dreieck.",
            "2BS 1YT",
        ),
    ],
    ids=["nothing", "masculine", "neuter", "plural", "groups"],
)
def test_a_scene_is_told(shapes: tuple[tuple[Color, ShapeKind], ...], german: str, codes: str) -> None:
    """With the endings that German has, and three signs a group."""
    assert (describe_in_german(_scene(*shapes)), describe_in_codes(_scene(*shapes))) == (german, codes)


def test_a_number_is_told() -> None:
    """It stands alone in its picture."""
    scene = draw_number(np.random.default_rng(0))

    assert describe_in_german(scene) == f"Die Zahl {scene.number}."
    assert describe_in_codes(scene) == f"N{scene.number}"


@pytest.mark.parametrize(
    ("answer", "german"), [("yes", "ja"), ("red", "rot"), ("star", "Stern"), ("3", "3"), ("[]", "[]")]
)
def test_words_are_translated_and_nothing_else(answer: str, german: str) -> None:
    """Numbers and JSON are read by other steps."""
    assert translate(answer) == german


@pytest.mark.parametrize("name", ADAPTERS)
def test_a_dataset_is_one_that_can_be_learnt(name: str, tmp_path: Path) -> None:
    """And its answers are those of the demo, but for the descriptions and words that the adapter changes."""
    draw_dataset(tmp_path, ADAPTERS[name], scenes={"train": 8, "valid": 4})
    dataset = read_dataset(tmp_path)

    assert (len(dataset.train), len(dataset.valid)) == (32, 16)
    boxes = [json.loads(example.suffix) for example in dataset.train if "box_2d" in example.prefix]
    assert all({"box_2d", "label"} == set(box) for found in boxes for box in found)
    told = {dialogue.describe(_scene()), "An empty image."}
    assert not told & {example.suffix for example in (*dataset.train, *dataset.valid)}
