"""Draw boxes with their classes into a picture, and save it under a name that is not taken."""

from itertools import count
from pathlib import Path
from typing import Final

from PIL import Image, ImageDraw, ImageFont

from gemma4_block.contract import RgbImage
from gemma4_block.errors import ConfigurationError
from gemma4_block.tasks import Detection, Detections

# Light enough for black letters, and told apart by people who do not see red or green.
# Source: Okabe and Ito, https://jfly.uni-koeln.de/color/, without black and dark blue.
_COLORS: Final = ("#E69F00", "#56B4E9", "#009E73", "#F0E442", "#D55E00", "#CC79A7")
# Lines and letters grow with the picture, so that both show where it is shrunk to a screen.
_SIDE_PER_LINE: Final = 200
_SIDE_PER_LETTER: Final = 28
_LEAST_LETTER_PX: Final = 12


def draw_boxes(image: RgbImage, detections: Detections) -> Image.Image:
    """Draw every box in the colour of its class, with the class and its confidence.

    Args:
        image: `(H, W, 3)` uint8, RGB.
        detections: Boxes in pixels of this image.

    Returns:
        A picture of the same size.

    """
    picture = Image.fromarray(image)
    side = min(picture.size)
    font = load_font(max(_LEAST_LETTER_PX, side // _SIDE_PER_LETTER))
    classes = list(dict.fromkeys(item.class_name for item in detections.items))
    draw = ImageDraw.Draw(picture)
    for item in detections.items:
        color = _COLORS[classes.index(item.class_name) % len(_COLORS)]
        draw.rectangle(item.box_xyxy_px, outline=color, width=max(2, side // _SIDE_PER_LINE))
    # Last, so that no box crosses a label.
    for item in detections.items:
        color = _COLORS[classes.index(item.class_name) % len(_COLORS)]
        _write_label(draw, item, font=font, color=color, size_wh=picture.size)
    return picture


def save_beside_others(picture: Image.Image, folder: Path, stem: str) -> Path:
    """Save a picture as PNG; no file that is there is overwritten.

    Args:
        picture: What to save.
        folder: Made where it is not there.
        stem: Beginning of the name.

    Returns:
        Where it is.

    Raises:
        ConfigurationError: The folder cannot be made or written to.

    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for number in count(1):
            path = folder / (f"{stem}.png" if number == 1 else f"{stem}-{number}.png")
            try:
                with path.open("xb") as file:
                    picture.save(file, format="PNG")
            except FileExistsError:
                continue
            return path
    except OSError as error:
        raise ConfigurationError(
            f"No picture can be saved in {folder}: {error.strerror}. Choose another --output."
        ) from error
    raise AssertionError("numbers do not end")


def load_font(size_px: int) -> ImageFont.FreeTypeFont:
    """Return a font that has the letters of most languages."""
    # Pillow's own font has no letters beyond ASCII.
    import matplotlib as mpl

    return ImageFont.truetype(str(Path(mpl.get_data_path(), "fonts", "ttf", "DejaVuSans.ttf")), size_px)


def _write_label(
    draw: ImageDraw.ImageDraw,
    item: Detection,
    *,
    font: ImageFont.FreeTypeFont,
    color: str,
    size_wh: tuple[int, int],
) -> None:
    text = item.class_name if item.confidence is None else f"{item.class_name} {item.confidence:.2f}"
    left, top, right, bottom = draw.textbbox((0, 0), text, font=font)
    pad = 2
    width, height = right - left + 2 * pad, bottom - top + 2 * pad
    x = max(0.0, min(item.box_xyxy_px[0], size_wh[0] - width))
    # Above the box where there is room, else right below its upper edge.
    y = item.box_xyxy_px[1] - height
    y = y if y >= 0 else item.box_xyxy_px[1]
    draw.rectangle((x, y, x + width, y + height), fill=color)
    draw.text((x + pad - left, y + pad - top), text, fill="black", font=font)
