"""Every shipped workflow, run in this process and over HTTP, against the truth of drawn scenes."""

import base64
import json
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
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
from gemma4_block.demo.scenes import Scene, draw_number, draw_scene

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
NUMBERS = [number_of(seed, value) for seed, value in ((0, 7), (1, 42), (2, 915))]

CASES = {
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
    "detect_then_describe": Case(
        scenes=[FIVE_SHAPES, EMPTY, TWO_SHAPES],
        parameters={"detector": str(DETECTOR_DIRECTORY)},
        # In what order the detector finds the shapes is its own affair; see the test of the pairs below.
        rows=[{}, {"answers": []}, {}],
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
}


@pytest.fixture(scope="session")
def server_url() -> Iterator[str]:
    """Start `gemma4-block serve` on a free port once, as an operator does."""
    command = [sys.executable, "-m", "gemma4_block", "serve", "--port", "0", "--allow-local-packages"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=EXAMPLES.parent) as server:  # noqa: S603
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


@pytest.mark.filterwarnings("ignore:.*api_key")
@pytest.mark.parametrize("name", ["caption_to_text_display", "detect_then_describe"])
def test_pictures_are_drawn_on(run: Run, name: str) -> None:
    """A picture output has the size of the image that came in, and something is written on it."""
    case = CASES[name]
    row = run(load_example(name), [FIVE_SHAPES], case.parameters)[0]
    pixels, original = _pixels(row["picture"]), _bgr([FIVE_SHAPES])[0]
    assert original.shape == pixels.shape
    # JPEG over the wire moves colours by a few levels; letters on a plate move them by far more.
    assert (np.abs(pixels.astype(int) - original.astype(int)).max(axis=2) > 100).mean() > 0.005


def test_every_shipped_example_has_a_case() -> None:
    """No workflow is shipped that these tests do not run."""
    assert sorted(CASES) == sorted(path.stem for path in EXAMPLES.glob("*.json"))


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


@pytest.mark.parametrize("name", CASES)
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
