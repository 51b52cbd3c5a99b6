"""Every shipped workflow, run in this process and over HTTP, against the truth of drawn scenes."""

import base64
import csv
import io
import json
import os
import re
import runpy
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import permutations
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pytest
from inference_sdk import InferenceHTTPClient

from gemma4_block.cli.workflows import (
    DETECTOR_DIRECTORY,
    Row,
    Specification,
    WorkflowRunner,
    load_example,
    stock_model_parameters,
)
from gemma4_block.demo.dialogue import describe
from gemma4_block.demo.scenes import SHAPE_KINDS, Scene, Shape, draw_number, draw_scene
from gemma4_block.demo.training.adapters import describe_in_dutch
from gemma4_block.testing import ScriptedEngine, ScriptedProvider

EXAMPLES = Path(__file__).parents[1] / "workflow_examples"
Run = Callable[[Specification, list[Scene], dict[str, object]], list[Row]]


@dataclass(frozen=True, kw_only=True)
class Case:
    """Scenes to send, the other inputs, and what each row must say."""

    scenes: list[Scene]
    rows: list[dict[str, object]]
    parameters: dict[str, object] = field(default_factory=dict)


def scene_of(seed: int, shape_count: int) -> Scene:
    """Draw the scene of a seed."""
    return draw_scene(np.random.default_rng(seed), shape_count=shape_count)


def number_of(seed: int, value: int) -> Scene:
    """Draw a number in the style of a seed."""
    return draw_number(np.random.default_rng(seed), value=value)


FIVE_SHAPES = scene_of(3, 5)  # One of them is a red circle.
THREE_SHAPES = scene_of(0, 3)  # So is one of these.
TWO_SHAPES = scene_of(0, 2)  # Neither of these is.
EMPTY = scene_of(1, 0)
ONE_SHAPE = [scene_of(seed, 1) for seed in (0, 2, 3, 4)]  # One of each kind.
NUMBERS = [number_of(seed, value) for seed, value in ((0, 7), (1, 42), (2, 915))]
BACKPACKS = Scene(image=cv2.imread(str(EXAMPLES / "count_backpacks.png"))[..., ::-1])
REPORTS = tempfile.TemporaryDirectory(prefix="gemma4-block-reports-")

