"""`gemma4-block ask`: questions about picture files from a terminal."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from gemma4_block.cli import replies
from gemma4_block.cli.inquiry import Options, check_options
from gemma4_block.cli.workflows import terminal_manners
from gemma4_block.demo.dialogue import describe
from gemma4_block.demo.scenes import draw_scene
from gemma4_block.fields import GenerationFields
from gemma4_block.settings import Settings

from .conftest import CAUTION, Ended

SCENE = draw_scene(np.random.default_rng(1), shape_count=2)


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


def test_the_embedded_model_says_what_it_is_not_for(run: Callable[..., Ended], folder: Path) -> None:
    """One line of stderr, however many pictures and whatever the form of the answers."""
    result = run("ask", f"{folder}/[ad].png", "How many shapes are there?", "--json")
    assert (result.stdout, result.stderr) == ('"2"\n"2"\n', f"{CAUTION}\n")


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
CLASSES = f"{LABELS[0]}, {LABELS[1]}"


def table(stdout: str) -> list[list[str]]:
    """Return the cells of a printed table, whose columns are at least two blanks apart."""
    return [re.split(r"\s{2,}", line.strip()) for line in stdout.splitlines()]


def test_counts_are_a_table_for_people_and_json_for_programs(run: Callable[..., Ended], image: str) -> None:
    """Classes are separated by commas and keep their order."""
    truth = {label: sum(shape.label == label for shape in SCENE.shapes) for label in LABELS}
    options = ("--task-type", "counting", "--classes", CLASSES)
    printed = run("ask", image, *options)
    assert (printed.exit_code, printed.stderr) == (0, f"{CAUTION}\n")
    expected = [["class", "count"], *([label, str(count)] for label, count in truth.items())]
    assert table(printed.stdout) == expected
    as_json = run("ask", image, *options, "--json")
    assert as_json.stdout == f"{json.dumps(truth)}\n"


def test_classes_are_printed_with_their_confidences(run: Callable[..., Ended], image: str) -> None:
    """Multi-label in the order asked, with what is in the image; classification with the likeliest first."""
    found = run("ask", image, "--task-type", "multi-label-classification", "--classes", f"{CLASSES},red star")
    headings, *rows = table(found.stdout)
    assert headings == ["class", "in the image", "confidence"]
    assert [row[:2] for row in rows] == [[LABELS[0], "yes"], [LABELS[1], "yes"], ["red star", "no"]]
    one = run("ask", image, "--task-type", "classification", "--classes", f"red star, {CLASSES}")
    headings, *rows = table(one.stdout)
    assert headings == ["class", "confidence"]
    assert rows[-1][0] == "red star"
    assert [float(row[1]) for row in rows] == sorted((float(row[1]) for row in rows), reverse=True)


def test_boxes_are_drawn_into_a_copy(
    run: Callable[..., Ended], image: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The table has the boxes in pixels, and the picture that was given is as it was."""
    monkeypatch.chdir(tmp_path)
    before = Path(image).read_bytes()
    result = run("ask", "scene.png", "--task-type", "object-detection", "--classes", ",".join(LABELS))
    *lines, where = result.stdout.splitlines()
    headings, *rows = table("\n".join(lines))
    assert (result.exit_code, result.stderr) == (0, f"{CAUTION}\n")
    assert headings == ["class", "confidence", "left", "top", "right", "bottom"]
    assert sorted(row[0] for row in rows) == sorted(shape.label for shape in SCENE.shapes)
    for name, _, *box in rows:
        (shape,) = [one for one in SCENE.shapes if one.label == name]
        x, y = shape.center_xy_px
        left, top, right, bottom = map(int, box)
        assert left < x < right
        assert top < y < bottom
    assert where == "The boxes are drawn in ask-output/scene-boxes.png"
    assert Path(image).read_bytes() == before
    drawn = cv2.imread(str(tmp_path / "ask-output" / "scene-boxes.png"))
    assert drawn.shape == SCENE.image.shape
    assert not np.array_equal(drawn, SCENE.image[..., ::-1])


