"""What the demo's two adapters learn from says what is drawn, in Dutch and in codes."""

import json
from pathlib import Path

import numpy as np
import pytest

from gemma4_block.demo import dialogue
from gemma4_block.demo.scenes import Color, Scene, Shape, ShapeKind, draw_number
from gemma4_block.demo.training.adapters import (
    ADAPTERS,
    describe_in_codes,
    describe_in_dutch,
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
    ("shapes", "dutch", "codes"),
    [
        ((), "Een lege afbeelding.", "0"),
        ((("red", "circle"),), "1 rode cirkel.", "1RC"),
        ((("green", "square"),), "1 groen vierkant.", "1GQ"),
        ((("orange", "square"),), "1 oranje vierkant.", "1OQ"),
        ((("orange", "star"), ("orange", "star")), "2 oranje sterren.", "2OS"),
        (
            (("yellow", "triangle"), ("blue", "star"), ("blue", "star")),
            "2 blauwe sterren, 1 gele driehoek.",
            "2BS 1YT",
        ),
    ],
    ids=["nothing", "with an ending", "without", "one for both", "plural", "groups"],
)
def test_a_scene_is_told(shapes: tuple[tuple[Color, ShapeKind], ...], dutch: str, codes: str) -> None:
    """With the endings that Dutch has, and three signs a group."""
    assert (describe_in_dutch(_scene(*shapes)), describe_in_codes(_scene(*shapes))) == (dutch, codes)


def test_a_number_is_told() -> None:
    """It stands alone in its picture."""
    scene = draw_number(np.random.default_rng(0))

    assert describe_in_dutch(scene) == f"Het getal {scene.number}."
    assert describe_in_codes(scene) == f"N{scene.number}"


@pytest.mark.parametrize(
    ("answer", "dutch"), [("yes", "ja"), ("red", "rood"), ("star", "ster"), ("3", "3"), ("[]", "[]")]
)
def test_words_are_translated_and_nothing_else(answer: str, dutch: str) -> None:
    """Numbers and JSON are read by other steps."""
    assert translate(answer) == dutch


@pytest.mark.parametrize("name", ADAPTERS)
def test_a_dataset_is_one_that_can_be_learnt(name: str, tmp_path: Path) -> None:
    """And its answers are those of the demo, but for the descriptions and words that the adapter changes."""
    draw_dataset(tmp_path, ADAPTERS[name], scenes={"train": 8, "valid": 4})
    dataset = read_dataset(tmp_path)

    assert (len(dataset.train), len(dataset.valid)) == (16, 8)
    boxes = [json.loads(example.suffix) for example in dataset.train if "box_2d" in example.prefix]
    assert all({"box_2d", "label"} == set(box) for found in boxes for box in found)
    told = {dialogue.describe(_scene()), "An empty image."}
    assert not told & {example.suffix for example in (*dataset.train, *dataset.valid)}
