"""`gemma4-block ask`: the block's own road from a terminal."""

import json
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from gemma4_block.cli.ask import one_step_workflow
from gemma4_block.cli.workflows import terminal_manners
from gemma4_block.demo.dialogue import describe
from gemma4_block.demo.scenes import draw_scene
from gemma4_block.settings import Settings

from .conftest import Ended

SCENE = draw_scene(np.random.default_rng(0), shape_count=2)


@pytest.fixture
def image(tmp_path: Path) -> str:
    """Save a scene of two shapes."""
    path = tmp_path / "scene.png"
    cv2.imwrite(str(path), SCENE.image[..., ::-1])
    return str(path)


def test_the_answer_is_the_only_thing_on_stdout(run: Callable[..., Ended], image: str) -> None:
    """A question about a scene prints the true answer and nothing else."""
    result = run("ask", image, "How many shapes are there?")
    assert (result.exit_code, result.stdout) == (0, "2\n")


def test_a_task_that_brings_its_question_needs_none(run: Callable[..., Ended], image: str) -> None:
    """`--task-type caption` describes the scene without a question."""
    result = run("ask", image, "--task-type", "caption")
    assert (0, f"{describe(SCENE)}\n") == (result.exit_code, result.stdout)


def test_thoughts_are_printed_on_request_before_the_answer(run: Callable[..., Ended], tmp_path: Path) -> None:
    """`--thinking` adds a line above the answer that names what the model saw."""
    scene = draw_scene(np.random.default_rng(0), shape_count=1)
    (shape,) = scene.shapes
    cv2.imwrite(str(tmp_path / "one.png"), scene.image[..., ::-1])
    result = run("ask", str(tmp_path / "one.png"), "What color is the shape?", "--thinking")
    assert (result.exit_code, result.stdout) == (0, f"{shape.label}\n{shape.color}\n")


def test_the_system_prompt_reaches_the_model(run: Callable[..., Ended], tmp_path: Path) -> None:
    """The demo model answers in French where the system prompt says so."""
    scene = draw_scene(np.random.default_rng(0), shape_count=1)
    assert scene.shapes[0].color == "purple"
    cv2.imwrite(str(tmp_path / "one.png"), scene.image[..., ::-1])
    picture, question = str(tmp_path / "one.png"), "What color is the shape?"
    result = run("ask", picture, question, "--system-prompt", "Answer in French.")
    assert (result.exit_code, result.stdout) == (0, "violet\n")


def test_a_cut_answer_says_so(run: Callable[..., Ended], image: str) -> None:
    """An answer that met `--max-new-tokens` is printed, and stderr says that it was cut."""
    result = run("ask", image, "Describe the image.", "--max-new-tokens", "2")
    assert result.exit_code == 0
    assert "cut off at --max-new-tokens" in result.stderr


LABELS = sorted({shape.label for shape in SCENE.shapes})


def test_classes_are_separated_by_commas(run: Callable[..., Ended], image: str) -> None:
    """The answer is JSON about the classes that were listed, in their order."""
    classes = f"{LABELS[0]}, {LABELS[1]}"
    counted = run("ask", image, "--task-type", "counting", "--classes", classes)
    truth = {label: sum(shape.label == label for shape in SCENE.shapes) for label in LABELS}
    assert (counted.exit_code, json.loads(counted.stdout)) == (0, truth)
    assert list(json.loads(counted.stdout)) == LABELS
    found = run("ask", image, "--task-type", "multi-label-classification", "--classes", classes)
    present = json.loads(found.stdout)["predicted_classes"]
    assert [entry["class"] for entry in present] == LABELS
    assert all(0.5 < entry["confidence"] < 1 for entry in present)


def test_boxes_are_printed_as_json(run: Callable[..., Ended], image: str) -> None:
    """`object-detection` prints a box for every shape, labelled with the classes that were listed."""
    result = run("ask", image, "--task-type", "object-detection", "--classes", ",".join(LABELS))
    found = sorted(entry["label"] for entry in json.loads(result.stdout))
    assert (result.exit_code, found) == (0, sorted(shape.label for shape in SCENE.shapes))


