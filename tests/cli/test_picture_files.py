"""Which arguments are pictures, which one is the question, and which files are meant."""

from pathlib import Path

import pytest

from gemma4_block.cli.picture_files import find_pictures, split_arguments
from gemma4_block.errors import ConfigurationError


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Work in a folder with a few files, of which only the names matter here."""
    for name in ("a.png", "b.JPG", "my photo.png", ".hidden.png", "notes.txt", "more/c.webp", "more/x/d.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("arguments", "pictures", "question"),
    [
        pytest.param(["a.png", "How many?"], ["a.png"], "How many?", id="one and a question"),
        pytest.param(["a.png"], ["a.png"], None, id="one"),
        pytest.param(["a.png", "b.JPG"], ["a.png", "b.JPG"], None, id="two, no question"),
        pytest.param(["a.png", "gone.png"], ["a.png", "gone.png"], None, id="the second is missing"),
        pytest.param(["a.png", "gone.svg"], ["a.png", "gone.svg"], None, id="a format that is not read"),
        pytest.param(["a.png", "gone/a"], ["a.png", "gone/a"], None, id="a path without an ending"),
        pytest.param(["a.png", "yes/no?"], ["a.png"], "yes/no?", id="no path"),
        pytest.param(["a.png", "my photo.png"], ["a.png", "my photo.png"], None, id="blank in a name"),
        pytest.param(["a.png", "Describe a.png"], ["a.png"], "Describe a.png", id="a name in the question"),
        pytest.param(["a.png", "more"], ["a.png", "more"], None, id="a folder"),
        pytest.param(["a.png", "*.gif"], ["a.png", "*.gif"], None, id="a pattern that matches nothing"),
        pytest.param(["a.png", "[ab].*"], ["a.png", "[ab].*"], None, id="a pattern that matches"),
        pytest.param(["a.png", "Is it 2*2?"], ["a.png"], "Is it 2*2?", id="a star in the question"),
        pytest.param(["a.png", "http://x/y"], ["a.png", "http://x/y"], None, id="an address"),
        pytest.param(["a.png", ""], ["a.png"], "", id="an empty question"),
        pytest.param(["a.png", "x" * 5000], ["a.png"], "x" * 5000, id="longer than any name"),
        pytest.param(["a.png", "notes.txt"], ["a.png", "notes.txt"], None, id="an existing file"),
    ],
)
def test_the_last_argument_is_the_question_unless_it_looks_like_a_picture(
    arguments: list[str], pictures: list[str], question: str | None
) -> None:
    """A path is never taken for the question."""
    given = split_arguments(arguments)

    assert (list(given.pictures), given.question) == (pictures, question)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        pytest.param(["How many?"], r"'How many\?' is no picture\. Name an image file", id="only a question"),
        pytest.param(["a.png", "How", "many?"], "'How' is no picture. .* quotation marks", id="no quotes"),
    ],
)
def test_words_that_are_no_pictures_are_refused(arguments: list[str], words: str) -> None:
    """The message says where a question belongs."""
    with pytest.raises(ConfigurationError, match=words):
        split_arguments(arguments)


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        pytest.param(["b.JPG", "a.png"], ["b.JPG", "a.png"], id="in the order given"),
        pytest.param(["a.png", "a.png"], ["a.png"], id="each once"),
        pytest.param(["."], ["a.png", "b.JPG", "my photo.png"], id="a folder, by name, without hidden files"),
        pytest.param(["*.png"], ["a.png", "my photo.png"], id="a pattern"),
        pytest.param(["*"], ["a.png", "b.JPG", "my photo.png"], id="only pictures of a pattern"),
        pytest.param(["more/**/*.png"], ["more/x/d.png"], id="folders in folders"),
        pytest.param(["notes.txt"], ["notes.txt"], id="named by itself, whatever it is"),
    ],
)
def test_files_folders_and_patterns_are_found(names: list[str], expected: list[str]) -> None:
    """Those right in a folder, sorted; a shell that does not know patterns needs no other way."""
    assert find_pictures(names) == tuple(map(Path, expected))


@pytest.mark.parametrize(
    ("name", "words"),
    [
        pytest.param("gone.png", "There is no image file gone.png", id="missing"),
        pytest.param("*.gif", "No picture matches", id="pattern"),
        pytest.param("*.txt", "No picture matches", id="pattern that matches other files only"),
        pytest.param("empty", "folder empty has no pictures right in it.* \\.jpg,", id="folder"),
        pytest.param("https://x/y.png", "is an address; pictures are not fetched", id="address"),
        pytest.param("data:image/png;base64,AA", "is an address", id="data address"),
    ],
)
def test_nothing_found_is_refused(name: str, words: str) -> None:
    """Each in its own words."""
    with pytest.raises(ConfigurationError, match=words):
        find_pictures(["a.png", name])
