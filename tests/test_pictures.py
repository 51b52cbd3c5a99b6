"""Pictures of Pillow and files keep their colours and their direction."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image, features

from gemma4_block.engine.compat.arguments import read_images
from gemma4_block.errors import PromptError
from gemma4_block.pictures import picture_suffixes

RED, BLUE = (255, 0, 0), (0, 0, 255)
LEFT_IS_RED = np.zeros((8, 16, 3), dtype=np.uint8)
LEFT_IS_RED[:, :8], LEFT_IS_RED[:, 8:] = RED, BLUE


def read(image: Image.Image | Path | str, *, max_pixels: int = 10_000) -> np.ndarray:
    """Read one image."""
    (array,) = read_images(image, None, max_pixels=max_pixels)
    return array


def test_a_file_and_an_image_of_pillow_are_rgb_whatever_arrays_are(tmp_path: Path) -> None:
    """Red stays red, without a colour order."""
    image = Image.fromarray(LEFT_IS_RED)
    image.save(tmp_path / "picture.png")

    for given in (image, tmp_path / "picture.png", str(tmp_path / "picture.png")):
        assert np.array_equal(read(given), LEFT_IS_RED)


@pytest.mark.parametrize("name", ["picture.jpg", "picture.webp", "picture.png"])
def test_a_picture_is_turned_as_its_exif_data_say(tmp_path: Path, name: str) -> None:
    """A telephone held upright: what is stored lying is shown standing."""
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(LEFT_IS_RED).save(tmp_path / name, exif=exif)
    turned = read(tmp_path / name)

    assert turned.shape == (16, 8, 3)
    assert turned[2, 4, 0] > 200
    assert turned[13, 4, 2] > 200


def test_palettes_transparency_cmyk_and_deep_grey_are_converted() -> None:
    """Each has colours of its own kind, which an array alone does not tell."""
    image = Image.fromarray(LEFT_IS_RED)
    clear = image.convert("RGBA")
    clear.putalpha(0)
    deep = Image.fromarray(np.full((4, 4), 128 * 257, dtype=np.uint16))

    assert np.array_equal(read(image.convert("P", palette=Image.Palette.ADAPTIVE)), LEFT_IS_RED)
    assert np.abs(read(image.convert("CMYK")).astype(int) - LEFT_IS_RED).max() <= 2
    assert (read(clear) == 255).all()
    assert (read(deep) == 128).all()
    assert (read(Image.new("1", (4, 4), 1)) == 255).all()


@pytest.mark.parametrize(
    ("name", "options"),
    [
        pytest.param("a.gif", {"save_all": True, "append_images": [Image.new("RGB", (16, 8))]}, id="gif"),
        pytest.param("a.ico", {"sizes": [(16, 8)]}, id="ico"),
        pytest.param("a.webp", {"lossless": True}, id="webp"),
        *(pytest.param(f"a.{kind}", {}, id=kind) for kind in ("bmp", "tiff", "tga", "qoi", "ppm")),
    ],
)
def test_the_first_frame_of_every_listed_format_is_read(
    tmp_path: Path, name: str, options: dict[str, object]
) -> None:
    """Formats without loss give the very pixels, also where more frames follow."""
    Image.fromarray(LEFT_IS_RED).save(tmp_path / name, **options)

    assert np.array_equal(read(tmp_path / name), LEFT_IS_RED)


@pytest.mark.skipif(not features.check("avif"), reason="this Pillow was built without AVIF")
def test_avif_is_read(tmp_path: Path) -> None:
    """Red stays red, within what the format loses."""
    Image.new("RGB", (16, 8), RED).save(tmp_path / "a.avif")

    assert np.abs(read(tmp_path / "a.avif").astype(int) - RED).max() < 10


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        pytest.param(np.array([[0.0, 0.5, 1.0]], np.float32), [0, 128, 255], id="0-1"),
        pytest.param(np.array([[0.0, 128.0, 255.0]], np.float32), [0, 128, 255], id="0-255"),
        pytest.param(np.array([[0, 128 * 257, 65535]], np.uint16), [0, 128, 255], id="16 bits"),
    ],
)
def test_a_tiff_of_deep_grey_is_scaled(tmp_path: Path, values: np.ndarray, expected: list[int]) -> None:
    """The rule of floats is that of arrays: up to 1.5 they are 0-1."""
    Image.fromarray(values).save(tmp_path / "deep.tiff")

    assert read(tmp_path / "deep.tiff")[0, :, 0].tolist() == expected


@pytest.mark.parametrize(
    ("values", "words"),
    [
        pytest.param(
            np.array([[0.0, 4000.0]], np.float32), "deep.tiff: .*from 0 to 4000 as float32", id="floats"
        ),
        pytest.param(np.array([[0, 70_000]], np.int32), "deep.tiff: .*from 0 to 70000 in 32", id="32 bits"),
    ],
)
def test_a_tiff_whose_white_is_unknown_is_refused(tmp_path: Path, values: np.ndarray, words: str) -> None:
    """The message says which values were seen."""
    Image.fromarray(values).save(tmp_path / "deep.tiff")

    with pytest.raises(PromptError, match=words):
        read(tmp_path / "deep.tiff")


def test_formats_that_need_another_program_are_refused(tmp_path: Path) -> None:
    """Pillow would start Ghostscript for EPS."""
    Image.fromarray(LEFT_IS_RED).save(tmp_path / "a.eps")

    with pytest.raises(PromptError, match=r"cannot be read as an image\. Save it as PNG or JPEG"):
        read(tmp_path / "a.eps")
    assert ".eps" not in picture_suffixes()
    assert {".png", ".jpg", ".jpeg", ".webp", ".gif", ".tif"} <= picture_suffixes()


@pytest.mark.parametrize(
    ("name", "words"),
    [
        pytest.param("none.png", "There is no image file", id="not there"),
        pytest.param("text.png", "cannot be read as an image", id="no image"),
        pytest.param("cut.png", "cannot be read as an image", id="damaged"),
        pytest.param("folder", "cannot be read as an image", id="a folder"),
        pytest.param("large.png", "200 x 100 pixels; 10000 in all are allowed", id="too large"),
    ],
)
def test_a_file_that_cannot_be_read_is_refused_in_words(tmp_path: Path, name: str, words: str) -> None:
    """The message names it."""
    (tmp_path / "folder").mkdir()
    (tmp_path / "text.png").write_text("no image")
    Image.new("RGB", (200, 100)).save(tmp_path / "large.png")
    noise = np.random.default_rng(0).integers(0, 255, (50, 50, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "whole.png")
    (tmp_path / "cut.png").write_bytes((tmp_path / "whole.png").read_bytes()[:2000])

    with pytest.raises(PromptError, match=words):
        read(tmp_path / name)


def test_an_address_is_refused_as_one() -> None:
    """Nothing is fetched."""
    with pytest.raises(PromptError, match="is an address; images are not fetched"):
        read("https://example.com/picture.png")