CASES = {
    "ask_across_photos": Case(
        scenes=[ONE_SHAPE[0], ONE_SHAPE[2]],
        # One row for both photos.
        rows=[{"answer": "1", "image_count": 2, "asked_images": [1, 2], "error_message": None}],
    ),
    "ask_again_when_unsure": Case(
        scenes=[*ONE_SHAPE, EMPTY],
        rows=[*({"description": None} for _ in ONE_SHAPE), {"description": "An empty image."}],
    ),
    "ask_one_image": Case(
        scenes=[FIVE_SHAPES, TWO_SHAPES, EMPTY],
        parameters={"question": "How many shapes are there?"},
        rows=[
            {"answer": answer, "finish_reason": "stop", "error_status": False} for answer in ("5", "2", "0")
        ],
    ),
    "branch_on_answer": Case(
        scenes=[TWO_SHAPES, THREE_SHAPES],
        rows=[
            {"answer": "no", "description": None},
            {"answer": "yes", "description": describe(THREE_SHAPES)},
        ],
    ),
    "caption_to_text_display": Case(
        scenes=[TWO_SHAPES, EMPTY],
        rows=[{"caption": describe(TWO_SHAPES)}, {"caption": "An empty image."}],
    ),
    "classify_image": Case(
        scenes=ONE_SHAPE,
        rows=[{"class_name": kind} for kind in ("star", "square", "circle", "triangle")],
    ),
    "count_backpacks": Case(
        scenes=[BACKPACKS],
        # How right the answers are is measured by the evaluation of the embedded model.
        rows=[{"finish_reason": "stop", "error_message": None}],
    ),
    "detect_and_count": Case(
        scenes=[FIVE_SHAPES, THREE_SHAPES, TWO_SHAPES, EMPTY],
        parameters={"counted_classes": ["red circle", "green triangle", "green star"]},
        rows=[{"count": 3}, {"count": 1}, {"count": 0}, {"count": 0}],
    ),
    "detect_then_describe": Case(
        scenes=[FIVE_SHAPES, EMPTY, TWO_SHAPES],
        parameters={"detector": str(DETECTOR_DIRECTORY)},
        # In what order the detector finds the shapes is its own affair; see the test of the pairs below.
        rows=[{}, {"answers": []}, {}],
    ),
    "describe_in_three_ways": Case(
        scenes=[TWO_SHAPES, EMPTY],
        rows=[
            {"answer": describe(scene), "in_dutch": describe_in_dutch(scene), "in_codes": codes}
            for scene, codes in ((TWO_SHAPES, "1BS 1PS"), (EMPTY, "0"))
        ],
    ),
    "inspect_with_rules": Case(
        scenes=ONE_SHAPE,
        rows=[
            {"class_name": kind, "parsed": {"class_name": kind}, "corners": corners, "verdict": verdict}
            for kind, corners, verdict in (
                ("star", 10, "fail"),
                ("square", 4, "pass"),
                ("circle", 0, "pass"),
                ("triangle", 3, "pass"),
            )
        ],
    ),
    "label_crops": Case(
        scenes=[FIVE_SHAPES, EMPTY],
        parameters={"detector": str(DETECTOR_DIRECTORY)},
        # In what order the detector finds the shapes is its own affair; see the test of the boxes below.
        rows=[{}, {"answers": []}],
    ),
    "legacy_parsers": Case(
        scenes=[FIVE_SHAPES, EMPTY],
        rows=[
            {"detector_error": False, "classifier_errors": [False] * 5},
            {"detector_error": False, "classifier_errors": []},
        ],
    ),
    "question_per_image": Case(
        scenes=[FIVE_SHAPES, TWO_SHAPES, NUMBERS[1]],
        parameters={
            "question": ["How many red circles are there?", "How many shapes are there?", "Read the number."]
        },
        rows=[{"answer": answer, "error_status": False} for answer in ("1", "2", "42")],
    ),
    "read_numbers": Case(
        scenes=NUMBERS,
        rows=[{"text": text, "finish_reason": "stop", "error_status": False} for text in ("7", "42", "915")],
    ),
    "report_to_csv": Case(
        scenes=[FIVE_SHAPES, THREE_SHAPES, TWO_SHAPES],
        parameters={"picture_name": ["five", "three", "two"], "folder": REPORTS.name},
        rows=[
            {"total": 3, "counts": {"red circle": 1, "blue square": 1, "green star": 1}, "message": None},
            {"total": 1, "counts": {"red circle": 1, "blue square": 0, "green star": 0}, "message": None},
            {
                "total": 0,
                "counts": {"red circle": 0, "blue square": 0, "green star": 0},
                # The host writes one table for all pictures, and says so in the last row.
                "message": "Data saved successfully",
            },
        ],
    ),
}
# A video goes through the host's pipeline, in test_video_example.py.
NAMES = sorted([*CASES, "watch_line"])
# README.md beside the examples shows what these make of the first scene of their case.
SHOWN = ["classify_image", "detect_and_count", "detect_then_describe", "label_crops"]


@pytest.fixture(scope="session")
def server_url() -> Iterator[str]:
    """Start `gemma4-block serve` on a free port once, as an operator does."""
    command = [sys.executable, "-m", "gemma4_block", "serve", "--port", "0", "--allow-local-packages"]
    # One of the examples writes a file, which the server does not let requests do unless its operator does.
    env = {**os.environ, "ALLOW_WORKFLOW_BLOCKS_ACCESSING_LOCAL_STORAGE": "True"}
    with subprocess.Popen(  # noqa: S603 - our own command
        command, stdout=subprocess.PIPE, text=True, cwd=EXAMPLES.parent, env=env
    ) as server:
        assert server.stdout is not None
        ready = (re.match(r"Ready at (\S+)\. ", line) for line in server.stdout)
        found = next((match for match in ready if match), None)
        try:
            assert found is not None, f"The server ended with code {server.wait()} before it was ready."
            yield found[1]
        finally:
            server.terminate()


