"""Write words and numbers that training never saw, in fonts that it never saw."""

import numpy as np
from PIL import Image, ImageDraw

from gemma4_block.demo.evaluation.held_out.surfaces import SURFACES
from gemma4_block.demo.training.drawing import Picture, Writing
from gemma4_block.demo.training.drawing.lettering import held_out_fonts, load_font

Rng = np.random.Generator

HELD_OUT_WORDS = (
    "acorn", "anchor", "basil", "breeze", "canyon", "cedar", "comet", "dolphin", "ember", "falcon", "ginger",
    "harvest", "igloo", "jungle", "kettle", "lantern", "maple", "nectar", "opal", "pebble", "quartz", "raven",
    "saddle", "timber", "umber", "velvet", "walnut", "yarn", "zephyr", "exit", "stop", "open",
)  # fmt: skip
"""All but the last three, which hang on doors, are no words of the training."""
_SURFACES = ("white", "tinted", "grey", "dark", "gradient")
# Height of a line over the square root of the area, from and to.
_LINE_HEIGHT = (0.12, 0.3)
_UNIT_PX = 400.0
_RATIOS = (0.7, 1.0, 1.5, 2.5)


def draw_words(rng: Rng, *, is_number: bool) -> Picture:
    """Write a word, or a number of one to five digits, on a plain background.

    Args:
        rng: Source of every choice.
        is_number: Whether it is a number.

    Returns:
        The picture; its letters have no places.

    """
    text = _draw_number(rng) if is_number else _draw_word(rng)
    ratio = float(rng.choice(_RATIOS))
    width, height = round(_UNIT_PX * np.sqrt(ratio)), round(_UNIT_PX / np.sqrt(ratio))
    surface = SURFACES[_SURFACES[int(rng.integers(len(_SURFACES)))]](rng, width, height)
    image = np.clip(surface, 0, 255).astype(np.uint8)
    fonts = held_out_fonts()
    path = fonts[int(rng.integers(len(fonts)))]
    wanted = rng.uniform(*_LINE_HEIGHT) * _UNIT_PX
    size = min(wanted, wanted * 0.9 * width / load_font(path, round(wanted)).getlength(text))
    font = load_font(path, round(size))
    left, top, right, bottom = font.getbbox(text)
    x = rng.uniform(0.04, 0.96) * max(0.0, width - (right - left)) - left
    y = rng.uniform(0.04, 0.96) * max(0.0, height - (bottom - top)) - top
    is_light = image.mean() > 120
    tone = int(rng.integers(0, 50))
    ink = (tone, tone, tone) if is_light else (255 - tone, 255 - tone, 255 - tone)
    canvas = Image.fromarray(image)
    ImageDraw.Draw(canvas).text((x, y), text, fill=ink, font=font)
    owners = np.full((height, width), -1, dtype=np.int16)
    return Picture(image=np.array(canvas), things=(), owners=owners, writing=Writing(text=text, letters=()))


def _draw_number(rng: Rng) -> str:
    length = int(rng.integers(1, 6))
    return str(int(rng.integers(0 if length == 1 else 10 ** (length - 1), 10**length)))


def _draw_word(rng: Rng) -> str:
    word = HELD_OUT_WORDS[int(rng.integers(len(HELD_OUT_WORDS)))]
    return (word.upper(), word.title(), word)[int(rng.integers(3))]
