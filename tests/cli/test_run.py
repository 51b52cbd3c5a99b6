"""`gemma4-block run`: a workflow on a folder of pictures, and on a video."""

import csv
import json
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from inference_cli.lib.utils import IMAGES_EXTENSIONS

from gemma4_block.cli.run import PICTURE_ENDINGS, read_job
from gemma4_block.demo.scenes import draw_scene
from gemma4_block.errors import ConfigurationError

from .conftest import CAUTION, Ended

QUESTION = "--set", "question=How many shapes are there?"


def draw(shapes: int) -> np.ndarray:
    """Draw a scene of a size that all frames of a video have."""
    return cv2.resize(
        draw_scene(np.random.default_rng(shapes), shape_count=shapes).image[..., ::-1], (480, 360)
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with two pictures and a text."""
    path = tmp_path / "pictures"
    path.mkdir()
    cv2.imwrite(str(path / "one.png"), draw(1))
    cv2.imwrite(str(path / "two.png"), draw(2))
    (path / "notes.txt").touch()
    return path


def read_rows(path: Path) -> list[dict[str, str]]:
    """Read a table."""
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_every_picture_of_a_folder_is_a_run(run: Callable[..., Ended], folder: Path, tmp_path: Path) -> None:
    """All answers in one table, a folder for each picture; stderr says what the model is not for."""
    output = tmp_path / "results"
    result = run("run", "ask_one_image", "--images", str(folder), "--output", str(output), *QUESTION)

    assert (result.exit_code, result.stderr) == (0, f"{CAUTION}\n")
    assert result.stdout.endswith(f"The results are in {output}\n")
    rows = read_rows(output / "aggregated_results.csv")
    assert {row["image"]: row["answer"] for row in rows} == {"one.png": "1", "two.png": "2"}
    assert json.loads((output / "one.png" / "results.json").read_text())["finish_reason"] == "stop"


def test_every_frame_of_a_video_is_a_run(run: Callable[..., Ended], tmp_path: Path) -> None:
    """A line for each frame, in order, and a video of the pictures that the workflow draws."""
    path, output = tmp_path / "film.mp4", tmp_path / "results"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"mp4v"), 5, (480, 360))
    for shapes in (1, 2):
        writer.write(draw(shapes))
    writer.release()
    result = run("run", "caption_to_text_display", "--video", str(path), "--output", str(output))

    assert (result.exit_code, result.stderr) == (0, f"{CAUTION}\n")
    captions = [row["caption"] for row in read_rows(output / "workflow_results_source_0.csv")]
    assert len(captions) == 2
    assert all(captions)
    drawn = cv2.VideoCapture(str(output / "source_0_output_picture_preview.mp4"))
    assert drawn.get(cv2.CAP_PROP_FRAME_COUNT) == 2


def test_a_picture_that_fails_is_told_and_the_others_are_there(
    run: Callable[..., Ended], folder: Path, tmp_path: Path
) -> None:
    """Exit code 1, a line for the picture, results for the rest."""
    (folder / "bad.png").write_text("no picture")
    output = tmp_path / "results"
    result = run("run", "ask_one_image", "--images", str(folder), "--output", str(output), *QUESTION)

    caution, failure = result.stderr.splitlines()
    assert (result.exit_code, caution) == (1, CAUTION)
    assert "bad.png" in failure
    assert {row["image"] for row in read_rows(output / "aggregated_results.csv")} == {"one.png", "two.png"}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        pytest.param(["caption_to_text_display"], "Give either --images", id="neither"),
        pytest.param(
            ["caption_to_text_display", "--images", "{folder}", "--video", "a.mp4"],
            "Give either --images",
            id="both",
        ),
        pytest.param(["nonsense", "--images", "{folder}"], "There is no example 'nonsense'", id="no example"),
        pytest.param(["no.json", "--images", "{folder}"], "no.json cannot be opened", id="no file"),
        pytest.param(
            ["ask_one_image", "--images", "{folder}"], "ask_one_image needs --set question=...", id="missing"
        ),
        pytest.param(
            ["ask_one_image", "--images", "{folder}", "--set", "quest=Why?"],
            "--set names 'quest', which ask_one_image has not. It has 'question', 'model_version'.",
            id="unknown",
        ),
        pytest.param(
            ["ask_one_image", "--images", "{folder}", "--set", "question"],
            "--set is 'question'",
            id="no value",
        ),
        pytest.param(["caption_to_text_display", "--images", "gone"], "There is no folder gone", id="folder"),
        pytest.param(
            ["caption_to_text_display", "--images", "{folder}/.."], "has no pictures right in it", id="empty"
        ),
        pytest.param(
            ["caption_to_text_display", "--video", "gone.mp4"], "There is no video file", id="video"
        ),
        pytest.param(
            ["caption_to_text_display", "--video", "{folder}/notes.txt"],
            "be opened as a video",
            id="no video",
        ),
        pytest.param(
            ["caption_to_text_display", "--images", "{folder}", "--output", "{folder}"],
            "is not empty",
            id="results over pictures",
        ),
        pytest.param(
            ["caption_to_text_display", "--images", "{folder}", "--output", "{folder}/one.png"],
            "one.png is no folder",
            id="results in a file",
        ),
    ],
)
def test_a_refusal_is_one_line_and_writes_nothing(
    run: Callable[..., Ended], folder: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], words: str
) -> None:
    """Before any result is made."""
    monkeypatch.chdir(folder.parent)
    result = run("run", *(argument.format(folder=folder) for argument in arguments))

    assert (result.exit_code, result.stdout, len(result.stderr.splitlines())) == (1, "", 1)
    assert words in result.stderr
    assert [path.name for path in folder.parent.iterdir()] == ["pictures"]


def test_values_are_json_where_they_can_be() -> None:
    """A list is a list, and words are words."""
    job = read_job("classify_image", ['classes=["star", "circle"]', "model_version=gemma-4-demo"])

    assert job.parameters == {"classes": ["star", "circle"], "model_version": "gemma-4-demo"}
    assert job.image_input == "image"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        pytest.param("{", "is no JSON", id="no JSON"),
        pytest.param("[]", "holds a list; a workflow is an object", id="list"),
        pytest.param("{}", "has 0 inputs of type WorkflowImage", id="no inputs"),
    ],
)
def test_a_file_that_is_no_workflow_about_images_is_refused(tmp_path: Path, text: str, words: str) -> None:
    """The message names it."""
    (tmp_path / "w.json").write_text(text)

    with pytest.raises(ConfigurationError, match=rf"w\.json {words}"):
        read_job(str(tmp_path / "w.json"), [])


def test_the_endings_are_those_that_the_host_takes() -> None:
    """A folder that has none of them would be a run of nothing."""
    assert {f".{ending.lower()}" for ending in IMAGES_EXTENSIONS} == set(PICTURE_ENDINGS)
