"""Boxes are drawn where they are, and no file is overwritten."""

from pathlib import Path

import numpy as np
import pytest

from gemma4_block.cli.boxes_picture import draw_boxes, save_beside_others
from gemma4_block.errors import ConfigurationError
from gemma4_block.tasks import Detection, Detections

WHITE = np.full((200, 300, 3), 255, dtype=np.uint8)
ORANGE, SKY = (230, 159, 0), (86, 180, 233)


def detect(*boxes: tuple[str, tuple[float, float, float, float]]) -> Detections:
    """Return detections of these classes and boxes."""
    items = (Detection(class_name=name, box_xyxy_px=box, confidence=0.5) for name, box in boxes)
    return Detections(items=tuple(items))


def test_a_box_is_outlined_in_the_colour_of_its_class() -> None:
    """Left, top, right, bottom in pixels; the picture that was given stays as it is."""
    given = WHITE.copy()
    drawn = np.asarray(draw_boxes(given, detect(("cat", (50, 60, 120, 150)), ("dog", (200, 60, 280, 150)))))

    assert drawn.shape == WHITE.shape
    assert (given == 255).all()
    for x, y in ((50, 100), (120, 100), (80, 150)):
        assert tuple(drawn[y, x]) == ORANGE
    assert tuple(drawn[100, 200]) == SKY
    assert tuple(drawn[100, 85]) == (255, 255, 255)


@pytest.mark.parametrize(
    ("box", "inside"),
    [
        pytest.param((50, 60, 120, 150), (slice(40, 60), slice(50, 90)), id="above the box"),
        pytest.param((50, 0, 120, 150), (slice(2, 18), slice(52, 90)), id="below its upper edge"),
        pytest.param((290, 60, 299, 150), (slice(40, 60), slice(240, 299)), id="not beyond the right"),
    ],
)
def test_a_label_stays_in_the_picture(
    box: tuple[float, float, float, float], inside: tuple[slice, slice]
) -> None:
    """Black letters on the class's colour."""
    drawn = np.asarray(draw_boxes(WHITE, detect(("cat", box))))[inside]

    assert (drawn.sum(axis=-1) < 100).any()
    assert (drawn == ORANGE).all(axis=-1).any()


def test_letters_beyond_ascii_are_letters() -> None:
    """A class named in another language looks like it, and unlike what no font has."""
    one, other, missing = (
        np.asarray(draw_boxes(WHITE, detect((name, (50, 60, 120, 150))))) for name in ("ß", "ж", "\uffff")
    )

    assert not np.array_equal(one, other)
    assert not np.array_equal(one, missing)
    assert not np.array_equal(other, missing)


def test_a_name_that_is_taken_gets_a_number(tmp_path: Path) -> None:
    """Neither the user's files nor earlier pictures are overwritten; the folder is made."""
    folder = tmp_path / "new" / "folder"
    folder.mkdir(parents=True)
    (folder / "a.png").write_text("mine")
    picture = draw_boxes(WHITE, detect())

    assert [save_beside_others(picture, folder, "a").name for _ in range(2)] == ["a-2.png", "a-3.png"]
    assert (folder / "a.png").read_text() == "mine"
    assert save_beside_others(picture, tmp_path / "other", "a") == tmp_path / "other" / "a.png"


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    """The message says which option to change."""
    (tmp_path / "file").touch()

    with pytest.raises(ConfigurationError, match=r"file/x: Not a directory\. Choose another --output"):
        save_beside_others(draw_boxes(WHITE, detect()), tmp_path / "file" / "x", "a")
