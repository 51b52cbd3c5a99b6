"""Write words and numbers in real fonts."""

import importlib.util
from functools import lru_cache
from pathlib import Path

import matplotlib as mpl
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from gemma4_block.demo.training.drawing.inks import Rgb
from gemma4_block.demo.training.drawing.picture import Letter, RgbImage, Writing

# Kept for the evaluation: no letter of these is ever trained on.
HELD_OUT_FONTS = ("courier_prime", "lato", "montserrat", "pt_mono", "roboto", "STIXGeneral")
# Fonts of symbols, not of letters, and those of TeX, which have a licence of their own.
_OTHER_FONTS = (
    "cmb10",
    "cmex10",
    "cmmi10",
    "cmr10",
    "cmss10",
    "cmsy10",
    "cmti10",
    "cmtt10",
    "STIXNonUni",
    "STIXSiz",
    "LastResort",
    "DejaVuSansDisplay",
    "DejaVuSerifDisplay",
)


@lru_cache(maxsize=1)
def list_fonts() -> tuple[Path, ...]:
    """Return the fonts that come with matplotlib (Bitstream Vera's, OFL) and the host's blocks (OFL)."""
    found = sorted((Path(mpl.get_data_path()) / "fonts" / "ttf").glob("*.ttf"))
    host = importlib.util.find_spec("roboflow_workflows")
    if host is not None and host.origin is not None:
        found += sorted(
            (Path(host.origin).parent / "core_steps/visualizations/common/fonts/assets").rglob("*.ttf")
        )
    return tuple(path for path in found if not any(name in str(path) for name in _OTHER_FONTS))


@lru_cache(maxsize=1)
def training_fonts() -> tuple[Path, ...]:
    """Return the fonts that training writes in."""
    return tuple(path for path in list_fonts() if not any(name in str(path) for name in HELD_OUT_FONTS))


@lru_cache(maxsize=1)
def held_out_fonts() -> tuple[Path, ...]:
    """Return the fonts that only the evaluation writes in."""
    return tuple(path for path in list_fonts() if path not in training_fonts())


@lru_cache(maxsize=512)
def load_font(path: Path, size: int) -> ImageFont.FreeTypeFont:
    """Load a font at a size in pixels."""
    return ImageFont.truetype(str(path), size)


def measure(font: ImageFont.FreeTypeFont, lines: list[str]) -> tuple[float, float]:
    """Return width and height in pixels of a block of lines."""
    ascent, descent = font.getmetrics()
    return max(font.getlength(line) for line in lines), 1.05 * (ascent + descent) * len(lines)


def write(
    image: RgbImage, lines: list[str], font: ImageFont.FreeTypeFont, ink: Rgb, *, x_px: float, y_px: float
) -> Writing:
    """Write lines with their upper left corner at a place; changes the image.

    Args:
        image: `(H, W, 3)` uint8, RGB.
        lines: From top to bottom.
        font: At its size.
        ink: Colour of the letters.
        x_px: Left edge.
        y_px: Upper edge.

    Returns:
        The text, its lines joined by a space, and where every letter stands.

    """
    canvas = Image.fromarray(image)
    pen = ImageDraw.Draw(canvas)
    ascent, descent = font.getmetrics()
    letters = []
    for row, line in enumerate(lines):
        y = y_px + row * 1.05 * (ascent + descent)
        pen.text((x_px, y), line, fill=ink, font=font)
        for place, char in enumerate(line):
            if char == " ":
                continue
            right = x_px + font.getlength(line[: place + 1])
            left = right - font.getlength(char)
            _, top, _, bottom = font.getbbox(char)
            letters.append(Letter(char=char, box_xyxy_px=(left, y + top, right, y + bottom)))
    image[:] = np.asarray(canvas)
    return Writing(text=" ".join(lines), letters=tuple(letters))
