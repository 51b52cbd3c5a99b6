"""What was asked and answered stands below the picture."""

import numpy as np
import pytest

from gemma4_block.cli.boxes_picture import load_font
from gemma4_block.cli.question_picture import write_below

GREY = np.full((60, 200, 3), 128, dtype=np.uint8)


def test_the_picture_is_not_written_on() -> None:
    """A band is added below it, in which there is text."""
    picture = np.asarray(write_below(GREY, ["How many?", "2"]))
    assert picture.shape[1:] == (200, 3)
    np.testing.assert_array_equal(picture[:60], GREY)
    band = picture[60:]
    assert (band == 255).mean() > 0.5
    assert (band < 100).any()


def test_a_paragraph_begins_a_line() -> None:
    """So the answer stands under its question, and never beside it."""
    one, two = (np.asarray(write_below(GREY, lines)).shape[0] for lines in (["a b"], ["a", "b"]))
    assert two > one


@pytest.mark.parametrize("text", ["many short words " * 9, "größer, 图片"])
def test_nothing_is_cut_off_at_the_right(text: str) -> None:
    """Lines end before the picture does, whatever the letters."""
    picture = np.asarray(write_below(GREY, [text]))
    assert (picture[60:, -8:] == 255).all()


def test_a_word_that_is_too_long_stays_whole() -> None:
    """It takes a line of its own."""
    word = "x" * 99
    assert load_font(14).getlength(word) > 200
    heights = [np.asarray(write_below(GREY, [text])).shape[0] for text in (word, f"a {word} b")]
    assert heights[1] > 2 * (heights[0] - 60)
