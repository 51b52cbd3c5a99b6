"""A folder of pictures with questions and answers is read whole, or the line that is wrong is named."""

import json
from pathlib import Path

import pytest

from gemma4_block.errors import ConfigurationError
from gemma4_block.finetuning import read_dataset

from .conftest import write_dataset

LINE = {"image": "0.png", "prefix": "Code?", "suffix": "RC"}


def test_every_line_is_an_example_in_order(tmp_path: Path) -> None:
    """What other tools write beside the three fields is not in the way, nor are empty lines."""
    folder = write_dataset(tmp_path / "data")
    lines = [LINE | {"width": 640}, LINE | {"image": "1.png", "prefix": "", "suffix": "é\n"}]
    text = "\n\n".join(map(json.dumps, lines)) + "\n"
    (folder / "train" / "annotations.jsonl").write_text(text, encoding="utf-8")

    first, second = read_dataset(folder).train

    assert (first.image, first.prefix, first.suffix) == (folder / "train" / "0.png", "Code?", "RC")
    assert (second.image, second.prefix, second.suffix) == (folder / "train" / "1.png", "", "é\n")
    assert second.place.endswith("annotations.jsonl, line 3")


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        pytest.param("", "annotations.jsonl has no lines", id="empty"),
        pytest.param("{", "line 1: Invalid JSON", id="no JSON"),
        pytest.param(
            '{"image": "0.png", "prefix": "Code?"}', "line 1: suffix: Field required", id="no answer"
        ),
        pytest.param(
            json.dumps(LINE | {"suffix": 3}), "line 1: suffix: Input should be a valid string", id="3"
        ),
        pytest.param(json.dumps(LINE | {"image": "9.png"}), r"there is no file .*9\.png", id="no picture"),
        pytest.param(f"{json.dumps(LINE)}\n[]", "line 2: Input should be an object", id="a list"),
    ],
)
def test_a_wrong_line_is_named(tmp_path: Path, text: str, problem: str) -> None:
    """With what is wrong, before a model is loaded."""
    folder = write_dataset(tmp_path / "data")
    (folder / "train" / "annotations.jsonl").write_text(text, encoding="utf-8")

    with pytest.raises(ConfigurationError, match=problem):
        read_dataset(folder)


@pytest.mark.parametrize("split", ["train", "valid"])
def test_both_folders_are_needed(tmp_path: Path, split: str) -> None:
    """The message says what a dataset looks like."""
    folder = write_dataset(tmp_path / "data")
    (folder / split / "annotations.jsonl").unlink()

    with pytest.raises(
        ConfigurationError, match=rf"{split}.annotations\.jsonl cannot be read.*folders train"
    ):
        read_dataset(folder)