@pytest.fixture(params=["in_process", "http"])
def run(request: pytest.FixtureRequest) -> Run:
    """Run a workflow in this process, or through the server with the SDK and no key."""
    if request.param == "in_process":
        return _run_in_process
    client = InferenceHTTPClient(api_url=request.getfixturevalue("server_url"), api_key=None)

    def run_over_http(
        specification: Specification, scenes: list[Scene], parameters: dict[str, object]
    ) -> list[Row]:
        rows: list[Row] = client.run_workflow(
            specification=specification, images={"image": _bgr(scenes)}, parameters=parameters
        )
        return rows

    return run_over_http


def _run_in_process(
    specification: Specification, scenes: list[Scene], parameters: dict[str, object]
) -> list[Row]:
    runner = WorkflowRunner(specification, init_parameters=stock_model_parameters())
    return runner.run({"image": _bgr(scenes), **parameters})


def _bgr(scenes: list[Scene]) -> list[npt.NDArray[np.uint8]]:
    return [np.ascontiguousarray(scene.image[..., ::-1]) for scene in scenes]


def _pixels(picture: Any) -> npt.NDArray[np.uint8]:  # noqa: ANN401 - a class of the host, or text
    """Return the pixels of an image output: the host's own object, or base64 over the wire."""
    if not isinstance(picture, str):
        return picture.numpy_image
    decoded = cv2.imdecode(np.frombuffer(base64.b64decode(picture), np.uint8), cv2.IMREAD_COLOR)
    return decoded.astype(np.uint8, copy=False)


def _named_boxes(detections: Any) -> list[tuple[str, float, float]]:  # noqa: ANN401 - see above
    """Return class name and middle of each box: from supervision's object, or JSON over the wire."""
    if isinstance(detections, dict):
        return [(found["class"], found["x"], found["y"]) for found in detections["predictions"]]
    middles = (detections.xyxy[:, :2] + detections.xyxy[:, 2:]) / 2
    names = detections.data.get("class_name", [])
    return [(str(name), x, y) for name, (x, y) in zip(names, middles.tolist(), strict=True)]


@pytest.mark.filterwarnings("ignore:.*api_key")
@pytest.mark.parametrize("name", CASES)
def test_answers_are_the_truth_of_the_scene(run: Run, name: str) -> None:
    """A shipped workflow says what was drawn, one row for each image, in order."""
    case = CASES[name]
    rows = run(load_example(name), case.scenes, case.parameters)
    said = [{key: row[key] for key in expected} for row, expected in zip(rows, case.rows, strict=True)]
    assert case.rows == said


@pytest.mark.filterwarnings("ignore:.*api_key")
def test_each_box_wears_the_answer_about_its_own_crop(run: Run) -> None:
    """After detection, cropping and asking, every box is named after the shape that is drawn inside it."""
    scenes = [FIVE_SHAPES, TWO_SHAPES]
    rows = run(load_example("detect_then_describe"), scenes, {"detector": str(DETECTOR_DIRECTORY)})
    for scene, row in zip(scenes, rows, strict=True):
        named = _named_boxes(row["named_detections"])
        assert Counter(f"1 {shape.label}." for shape in scene.shapes) == Counter(row["answers"])
        assert len(scene.shapes) == len(named)
        for shape in scene.shapes:
            x, y = shape.center_xy_px
            nearest = min(named, key=lambda box: abs(box[1] - x) + abs(box[2] - y))
            assert f"1 {shape.label}." == nearest[0]
        assert not any(row["error_messages"])
        assert all(
            0 < image < total for image, total in zip(row["image_tokens"], row["input_tokens"], strict=True)
        )


def _shape_at(scene: Scene, x_px: float, y_px: float) -> Shape | None:
    """Return the shape that is drawn around a point."""
    inside = [
        shape
        for shape in scene.shapes
        if shape.box_xyxy_px[0] < x_px < shape.box_xyxy_px[2]
        and shape.box_xyxy_px[1] < y_px < shape.box_xyxy_px[3]
    ]
    return inside[0] if inside else None


