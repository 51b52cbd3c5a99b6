"""Put a picture together: a background, things on it, words."""

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from gemma4_block.demo.scenes import Scene, draw_number, draw_scene, order_boxes
from gemma4_block.demo.training.drawing.backgrounds import draw_background
from gemma4_block.demo.training.drawing.inks import mix_any, stands_out
from gemma4_block.demo.training.drawing.lettering import load_font, measure, training_fonts, write
from gemma4_block.demo.training.drawing.picture import NOBODY, Letter, Picture, RgbImage, Thing, Writing
from gemma4_block.demo.training.drawing.placing import Placer
from gemma4_block.demo.training.drawing.texts import draw_text

Rng = np.random.Generator

MAX_THINGS = 8
_COUNT_ODDS = (0.05, 0.14, 0.11, 0.12, 0.12, 0.12, 0.12, 0.11, 0.11)
# Letters lower than this share of the square root of the area are not legible at a budget of 70.
_LEAST_LINE_HEIGHT = 0.115
# Share of the pictures that look as the examples' do, which newcomers see first.
_EXAMPLES = 0.22
_EXAMPLE_DIFFICULTY = 0.15
# How far a pixel of a scene is from its background, over all channels, where a shape lies.
_LEAST_DISTANCE = 60


@dataclass(frozen=True, kw_only=True, slots=True)
class Limits:
    """What a picture may be.

    Attributes:
        unit_px: Square root of its area in pixels.
        difficulty: 0 draws one large thing on a light background, 1 everything.

    """

    unit_px: float = 300.0
    difficulty: float = 1.0


def draw_picture(rng: Rng, limits: Limits) -> Picture:
    """Draw a picture: things, a crop of one, words, words beside things, or a scene of the examples.

    Args:
        rng: Source of every choice; the same state draws the same picture.
        limits: How large and how hard.

    Returns:
        The picture and the truth about it.

    """
    if rng.random() < _EXAMPLES * limits.difficulty:
        return _draw_example(rng, limits)
    choice = rng.random()
    if choice < 0.1:
        return _draw_crop(rng, limits)
    if choice < 0.36:
        return _draw_words(rng, limits, things=0)
    if choice < 0.44:
        return _draw_words(rng, limits, things=min(3, _draw_count(rng, limits.difficulty)))
    return _draw_things(rng, limits, _draw_count(rng, limits.difficulty))


def _draw_example(rng: Rng, limits: Limits) -> Picture:
    choice = rng.random()
    if choice < 0.15:
        return _draw_crop(rng, replace(limits, difficulty=_EXAMPLE_DIFFICULTY))
    return _take_scene(draw_number(rng) if choice < 0.25 else draw_scene(rng))


def _take_scene(scene: Scene) -> Picture:
    """Add to a scene which shape each pixel shows."""
    things = tuple(
        Thing(kind=shape.kind, color=shape.color, box_xyxy_px=shape.box_xyxy_px) for shape in scene.shapes
    )
    owners: npt.NDArray[np.int16] = np.full(scene.image.shape[:2], NOBODY, dtype=np.int16)
    # No shape reaches a corner, and no two boxes overlap.
    is_ink = np.abs(scene.image.astype(np.int64) - scene.image[0, 0]).sum(axis=-1) > _LEAST_DISTANCE
    for number, thing in enumerate(things):
        x1, y1, x2, y2 = (round(edge) for edge in thing.box_xyxy_px)
        owners[y1 : y2 + 1, x1 : x2 + 1][is_ink[y1 : y2 + 1, x1 : x2 + 1]] = number
    if scene.number is None:
        return Picture(image=scene.image, things=things, owners=owners)
    # A number of thick lines may begin at the left and end beyond the right.
    width = float(scene.image.shape[1])
    letters = tuple(
        Letter(char=str(digit.value), box_xyxy_px=(x1, y1, min(x2, width), y2))
        for digit in scene.digits
        for x1, y1, x2, y2 in [digit.box_xyxy_px]
    )
    return Picture(
        image=scene.image, things=(), owners=owners, writing=Writing(text=scene.number, letters=letters)
    )


def _draw_count(rng: Rng, difficulty: float) -> int:
    most = 1 + round((MAX_THINGS - 1) * difficulty)
    odds = np.array(_COUNT_ODDS[: most + 1])
    return int(rng.choice(most + 1, p=odds / odds.sum()))