@pytest.mark.parametrize("is_file", [False, True], ids=["text", "file"])
def test_a_structure_is_json_or_a_file(
    run: Callable[..., Ended],
    image: str,
    tmp_path: Path,
    is_file: bool,  # noqa: FBT001 - a case
) -> None:
    """The answer has the fields that were named, whatever the small model puts into them."""
    structure = '{"color": "color of the largest shape", "kind": "circle or square"}'
    if is_file:
        (tmp_path / "fields.json").write_text(structure, encoding="utf-8")
        structure = str(tmp_path / "fields.json")
    result = run("ask", image, "--task-type", "structured-answering", "--structure", structure)
    assert result.exit_code == 0
    assert list(json.loads(result.stdout)) == ["color", "kind"]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        pytest.param(["Hello?", "--model-version", "nonsense"], "'nonsense'", id="unknown model"),
        pytest.param(["Hello?", "--task-type", "nonsense"], "task_type: ", id="unknown task"),
        pytest.param([], "needs a prompt", id="no question"),
        pytest.param(["Hello?", "--image-seq-length", "99"], "70, 140, 280, 560 or 1120", id="budget"),
        pytest.param(["Hello?", "--seed", "3"], "seed is 3 while sampling is off", id="idle seed"),
        pytest.param(["Hello?", "--top-k", "3"], "top_k is 3 while sampling is off", id="idle top_k"),
        pytest.param(["Hello?", "--top-p", "0.5"], "top_p is 0.5 while sampling is off", id="idle top_p"),
        pytest.param(["Hello?", "--temperature", "-1"], "temperature is -1.0", id="temperature"),
        pytest.param(["Hello?", "--max-new-tokens", "0"], "max_new_tokens is 0", id="no tokens"),
        pytest.param(["Hello?", "--quantization", "nonsense"], "quantization: ", id="quantization"),
        pytest.param(["Hello?", "--classes", "a"], "has no classes, and those given", id="idle classes"),
        pytest.param(["--task-type", "counting"], "needs classes", id="no classes"),
        pytest.param(["--task-type", "counting", "--classes", "a,,b"], "Class 2 of 3 is blank", id="blank"),
        pytest.param(["--task-type", "structured-answering"], "needs an output_structure", id="no structure"),
        pytest.param(["--structure", "no.json"], "nor a readable file", id="no structure file"),
        pytest.param(["--structure", "{'a': 1}"], "--structure is no JSON", id="structure is no JSON"),
        pytest.param(["Hello?", "--max-thinking-tokens", "9"], "while thinking is off", id="idle thoughts"),
        pytest.param(
            ["--task-type", "object-detection", "--classes", "a", "--box-format", "nonsense"],
            "box_format: ",
            id="box format",
        ),
    ],
)
def test_a_refusal_is_one_line_and_exit_code_1(
    run: Callable[..., Ended], image: str, arguments: list[str], expected: str
) -> None:
    """What the block refuses is said in one line on stderr, without a stack trace."""
    result = run("ask", image, *arguments)
    assert (result.exit_code, result.stdout, len(result.stderr.splitlines())) == (1, "", 1)
    assert expected in result.stderr


def test_a_structure_file_that_holds_no_object_is_refused(run: Callable[..., Ended], tmp_path: Path) -> None:
    """A list says nothing about the fields of an answer."""
    path = tmp_path / "fields.json"
    path.write_text('["color"]', encoding="utf-8")
    result = run("ask", "unused.png", "--structure", str(path))
    assert result.exit_code == 1
    assert f"{path} holds a list; it must be a JSON object." in result.stderr


@pytest.mark.parametrize("content", [None, b"", b"no image"], ids=["missing", "empty", "text"])
def test_a_file_that_is_no_image_is_refused_before_any_model_is_loaded(
    run: Callable[..., Ended], tmp_path: Path, content: bytes | None
) -> None:
    """A missing or unreadable file is named in one line."""
    path = tmp_path / "picture.png"
    if content is not None:
        path.write_bytes(content)
    result = run("ask", str(path), "Hello?")
    assert (result.exit_code, len(result.stderr.splitlines())) == (1, 1)
    assert str(path) in result.stderr


def test_only_what_was_given_reaches_the_block() -> None:
    """An option that was left out is left out of the step, so that the block's default holds."""
    specification = one_step_workflow({"prompt": "Hello?", "seed": None, "temperature": 0.0})
    (step,) = specification["steps"]  # type: ignore[misc]
    assert step == {
        "type": "gemma4_block/gemma4@v1",
        "name": "gemma",
        "images": "$inputs.image",
        "prompt": "Hello?",
        "temperature": 0.0,
    }


def test_whoever_sits_at_a_terminal_waits_until_the_model_is_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody else waits there, and a large model takes minutes."""
    monkeypatch.delenv("GEMMA4_BLOCK_MAX_LOADING_SECONDS", raising=False)
    with terminal_manners():
        assert Settings().max_loading_seconds == 0
    monkeypatch.delenv("GEMMA4_BLOCK_MAX_LOADING_SECONDS")
