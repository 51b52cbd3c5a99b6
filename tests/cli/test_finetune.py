"""`gemma4-block finetune`: an adapter from a folder of pictures with questions and answers."""

import json
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from gemma4_block.demo.scenes import draw_crop

from .conftest import Ended


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    """Two pictures to learn from and one to judge by."""
    rng = np.random.default_rng(0)
    for split, count in (("train", 2), ("valid", 1)):
        folder = tmp_path / "data" / split
        folder.mkdir(parents=True)
        lines = [{"image": f"{index}.png", "prefix": "Code?", "suffix": "RC"} for index in range(count)]
        (folder / "annotations.jsonl").write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
        for line in lines:
            cv2.imwrite(str(folder / line["image"]), draw_crop(rng).image[..., ::-1])
    return tmp_path / "data"


def test_it_says_how_good_the_model_was_and_is(
    run: Callable[..., Ended], dataset: Path, tmp_path: Path
) -> None:
    """And writes the adapter that PEFT reads."""
    output = tmp_path / "adapter"
    ended = run("finetune", str(dataset), "--output", str(output), "--epochs", "1", "--rank", "2")

    assert ended.exit_code == 0, ended.stderr
    assert "examples that were not learnt from: 1" in ended.stdout
    assert "answered to the letter: 0% before" in ended.stdout
    config = json.loads((output / "adapter_config.json").read_text(encoding="utf-8"))
    assert (config["r"], config["base_model_name_or_path"]) == (2, "gemma-4-demo")
    assert (output / "adapter_model.safetensors").is_file()


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        pytest.param(["--epochs", "0"], "epochs is 0; it must be above 0", id="no epochs"),
        pytest.param(["--task-type", "counting"], "takes no question", id="a task without a question"),
        pytest.param(["--task-type", "dance"], "--task-type is 'dance'", id="no task"),
        pytest.param(["--model-version", "nothing"], "which is no known model", id="no model"),
        pytest.param(["--image-seq-length", "71"], "--image-seq-length is 71", id="no budget"),
    ],
)
def test_what_cannot_be_trained_ends_in_one_line(
    run: Callable[..., Ended], dataset: Path, tmp_path: Path, options: list[str], problem: str
) -> None:
    """Before a model is loaded."""
    ended = run("finetune", str(dataset), "--output", str(tmp_path / "adapter"), *options)

    assert (ended.exit_code, ended.stdout) == (1, "")
    assert problem in ended.stderr
    assert len(ended.stderr.strip().splitlines()) == 1
    assert not (tmp_path / "adapter").exists()


def test_a_task_words_the_questions(run: Callable[..., Ended], dataset: Path, tmp_path: Path) -> None:
    """The answers must then have its form, and the line of the one that has not is named."""
    arguments = ["finetune", str(dataset), "--output", str(tmp_path / "adapter")]
    ended = run(*arguments, "--task-type", "structured-answering", "--structure", '{"code": "of the shape"}')

    assert ended.exit_code == 1
    assert "annotations.jsonl, line 1: suffix is RC, which is no JSON" in ended.stderr
