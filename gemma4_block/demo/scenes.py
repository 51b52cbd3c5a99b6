"""Draw the pictures that the demo checkpoint learns from and is judged on."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import cv2
import numpy as np
import numpy.typing as npt

Color = Literal["blue", "green", "orange", "purple", "red", "yellow"]
ShapeKind = Literal["circle", "square", "star", "triangle"]
RgbImage = npt.NDArray[np.uint8]

COLORS: tuple[Color, ...] = get_args(Color)
SHAPE_KINDS: tuple[ShapeKind, ...] = get_args(ShapeKind)
MAX_SHAPES = 5

_INK_RGB: dict[Color, tuple[int, int, int]] = {
    "blue": (35, 70, 225),
    "green": (30, 160, 60),
    "orange": (255, 140, 0),
    "purple": (140, 40, 170),
    "red": (220, 30, 35),
    "yellow": (240, 220, 20),
}
_CANVAS_SIDE_PX = (160, 640)
_MAX_ASPECT_RATIO = 1.6
# Diameter over the square root of the canvas area. At the smallest, a shape covers a bit more
# than one soft token (24 px) of the 192 px square that the demo's budget of 70 gives.
_DIAMETER = (0.15, 0.34)
_STAR_INNER_RADIUS = 0.45
_FONTS = (
    cv2.FONT_HERSHEY_SIMPLEX,
    cv2.FONT_HERSHEY_DUPLEX,
    cv2.FONT_HERSHEY_COMPLEX,
    cv2.FONT_HERSHEY_TRIPLEX,
)
# OpenCV draws at fixed-point positions with this many fractional bits.
_SUBPIXEL_BITS = 4


@dataclass(frozen=True, kw_only=True, slots=True)
class Shape:
    """One filled shape.

    Attributes:
        kind: What it is.
        color: Its colour name.
        box_xyxy_px: Tight box in pixels of the scene's image, x right, y down.

    """

    kind: ShapeKind
    color: Color
    box_xyxy_px: tuple[float, float, float, float]

    @property
    def label(self) -> str:
        """Name the shape as the demo answers do, for example `red circle`."""
        return f"{self.color} {self.kind}"

    @property
    def center_xy_px(self) -> tuple[float, float]:
        """Middle of the box in pixels."""
        x1, y1, x2, y2 = self.box_xyxy_px
        return (x1 + x2) / 2, (y1 + y2) / 2


@dataclass(frozen=True, kw_only=True, slots=True)
class Digit:
    """One drawn digit, `0` to `9`, and its box in pixels (x right, y down)."""

    value: int
    box_xyxy_px: tuple[float, float, float, float]


@dataclass(frozen=True, kw_only=True, slots=True)
class Scene:
    """A picture and the truth about it.

    Attributes:
        image: `(H, W, 3)` uint8, RGB.
        shapes: In the order of `order_boxes`.
        digits: Left to right; empty where no number is drawn.

    """

    image: RgbImage
    shapes: tuple[Shape, ...] = ()
    digits: tuple[Digit, ...] = ()

    @property
    def number(self) -> str | None:
        """The drawn number, or None where there is none."""
        return "".join(str(digit.value) for digit in self.digits) if self.digits else None


def draw_scene(
    rng: np.random.Generator,
    *,
    shape_count: int | None = None,
    diameter: tuple[float, float] = _DIAMETER,
) -> Scene:
    """Draw filled shapes that do not overlap on a light background.

    Args:
        rng: Source of every choice; the same state draws the same scene.
        shape_count: How many shapes, 0 to 5; None picks evenly.
        diameter: Smallest and largest diameter over the square root of the canvas area.

    Returns:
        A scene whose sides are 160 to 640 px. It may hold fewer shapes than asked for where no
        free place was found.

    """
    canvas = _light_canvas(rng)
    count = int(rng.integers(0, MAX_SHAPES + 1)) if shape_count is None else shape_count
    shapes: list[Shape] = []
    for _ in range(count):
        shape = _place_shape(rng, canvas, shapes, diameter)
        if shape is not None:
            shapes.append(shape)
    order = order_boxes([shape.box_xyxy_px for shape in shapes], canvas.shape[0])
    return Scene(image=canvas, shapes=tuple(shapes[index] for index in order))


def draw_crop(rng: np.random.Generator) -> Scene:
    """Draw a scene and cut one of its shapes out, as a detector and a crop block would."""
    scene = draw_scene(rng, shape_count=int(rng.integers(1, MAX_SHAPES + 1)))
    shape = scene.shapes[int(rng.integers(len(scene.shapes)))]
    height, width = scene.image.shape[:2]
    x1, y1, x2, y2 = shape.box_xyxy_px
    margins = rng.uniform(-0.04, 0.16, size=4) * np.array([x2 - x1, y2 - y1, x2 - x1, y2 - y1])
    left, top = max(0, round(x1 - margins[0])), max(0, round(y1 - margins[1]))
    right, bottom = min(width, round(x2 + margins[2])), min(height, round(y2 + margins[3]))
    box = (max(x1, left) - left, max(y1, top) - top, min(x2, right) - left, min(y2, bottom) - top)
    return Scene(
        image=scene.image[top:bottom, left:right].copy(),
        shapes=(Shape(kind=shape.kind, color=shape.color, box_xyxy_px=box),),
    )


def draw_number(rng: np.random.Generator, *, value: int | None = None) -> Scene:
    """Draw a number of one to three digits.

    Args:
        rng: Source of every choice.
        value: The number, 0 to 999; None picks one, each length equally often.

    Returns:
        A scene with digits and no shapes, its sides 160 to 640 px.

    """
    canvas = _light_canvas(rng)
    height, width = canvas.shape[:2]
    digit_count = int(rng.integers(1, 4))
    low, high = (0, 10) if digit_count == 1 else (10 ** (digit_count - 1), 10**digit_count)
    text = str(int(rng.integers(low, high)) if value is None else value)
    font = _FONTS[int(rng.integers(len(_FONTS)))]
    target_height_px = rng.uniform(0.28, 0.55) * np.sqrt(height * width)
    (unit_width, unit_height), _ = cv2.getTextSize(text, font, 1.0, 1)
    font_scale = min(target_height_px / unit_height, 0.88 * width / unit_width, 0.85 * height / unit_height)
    thickness = max(1, round(font_scale * rng.uniform(2.0, 4.0)))
    widths = [cv2.getTextSize(char, font, font_scale, thickness)[0][0] for char in text]
    text_height = cv2.getTextSize(text, font, font_scale, thickness)[0][1]
    x = int(rng.uniform(0.03, 0.97) * max(0, width - sum(widths)))
    baseline = text_height + int(rng.uniform(0.03, 0.97) * max(0, height - text_height - thickness))
    ink = (
        _jitter(rng, _INK_RGB[COLORS[int(rng.integers(len(COLORS)))]]) if rng.random() < 0.5 else (30, 30, 30)
    )
    digits = []
    for char, char_width in zip(text, widths, strict=True):
        cv2.putText(canvas, char, (x, baseline), font, font_scale, ink, thickness, cv2.LINE_AA)
        box = (float(x), float(baseline - text_height), float(x + char_width), float(baseline))
        digits.append(Digit(value=int(char), box_xyxy_px=box))
        x += char_width
    return Scene(image=canvas, digits=tuple(digits))


def order_boxes(boxes_xyxy_px: Sequence[tuple[float, float, float, float]], height_px: int) -> list[int]:
    """Return the indices of boxes in the order in which answers name them: by top edge, then from the left.

    The top edge is the first number of a box, so what is said first decides which box it is.

    Args:
        boxes_xyxy_px: Corners in pixels, x right, y down.
        height_px: Of the image. Top edges in the same hundredth of it are at the same height.

    Returns:
        Each index once.

    """

    def key(index: int) -> tuple[int, float]:
        x1, y1, _, _ = boxes_xyxy_px[index]
        return round(100 * y1 / height_px), x1

    return sorted(range(len(boxes_xyxy_px)), key=key)


def wear(
    rng: np.random.Generator, image: RgbImage, *, noise: float = 4.0, jpeg_quality: int = 80
) -> RgbImage:
    """Return the image as a camera and a JPEG file would hand it over.

    Args:
        rng: Source of the noise.
        image: `(H, W, 3)` uint8, RGB.
        noise: Standard deviation of the Gaussian noise, in grey levels of 0 to 255.
        jpeg_quality: 0 to 100.

    Returns:
        A new image of the same shape, dtype and colour order.

    """
    noisy = image + rng.normal(0.0, noise, size=image.shape).astype(np.float32)
    bgr = np.clip(noisy, 0, 255).astype(np.uint8)[..., ::-1]
    _, encoded = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, jpeg_quality])
    return np.ascontiguousarray(cv2.imdecode(encoded, cv2.IMREAD_COLOR)[..., ::-1])


def _light_canvas(rng: np.random.Generator) -> RgbImage:
    low, high = _CANVAS_SIDE_PX
    width = int(rng.integers(low, high + 1))
    height = int(np.clip(width * np.exp(rng.uniform(-1, 1) * np.log(_MAX_ASPECT_RATIO)), low, high))
    shade = rng.uniform(225, 255, size=3).astype(np.uint8)
    return np.full((height, width, 3), shade, dtype=np.uint8)


def _jitter(rng: np.random.Generator, rgb: tuple[int, int, int]) -> tuple[int, int, int]:
    red, green, blue = np.clip(np.array(rgb) + rng.integers(-14, 15, size=3), 0, 255).tolist()
    return red, green, blue


def _place_shape(
    rng: np.random.Generator, canvas: RgbImage, placed: Sequence[Shape], diameter: tuple[float, float]
) -> Shape | None:
    height, width = canvas.shape[:2]
    unit = float(np.sqrt(height * width))
    largest = min(diameter[1], 0.94 * min(height, width) / unit)
    for _ in range(60):
        radius = rng.uniform(min(diameter[0], largest), largest) * unit / 2
        x = rng.uniform(radius + 1, width - radius - 1)
        y = rng.uniform(radius + 1, height - radius - 1)
        kind = SHAPE_KINDS[int(rng.integers(len(SHAPE_KINDS)))]
        outline = _outline(kind, x, y, radius)
        box = _box_around(outline)
        if any(_gap_px(box, other.box_xyxy_px) < 0.03 * unit for other in placed):
            continue
        color = COLORS[int(rng.integers(len(COLORS)))]
        points = np.round(outline * 2**_SUBPIXEL_BITS).astype(np.int32)
        cv2.fillPoly(canvas, [points], _jitter(rng, _INK_RGB[color]), cv2.LINE_AA, _SUBPIXEL_BITS)
        return Shape(kind=kind, color=color, box_xyxy_px=box)
    return None


def _outline(kind: ShapeKind, x: float, y: float, radius: float) -> npt.NDArray[np.float64]:
    """Corner points `(N, 2)` of the shape in pixels, first corner up."""
    if kind == "square":
        half = radius * 0.86
        return np.array(
            [[x - half, y - half], [x + half, y - half], [x + half, y + half], [x - half, y + half]]
        )
    corners = {"circle": 48, "triangle": 3, "star": 10}[kind]
    angles = -np.pi / 2 + 2 * np.pi * np.arange(corners) / corners
    radii = np.full(corners, radius)
    if kind == "star":
        radii[1::2] *= _STAR_INNER_RADIUS
    return np.stack([x + radii * np.cos(angles), y + radii * np.sin(angles)], axis=1)


def _box_around(points: npt.NDArray[np.float64]) -> tuple[float, float, float, float]:
    (x1, y1), (x2, y2) = points.min(axis=0).tolist(), points.max(axis=0).tolist()
    return x1, y1, x2, y2


def _gap_px(a: tuple[float, float, float, float], b: tuple[float, float, float, float]) -> float:
    """Distance between two boxes along the axis that separates them; negative where they overlap."""
    return max(a[0] - b[2], b[0] - a[2], a[1] - b[3], b[1] - a[3])
