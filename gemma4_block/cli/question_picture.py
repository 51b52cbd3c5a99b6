"""Write below a picture what was asked about it and what came of it."""

from collections.abc import Iterator, Sequence
from typing import Final

from PIL import Image, ImageDraw, ImageFont

from gemma4_block.cli.boxes_picture import load_font
from gemma4_block.contract import RgbImage

_MARGIN_PX: Final = 8
_LETTER_PX: Final = 14


def write_below(image: RgbImage, paragraphs: Sequence[str]) -> Image.Image:
    """Add a white band below the picture, and write into it.

    Args:
        image: `(H, W, 3)` uint8, RGB.
        paragraphs: Each begins on a line of its own, and goes on in the next where the picture is too narrow.

    Returns:
        A picture of the same width, with the image unchanged at the top.

    """
    font = load_font(_LETTER_PX)
    height, width = image.shape[:2]
    widest = width - 2 * _MARGIN_PX
    text = "\n".join(line for paragraph in paragraphs for line in _wrap(paragraph, font, widest))
    measure = ImageDraw.Draw(Image.new("RGB", (1, 1)))
    _, _, _, text_height = measure.multiline_textbbox((0, 0), text, font=font)
    picture = Image.new("RGB", (width, height + int(text_height) + 2 * _MARGIN_PX), "white")
    picture.paste(Image.fromarray(image), (0, 0))
    ImageDraw.Draw(picture).multiline_text((_MARGIN_PX, height + _MARGIN_PX), text, fill="black", font=font)
    return picture


def _wrap(paragraph: str, font: ImageFont.FreeTypeFont, widest_px: int) -> Iterator[str]:
    """Yield lines that fit; a word that is wider alone stays whole."""
    line = ""
    for word in paragraph.split():
        longer = f"{line} {word}".lstrip()
        if line and font.getlength(longer) > widest_px:
            yield line
            line = word
        else:
            line = longer
    yield line