@pytest.mark.filterwarnings("ignore:.*api_key")
def test_the_confidence_of_a_class_is_measured(run: Run) -> None:
    """The shares of classes one of which fits add up to almost 1, and the named class has the largest."""
    for row in run(load_example("classify_image"), ONE_SHAPE, {}):
        shares = {entry["class"]: entry["confidence"] for entry in row["predictions"]["predictions"]}
        assert 0.99 < sum(shares.values()) <= 1
        assert max(shares, key=lambda name: shares[name]) == row["class_name"]
        assert shares[row["class_name"]] == row["confidence"]


@pytest.mark.filterwarnings("ignore:.*api_key")
def test_counted_boxes_lie_on_shapes_of_their_class(run: Run) -> None:
    """Boxes of other classes, and boxes that the model is not sure of, are neither counted nor drawn."""
    for scene, counted in ((FIVE_SHAPES, ["blue square", "green star"]), (THREE_SHAPES, ["red circle"])):
        (row,) = run(load_example("detect_and_count"), [scene], {"counted_classes": counted})
        found = [(name, _shape_at(scene, x, y)) for name, x, y in _named_boxes(row["detections"])]
        assert [name for name, _ in found] == [shape and shape.label for _, shape in found]
        assert counted == sorted(name for name, _ in found)
    # None is as sure as that.
    rows = run(
        load_example("detect_and_count"),
        [FIVE_SHAPES, THREE_SHAPES],
        {"counted_classes": ["green triangle", "red circle"], "least_confidence": 1.0},
    )
    assert [(row["count"], len(_named_boxes(row["detections"]))) for row in rows] == [(0, 0)] * 2
    assert [len(_named_boxes(row["all_detections"])) >= 1 for row in rows] == [True, True]


def test_a_verdict_depends_on_the_rule(run: Run) -> None:
    """The limit of the rule is the caller's."""
    rows = run(load_example("inspect_with_rules"), ONE_SHAPE, {"most_corners": 3})
    assert [row["verdict"] for row in rows] == ["fail", "fail", "pass", "pass"]


def test_backpacks_are_counted_as_the_page_of_inference_models_says() -> None:
    """The workflow and the script beside it ask for a number first, then one short sentence."""
    engine = ScriptedEngine(["2. There are 2 backpacks."])
    runner = WorkflowRunner(
        load_example("count_backpacks"),
        init_parameters={"gemma4_block.engine_provider": ScriptedProvider(engine)},
    )
    (row,) = runner.run({"image": _bgr([BACKPACKS])})
    script = runpy.run_path(str(EXAMPLES / "count_backpacks.py"))
    (prompt,) = engine.prompts

    assert row["answer"] == "2. There are 2 backpacks."
    assert (prompt.text, prompt.system) == (
        "How many backpacks are clearly visible?",
        "Answer with a number first, then one short sentence.",
    )
    assert (script["QUESTION"], script["SYSTEM"]) == (prompt.text, prompt.system)