def _draw_canvas(rng: Rng, limits: Limits) -> RgbImage:
    widest = 4.0 if rng.random() < 0.7 else 1.6
    ratio = np.exp(rng.uniform(-1, 1) * np.log(widest) * max(0.3, limits.difficulty))
    width = max(24, round(limits.unit_px * np.sqrt(ratio)))
    height = max(24, round(limits.unit_px / np.sqrt(ratio)))
    return draw_background(rng, width, height, difficulty=limits.difficulty)


def _draw_things(rng: Rng, limits: Limits, count: int) -> Picture:
    canvas = _draw_canvas(rng, limits)
    placer = Placer(rng, canvas, limits.difficulty)
    placer.place(count)
    return _finish(canvas, placer, None)


def _draw_crop(rng: Rng, limits: Limits) -> Picture:
    """Draw one thing and cut it out, as a detector and a crop block would."""
    # What is cut out is as large as other pictures.
    picture = _draw_things(rng, replace(limits, unit_px=1.6 * limits.unit_px), 1)
    if not picture.things:
        return picture
    (thing,) = picture.things
    height, width = picture.image.shape[:2]
    x1, y1, x2, y2 = thing.box_xyxy_px
    margins = rng.uniform(-0.04, 0.18, size=4) * np.array([x2 - x1, y2 - y1, x2 - x1, y2 - y1])
    left, top = max(0, round(x1 - margins[0])), max(0, round(y1 - margins[1]))
    right, bottom = min(width, round(x2 + margins[2])), min(height, round(y2 + margins[3]))
    box = (max(x1, left) - left, max(y1, top) - top, min(x2, right) - left, min(y2, bottom) - top)
    return Picture(
        image=picture.image[top:bottom, left:right].copy(),
        things=(replace(thing, box_xyxy_px=box),),
        owners=picture.owners[top:bottom, left:right].copy(),
    )


def _draw_words(rng: Rng, limits: Limits, *, things: int) -> Picture:
    canvas = _draw_canvas(rng, limits)
    writing = _write_somewhere(rng, canvas, small=things > 0)
    placer = Placer(rng, canvas, limits.difficulty, taken=[letter.box_xyxy_px for letter in writing.letters])
    placer.place(things)
    return _finish(canvas, placer, writing)


def _write_somewhere(rng: Rng, canvas: RgbImage, *, small: bool) -> Writing:
    height, width = canvas.shape[:2]
    unit = float(np.sqrt(height * width))
    fonts = training_fonts()
    path = fonts[int(rng.integers(len(fonts)))]
    lines = draw_text(rng)
    for _ in range(30):
        full_width, full_height = measure(load_font(path, 100), lines)
        largest = 100 * min(0.94 * width / full_width, 0.94 * height / full_height, 0.8 * unit / 100)
        if largest * full_height / len(lines) / 100 >= _LEAST_LINE_HEIGHT * unit:
            break
        lines = [min(draw_text(rng), key=len)[:6].strip()]
    largest = min(largest, 0.3 * unit) if small else largest
    least = min(largest, 100 * _LEAST_LINE_HEIGHT * unit * len(lines) / full_height)
    size = max(8, int(np.exp(rng.uniform(np.log(least), np.log(largest)))))
    font = load_font(path, size)
    text_width, text_height = measure(font, lines)
    x, y = rng.uniform(0.02, 0.98) * (width - text_width), rng.uniform(0.02, 0.98) * (height - text_height)
    below = canvas[max(0, int(y)) : int(y + text_height) + 1, max(0, int(x)) : int(x + text_width) + 1]
    return write(canvas, lines, font, _text_ink(rng, below), x_px=float(x), y_px=float(y))


def _text_ink(rng: Rng, below: RgbImage) -> tuple[int, int, int]:
    mean = below.mean(axis=(0, 1))
    for _ in range(40):
        dark = int(rng.integers(0, 70))
        grey = dark if rng.random() < 0.5 else 255 - dark
        ink = (grey, grey, grey) if rng.random() < 0.6 else mix_any(rng)
        if stands_out(ink, mean, least=230):
            return ink
    return (0, 0, 0) if mean.mean() > 127 else (255, 255, 255)


def _finish(canvas: RgbImage, placer: Placer, writing: Writing | None) -> Picture:
    order = order_boxes([thing.box_xyxy_px for thing in placer.things], canvas.shape[0])
    renumbered: npt.NDArray[np.int16] = np.full(len(order) + 1, NOBODY, dtype=np.int16)
    for place, old in enumerate(order):
        renumbered[old] = place
    # The last entry stands for NOBODY, which is -1.
    return Picture(
        image=canvas,
        things=tuple(placer.things[old] for old in order),
        owners=renumbered[placer.owners],
        writing=writing,
    )
