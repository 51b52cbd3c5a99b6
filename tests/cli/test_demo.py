"""`gemma4-block demo`: what a newcomer sees first."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from gemma4_block.cli import workflows
from gemma4_block.cli.gallery import draw_exhibits
from gemma4_block.cli.workflows import load_example
from gemma4_block.demo.scenes import draw_scene
from gemma4_block.errors import ConfigurationError
from gemma4_block.tasks import TASKS

from .conftest import CAUTION, Ended

DEMO_SHAPES = ("red circle", "green star", "orange triangle", "green triangle", "blue square")


def test_the_demo_names_every_shape_and_saves_the_picture(run: Callable[..., Ended], tmp_path: Path) -> None:
    """The demo prints each shape beside its truth and says where the labelled picture is."""
    result = run("demo", "--output", str(tmp_path))
    assert (result.exit_code, result.stderr) == (0, f"{CAUTION}\n")
    for label in DEMO_SHAPES:
        # Once as the model's answer, once as what was drawn.
        assert f" 1 {label}. " in result.stdout
        assert result.stdout.count(label) == 2
    path = tmp_path / "detect_then_describe.png"
    assert str(path) in result.stdout.replace("\n", "")
    assert cv2.imread(str(path)).shape == (429, 550, 3)


def test_the_truth_about_a_given_picture_is_unknown(run: Callable[..., Ended], tmp_path: Path) -> None:
    """A picture from a file is asked about in the same way; nobody knows its truth."""
    scene = draw_scene(np.random.default_rng(0), shape_count=2)
    cv2.imwrite(str(tmp_path / "mine.png"), scene.image[..., ::-1])
    result = run("demo", "--image", str(tmp_path / "mine.png"), "--output", str(tmp_path / "deep" / "er"))
    assert result.exit_code == 0
    assert result.stdout.count("unknown") == 2
    assert (tmp_path / "deep" / "er" / "detect_then_describe.png").is_file()


def test_a_picture_without_shapes_is_an_empty_table(run: Callable[..., Ended], tmp_path: Path) -> None:
    """Where nothing is detected nothing is asked, and the picture is saved all the same."""
    scene = draw_scene(np.random.default_rng(1), shape_count=0)
    cv2.imwrite(str(tmp_path / "empty.png"), scene.image[..., ::-1])
    result = run("demo", "--image", str(tmp_path / "empty.png"), "--output", str(tmp_path))
    assert result.exit_code == 0
    assert "0 crops" in result.stdout
    assert (tmp_path / "detect_then_describe.png").is_file()


def test_an_output_that_cannot_be_made_is_refused_in_one_line(
    run: Callable[..., Ended], tmp_path: Path
) -> None:
    """A file where the folder should be ends the demo at once with exit code 1."""
    (tmp_path / "taken").write_text("")
    result = run("demo", "--output", str(tmp_path / "taken"))
    assert (result.exit_code, len(result.stderr.splitlines())) == (1, 1)
    assert "--output" in result.stderr


def test_an_unknown_model_is_refused_in_one_line(run: Callable[..., Ended], tmp_path: Path) -> None:
    """A model that is not there ends the demo with what is known, without a stack trace."""
    result = run("demo", "--model-version", "nonsense", "--output", str(tmp_path))
    assert (result.exit_code, len(result.stderr.splitlines())) == (1, 1)
    assert "gemma-4-demo" in result.stderr


def test_an_installed_package_brings_its_examples_inside(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first folder that has the example is taken: inside the package, else beside it."""
    inside = tmp_path / "inside"
    inside.mkdir()
    beside = workflows._EXAMPLE_FOLDERS[-1]
    monkeypatch.setattr(workflows, "_EXAMPLE_FOLDERS", (inside, beside))
    assert load_example("ask_one_image")["version"] == "1.0"
    (inside / "ask_one_image.json").write_text('{"version": "installed"}')
    assert load_example("ask_one_image") == {"version": "installed"}


def test_an_unknown_example_is_refused_with_the_known_ones() -> None:
    """The error names what there is."""
    with pytest.raises(ConfigurationError, match="ask_one_image, branch_on_answer"):
        load_example("nonsense")


# All of them are true.
GALLERY = {
    "unconstrained": "4",
    "visual-question-answering": "yes",
    "caption": "1 blue star, 1 purple star.",
    "detailed-caption": "1 blue star, 1 purple star, 1 red circle.",
    "ocr": "68",
    "classification": '{"class_name": "purple star", "confidence": ',
    "structured-answering": '{"shapes": 5, "has_yellow_star": false}',
    "counting": '{"blue star": 1, "orange star": 1, "purple star": 1, "red circle": 1, "red star": 1, '
    '"yellow star": 0}',
}


def test_the_gallery_shows_every_task_and_all_answers_are_true(
    run: Callable[..., Ended], tmp_path: Path
) -> None:
    """One picture for each task, above its question and the answer, or with the answer drawn into it."""
    result = run("demo", "--gallery", "--output", str(tmp_path))
    assert result.exit_code == 0
    assert sorted(path.stem for path in tmp_path.iterdir()) == sorted(TASKS)
    printed = result.stdout.replace("\n", "")
    for task_type, answer in GALLERY.items():
        assert f"{task_type}.png: {answer}" in printed
    boxes = re.search(r"object-detection\.png: (\[\{.*?\}\])", printed)
    classes = re.search(r"multi-label-classification\.png: (\{.*?\]\})", printed)
    assert boxes is not None
    assert classes is not None
    drawn = sorted(shape.label for shape in next(draw_exhibits()).scene.shapes)
    assert sorted(box["label"] for box in json.loads(boxes[1])) == drawn
    assert sorted(one["class"] for one in json.loads(classes[1])["predicted_classes"]) == drawn
    for exhibit in draw_exhibits():
        height, width = exhibit.scene.image.shape[:2]
        picture = cv2.imread(str(tmp_path / f"{exhibit.task_type}.png"))
        assert picture.shape[1] == width
        assert (picture[height:] < 100).any()
        is_drawn = bool((picture[:height] != exhibit.scene.image[..., ::-1]).any())
        assert is_drawn == ("classification" in exhibit.task_type or "detection" in exhibit.task_type)


def test_a_question_is_the_task_and_what_it_was_given() -> None:
    """As people read it below the picture."""
    questions = {exhibit.task_type: exhibit.question for exhibit in draw_exhibits()}
    assert questions["ocr"] == "ocr"
    assert questions["unconstrained"] == "unconstrained: How many stars are there?"
    assert questions["counting"].startswith("counting: blue star, orange star, ")
    assert "number of shapes" in questions["structured-answering"]


def test_the_gallery_takes_no_picture(run: Callable[..., Ended], tmp_path: Path) -> None:
    """It draws its own, so a given one would do nothing."""
    result = run("demo", "--gallery", "--image", "mine.png", "--output", str(tmp_path))
    assert result.exit_code == 1
    assert "Leave --image out" in result.stderr