def test_boxes_as_json_draw_nothing(
    run: Callable[..., Ended], image: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A program gets the model's answer, a box for every shape."""
    monkeypatch.chdir(tmp_path)
    result = run("ask", image, "--task-type", "object-detection", "--classes", ",".join(LABELS), "--json")
    found = sorted(entry["label"] for entry in json.loads(result.stdout))
    assert (result.exit_code, found) == (0, sorted(shape.label for shape in SCENE.shapes))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["scene.png"]


def test_the_folder_for_boxes_is_an_option(run: Callable[..., Ended], image: str, tmp_path: Path) -> None:
    """`--output` names it; also the folder of the picture itself is safe."""
    options = ("--task-type", "object-detection", "--classes", ",".join(LABELS), "--output", str(tmp_path))
    for name in ("scene-boxes.png", "scene-boxes-2.png"):
        assert run("ask", image, *options).stdout.splitlines()[-1].endswith(f"{tmp_path / name}")


@pytest.mark.parametrize("is_file", [False, True], ids=["text", "file"])
def test_a_structure_is_json_or_a_file(
    run: Callable[..., Ended],
    image: str,
    tmp_path: Path,
    is_file: bool,  # noqa: FBT001 - a case
) -> None:
    """The answer has the fields that were named, whatever the small model puts into them."""
    structure = '{"color": "color of the largest shape", "kind": ["circle", "square"]}'
    if is_file:
        (tmp_path / "fields.json").write_text(structure, encoding="utf-8")
        structure = str(tmp_path / "fields.json")
    options = ("--task-type", "structured-answering", "--structure", structure)
    result = run("ask", image, *options)
    assert result.exit_code == 0
    headings, color, kind = table(result.stdout)
    assert (headings, color[0], kind[0]) == (["field", "value"], "color", "kind")
    assert kind[1] in {"circle", "square"}
    assert list(json.loads(run("ask", image, *options, "--json").stdout)) == ["color", "kind"]


@pytest.fixture
def folder(image: str, tmp_path: Path) -> Path:
    """A folder with two good pictures, one that ends in the middle, and one that is none."""
    path = tmp_path / "pictures"
    path.mkdir()
    for name in ("a.png", "d.png"):
        (path / name).write_bytes(Path(image).read_bytes())
    (path / "b.png").write_bytes(Path(image).read_bytes()[:3000])
    (path / "c.jpg").write_text("no picture")
    (path / "notes.txt").write_text("not asked about")
    return path


def test_a_picture_that_cannot_be_read_costs_its_own_answer_only(
    run: Callable[..., Ended], folder: Path
) -> None:
    """Others are answered, each with its name; the exit code says that not all were."""
    result = run("ask", str(folder), "How many shapes are there?")
    assert result.exit_code == 1
    assert result.stdout.splitlines() == [f"{folder / 'a.png'}: 2", f"{folder / 'd.png'}: 2"]
    assert [line.split(" cannot")[0] for line in result.stderr.splitlines()] == [
        str(folder / "b.png"),
        str(folder / "c.jpg"),
        CAUTION,
    ]


def test_a_line_of_json_for_every_picture(run: Callable[..., Ended], folder: Path) -> None:
    """In order, `null` where there is no answer; a text is a text of JSON."""
    result = run("ask", str(folder), "How many shapes are there?", "--json")
    assert (result.exit_code, result.stdout) == (1, '"2"\nnull\nnull\n"2"\n')


def test_pictures_of_a_pattern_are_named_over_their_tables(run: Callable[..., Ended], folder: Path) -> None:
    """`a.png` and `d.png`, not what does not match."""
    result = run("ask", f"{folder}/[ad].png", "--task-type", "counting", "--classes", CLASSES)
    names = [line.strip() for line in result.stdout.splitlines() if line.startswith(str(folder))]
    assert (result.exit_code, names) == (0, [str(folder / "a.png"), str(folder / "d.png")])


def test_no_model_is_loaded_where_no_picture_can_be_read(
    run: Callable[..., Ended], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The device that does not exist would be refused by the loader."""
    monkeypatch.setattr(replies, "get_settings", lambda: Settings(device="cuda:99"))
    result = run("ask", str(folder / "c.jpg"), "Hello?")
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.startswith(f"{folder / 'c.jpg'} cannot be read as an image")


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        pytest.param(["Hello?", "--model-version", "nonsense"], "--model-version is 'nonsense'", id="model"),
        pytest.param(["Hello?", "--task-type", "nonsense"], "--task-type is 'nonsense'", id="unknown task"),
        pytest.param([], "needs a question", id="no question"),
        pytest.param(["picture.png"], "There is no image file picture.png", id="a path for the question"),
        pytest.param(["https://a.b/c.png"], "is an address", id="an address"),
        pytest.param(["Hello?", "--task-type", "caption"], "caption takes no question", id="idle question"),
        pytest.param(["Hello?", "--image-seq-length", "99"], "--image-seq-length is 99", id="budget"),
        pytest.param(["Hello?", "--seed", "3"], "--seed is 3 while sampling is off", id="idle seed"),
        pytest.param(["Hello?", "--top-k", "3"], "--top-k is 3 while sampling is off", id="idle top_k"),
        pytest.param(["Hello?", "--top-p", "0.5"], "--top-p is 0.5 while sampling is off", id="idle top_p"),
        pytest.param(["Hello?", "--temperature", "-1"], "--temperature is -1.0", id="temperature"),
        pytest.param(["Hello?", "--max-new-tokens", "0"], "--max-new-tokens is 0", id="no tokens"),
        pytest.param(["Hello?", "--max-new-tokens", "9999"], "this machine allows 8192", id="too many"),
        pytest.param(["Hello?", "--quantization", "x"], "--quantization is 'x'", id="quantization"),
        pytest.param(["Hello?", "--classes", "a"], "takes no --classes", id="idle classes"),
        pytest.param(["Hello?", "--structure", '{"a": "b"}'], "takes no --structure", id="idle structure"),
        pytest.param(["Hello?", "--box-format", "xyxy_0_1"], "takes no --box-format", id="idle box format"),
        pytest.param(["Hello?", "--output", "x"], "--output is for pictures with boxes", id="idle output"),
        pytest.param(["--task-type", "counting"], "needs --classes", id="no classes"),
        pytest.param(["--task-type", "counting", "--classes", "a,,b"], "Class 2 of 3 is blank", id="blank"),
        pytest.param(["--task-type", "structured-answering"], "needs --structure", id="no structure"),
        pytest.param(["--structure", "no.json"], "nor a readable file", id="no structure file"),
        pytest.param(["--structure", "{'a': 1}"], "--structure is no JSON", id="structure is no JSON"),
        pytest.param(
            ["--task-type", "structured-answering", "--structure", '{"a": 1}'],
            "In --structure, the field 'a' is 1",
            id="structure that means nothing",
        ),
        pytest.param(["Hello?", "--max-thinking-tokens", "9"], "turn --thinking on", id="idle thoughts"),
        pytest.param(["x" * 20_001], "The question has 20001 characters", id="long question"),
        pytest.param(["Hello?", "--system-prompt", "x" * 20_001], "system prompt has 20001", id="system"),
        pytest.param(
            ["--task-type", "object-detection", "--classes", "a", "--box-format", "nonsense"],
            "--box-format is 'nonsense'",
            id="box format",
        ),
    ],
)
def test_a_refusal_is_one_line_and_exit_code_1(
    run: Callable[..., Ended], image: str, arguments: list[str], expected: str
) -> None:
    """It is said on stderr, without a stack trace, in the words of the terminal."""
    result = run("ask", image, *arguments)
    assert (result.exit_code, result.stdout, len(result.stderr.splitlines())) == (1, "", 1)
    assert expected in result.stderr
    assert not re.search(r"\w_\w+ is ", result.stderr)


def test_a_structure_file_that_holds_no_object_is_refused(run: Callable[..., Ended], image: str) -> None:
    """A list says nothing about the fields of an answer."""
    path = Path(image).with_name("fields.json")
    path.write_text('["color"]', encoding="utf-8")
    result = run("ask", image, "--structure", str(path))
    assert result.exit_code == 1
    assert f"{path} holds a list; it must be a JSON object." in result.stderr


def test_boxes_that_were_cut_off_are_an_error_beside_those_that_were_not(
    run: Callable[..., Ended], image: str, tmp_path: Path
) -> None:
    """What is there is printed, and the exit code says that it is not all."""
    options = ("--task-type", "object-detection", "--classes", ",".join(LABELS), "--output", str(tmp_path))
    result = run("ask", image, *options, "--max-new-tokens", "35")
    assert result.exit_code == 1
    assert len(table(result.stdout)) == 3
    assert f"{image}: The answer was cut off at --max-new-tokens. Raise --max-new-tokens" in result.stderr


@pytest.mark.parametrize(
    ("name", "value"),
    [("image_seq_length", 560), ("quantization", "none"), ("box_format", "xyxy_0_1")],
    ids=["budget", "precision", "box format"],
)
def test_every_choice_reaches_the_question(name: str, value: object) -> None:
    """What is not seen in an answer of the small model is seen in what it is asked."""
    options = Options(
        task_type="object-detection",
        model_version="gemma-4-demo",
        question=None,
        classes="a,b",
        structure=None,
        **{"image_seq_length": None, "quantization": None, name: value},  # type: ignore[arg-type]
        generation=GenerationFields(),
    )
    assert getattr(check_options(options, question_is=""), name) == value


def test_whoever_sits_at_a_terminal_waits_until_the_model_is_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody else waits there, and a large model takes minutes."""
    monkeypatch.delenv("GEMMA4_BLOCK_MAX_LOADING_SECONDS", raising=False)
    with terminal_manners():
        assert Settings().max_loading_seconds == 0
    assert Settings().max_loading_seconds > 0
