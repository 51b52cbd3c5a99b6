"""What can be known from the arguments is refused before anything heavy is imported."""

import json
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from .conftest import CAUTION

HEAVY = ("inference", "inference_models", "roboflow_workflows", "torch", "transformers")
_RUN = f"""
import json, sys
from gemma4_block.cli import app

try:
    app(sys.argv[1:])
except SystemExit as end:
    code = end.code
print(json.dumps([code, sorted(set({HEAVY!r}) & set(sys.modules))]))
"""


def run_apart(*arguments: str, folder: Path) -> tuple[int, list[str], str]:
    """Run a command in a process of its own; return exit code, heavy libraries that it imported, stderr."""
    done = subprocess.run(  # noqa: S603 - our own code
        [sys.executable, "-c", _RUN, *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        check=True,
    )
    code, heavy = json.loads(done.stdout.splitlines()[-1])
    return code, heavy, done.stderr


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one picture."""
    path = tmp_path_factory.mktemp("pictures")
    cv2.imwrite(str(path / "a.png"), np.zeros((48, 48, 3), np.uint8))
    return path


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        pytest.param(["ask", "a.png", "Hi?", "--model-version", "x"], "--model-version is 'x'", id="model"),
        pytest.param(
            ["ask", "a.png", "Hi?", "--model-version", "gemma-4-e2b-it"],
            "gemma4-block pull gemma-4-e2b-it",
            id="model that is not here",
        ),
        pytest.param(["ask", "a.png", " "], "needs a question", id="blank question"),
        pytest.param(["ask", "a.png", "--task-type", "counting"], "needs --classes", id="no classes"),
        pytest.param(
            ["ask", "a.png", "Hi?", "--image-seq-length", "300"], "--image-seq-length is 300", id="budget"
        ),
        pytest.param(["ask", "b.png", "Hi?"], "There is no image file b.png", id="no picture"),
        pytest.param(["ask", "a.png", "Hi?", "--seed", "1"], "--seed is 1 while sampling is off", id="seed"),
        pytest.param(
            ["ask", "a.png", "--task-type", "structured-answering", "--structure", '{"a": 5}'],
            "--structure",
            id="structure",
        ),
        pytest.param(["bench", "--model-version", "x"], "--model-version is 'x'", id="bench"),
        pytest.param(["demo", "--model-version", "x"], "--model-version is 'x'", id="demo"),
        pytest.param(["serve-engine", "x"], 'MODEL is "x"', id="serve-engine"),
        pytest.param(
            ["serve-engine", "gemma-4-26b-a4b-it", "--quantization", "nf4"],
            "bitsandbytes leaves its experts",
            id="26B in 4 bits",
        ),
        pytest.param(
            ["serve-engine", "gemma-4-e2b-it", "--tensor-parallel", "3", "--device", "cpu"],
            "Use one of 1, 2, 4, 8.",
            id="heads that cannot be shared",
        ),
        pytest.param(["run", "nothing.json", "--images", "."], "nothing.json", id="run"),
    ],
)
def test_a_refusal_imports_neither_host_nor_model_libraries(
    folder: Path, arguments: list[str], words: str
) -> None:
    """They take seconds each; the refusal names what was written in the terminal."""
    code, heavy, stderr = run_apart(*arguments, folder=folder)

    assert (code, heavy, len(stderr.splitlines())) == (1, [], 1)
    assert words in stderr


def test_help_imports_none_of_them(folder: Path) -> None:
    """Whoever looks for the name of an option does not wait."""
    assert run_apart("ask", "--help", folder=folder)[:2] == (0, [])


def test_an_answer_needs_no_host(folder: Path) -> None:
    """`ask` loads the model alone, and shows no bar while it does; only what the demo model does not know."""
    code, heavy, stderr = run_apart("ask", "a.png", "How many shapes are there?", folder=folder)

    assert (code, heavy, stderr) == (0, ["torch", "transformers"], f"{CAUTION}\n")