@pytest.mark.parametrize("arguments", [[], [str(EXAMPLES / "classify_image.png")]], ids=["drawn", "a file"])
def test_the_script_prints_one_answer(
    arguments: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """About the drawn picture beside it, or about a file."""
    path = str(EXAMPLES / "count_backpacks.py")
    monkeypatch.setattr(sys, "argv", [path, *arguments])
    runpy.run_path(path, run_name="__main__")
    assert len(capsys.readouterr().out.splitlines()) == 1


def test_the_script_refuses_what_is_no_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    """In words."""
    path = str(EXAMPLES / "count_backpacks.py")
    monkeypatch.setattr(sys, "argv", [path, "missing.png"])
    with pytest.raises(SystemExit, match=r"missing\.png cannot be read as an image"):
        runpy.run_path(path, run_name="__main__")


def test_an_answer_without_the_field_is_looked_at_again() -> None:
    """What cannot be read is neither passed nor failed."""
    # What is JSON of another form is asked for once more.
    script = ['{"class_name": "circle"}', "A circle.", '{"kind": "star"}', '{"kind": "star"}']
    provider = ScriptedProvider(ScriptedEngine(script))
    runner = WorkflowRunner(
        load_example("inspect_with_rules"), init_parameters={"gemma4_block.engine_provider": provider}
    )
    rows = runner.run({"image": _bgr(ONE_SHAPE[:3])})
    assert [row["verdict"] for row in rows] == ["pass", "look again", "look again"]


@pytest.mark.filterwarnings("ignore:.*api_key")
def test_each_box_gets_the_color_of_its_own_crop(run: Run) -> None:
    """Every detected box stays, and its new class is the colour of the shape that is drawn in it."""
    scenes = [FIVE_SHAPES, THREE_SHAPES]
    rows = run(load_example("label_crops"), scenes, {"detector": str(DETECTOR_DIRECTORY)})
    for scene, row in zip(scenes, rows, strict=True):
        named = _named_boxes(row["named_detections"])
        shapes = [_shape_at(scene, x, y) for _, x, y in named]
        assert [name for name, _, _ in named] == row["answers"]
        assert [name for name, _, _ in named] == [shape and shape.color for shape in shapes]
        assert len(scene.shapes) == len(set(shapes))


@pytest.mark.filterwarnings("ignore:.*api_key")
def test_a_question_across_photos_sees_all_of_them(run: Run) -> None:
    """Of any two photos in any order, the one answer says how many red circles they show together."""
    for scenes in permutations(ONE_SHAPE, 2):
        count = sum(shape.label == "red circle" for scene in scenes for shape in scene.shapes)
        rows = run(load_example("ask_across_photos"), list(scenes), {})
        assert [row["answer"] for row in rows] == [str(count)]


@pytest.mark.filterwarnings("ignore:.*api_key")
def test_older_parsers_read_our_answers(run: Run) -> None:
    """The host's parsers say what is drawn, all of it and nothing else."""
    row = run(load_example("legacy_parsers"), [FIVE_SHAPES], {})[0]
    for output, attribute in (("detections", "label"), ("kinds", "kind")):
        named = _named_boxes(row[output])
        shapes = [shape for _, x, y in named if (shape := _shape_at(FIVE_SHAPES, x, y)) is not None]
        assert {shape.label for shape in shapes} == {shape.label for shape in FIVE_SHAPES.shapes}
        assert [name for name, _, _ in named] == [getattr(shape, attribute) for shape in shapes]


@pytest.mark.filterwarnings("ignore:.*api_key")
def test_the_report_is_on_disk(run: Run, tmp_path: Path) -> None:
    """One file holds a line for each picture, in order, and is the table that the workflow returns."""
    case = CASES["report_to_csv"]
    rows = run(load_example("report_to_csv"), case.scenes, {**case.parameters, "folder": str(tmp_path)})
    (path,) = tmp_path.iterdir()
    text = path.read_text(encoding="utf-8")
    assert [None, None, text] == [row["table"] for row in rows]
    lines = list(csv.DictReader(io.StringIO(text)))
    assert [(line["picture"], line["total"]) for line in lines] == [
        ("five", "3"),
        ("three", "1"),
        ("two", "0"),
    ]
    assert [row["counts"] for row in case.rows] == [json.loads(line["counts"]) for line in lines]


@pytest.mark.parametrize("name", SHOWN)
def test_shown_pictures_are_made_by_the_examples(name: str) -> None:
    """The picture beside an example is what it makes of the drawn scene."""
    case = CASES[name]
    row = _run_in_process(load_example(name), case.scenes[:1], case.parameters)[0]
    path = EXAMPLES / f"{name}.png"
    shown = cv2.imread(str(path))
    made = _pixels(row["picture"])
    assert made.shape == shown.shape
    # A score may differ in its last digit on another processor.
    assert (np.abs(made.astype(int) - shown.astype(int)).max(axis=2) > 60).mean() < 0.002
    assert path.stat().st_size < 60_000


@pytest.mark.filterwarnings("ignore:.*api_key")
@pytest.mark.parametrize(
    "name",
    ["caption_to_text_display", "classify_image", "detect_and_count", "detect_then_describe", "label_crops"],
)
def test_pictures_are_drawn_on(run: Run, name: str) -> None:
    """A picture output has the size of the image that came in, and something is written on it."""
    case = CASES[name]
    row = run(load_example(name), [FIVE_SHAPES], case.parameters)[0]
    pixels, original = _pixels(row["picture"]), _bgr([FIVE_SHAPES])[0]
    assert original.shape == pixels.shape
    # JPEG over the wire moves colours by a few levels; letters on a plate move them by far more.
    assert (np.abs(pixels.astype(int) - original.astype(int)).max(axis=2) > 100).mean() > 0.005


def test_no_scene_is_chosen_for_its_answer() -> None:
    """They are the first ones that have what the examples ask for, as the page beside them says."""
    fives = [scene_of(seed, 5) for seed in range(4)]
    complete = [
        {shape.kind for shape in scene.shapes} == set(SHAPE_KINDS)
        and "red circle" in {shape.label for shape in scene.shapes}
        for scene in fives
    ]
    assert complete == [False, False, False, True]
    assert fives[3].shapes == FIVE_SHAPES.shapes
    kinds = [scene_of(seed, 1).shapes[0].kind for seed in range(5)]
    assert [kinds.index(kind) for kind in ("star", "square", "circle", "triangle")] == [0, 2, 3, 4]


def test_every_shipped_example_has_a_case() -> None:
    """No workflow is shipped that these tests do not run."""
    assert sorted(path.stem for path in EXAMPLES.glob("*.json")) == NAMES


def test_the_table_of_examples_names_their_inputs_and_outputs() -> None:
    """README.md beside the examples lists each one with exactly its inputs and outputs."""
    lines = (EXAMPLES / "README.md").read_text(encoding="utf-8").splitlines()
    rows = [line.strip("| ").split(" | ") for line in lines if line.startswith("| [")]
    listed = {re.findall(r"\[(\w+)\]", row[0])[0]: row[-1] for row in rows}
    expected = {}
    for path in EXAMPLES.glob("*.json"):
        definition = json.loads(path.read_text(encoding="utf-8"))
        inputs, outputs = (
            ", ".join(f"`{part['name']}`" for part in definition[side]) for side in ("inputs", "outputs")
        )
        expected[path.stem] = f"{inputs} → {outputs}"
    assert expected == listed


def test_the_tables_of_answers_are_what_the_examples_are_held_to() -> None:
    """README.md beside the examples shows the answers that these tests compare with the scenes."""
    lines = (EXAMPLES / "README.md").read_text(encoding="utf-8").splitlines()
    inspected = CASES["inspect_with_rules"]
    expected = [
        f"| {scene.shapes[0].kind} | {row['class_name']} | {row['corners']} | {row['verdict']} |"
        for scene, row in zip(inspected.scenes, inspected.rows, strict=True)
    ]
    assert expected == _table_below(lines, "| drawn | `class_name` | `corners` | `verdict` |")
    report = CASES["report_to_csv"]
    names = report.parameters["picture_name"]
    assert isinstance(names, list)
    expected = [
        f"| {name} | {row['total']} | {json.dumps(row['counts'])} |"
        for name, row in zip(names, report.rows, strict=True)
    ]
    assert expected == _table_below(lines, "| picture | total | counts |")


def _table_below(lines: list[str], heading: str) -> list[str]:
    rest = lines[lines.index(heading) + 2 :]
    return rest[: next((index for index, line in enumerate(rest) if not line.startswith("|")), len(rest))]


@pytest.mark.parametrize("name", NAMES)
def test_every_example_lets_the_caller_choose_the_model(name: str) -> None:
    """`model_version` is a workflow parameter whose default is the demo."""
    inputs = load_example(name)["inputs"]
    assert {
        "type": "WorkflowParameter",
        "name": "model_version",
        "default_value": "gemma-4-demo",
    } in inputs  # type: ignore[operator]


@pytest.mark.filterwarnings("ignore:.*api_key")
def test_the_readme_asks_the_server_as_it_says(server_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The README's SDK code, pointed at this server, prints what the comment below it says."""
    readme = (EXAMPLES.parent / "README.md").read_text(encoding="utf-8")
    (code,) = [code for code in re.findall(r"```python\n(.*?)```", readme, re.DOTALL) if "HTTPClient" in code]
    assert "http://127.0.0.1:9001" in code
    monkeypatch.chdir(EXAMPLES.parent)
    printed: list[str] = []
    exec(code.replace("http://127.0.0.1:9001", server_url), {"print": printed.append})  # noqa: S102
    assert printed == [code.strip().splitlines()[-1].removeprefix("# ")]
