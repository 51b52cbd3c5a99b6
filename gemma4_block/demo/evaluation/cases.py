"""The questions of the evaluation about held-out scenes, and the true answers."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from gemma4_block.demo import dialogue
from gemma4_block.demo.evaluation.scoring import LabelledBox
from gemma4_block.demo.scenes import COLORS, SHAPE_KINDS, Scene, Shape, wear
from gemma4_block.tasks import classification

_DESCRIBE = "Describe the image."


@dataclass(frozen=True, kw_only=True, slots=True)
class Case:
    """A question about a scene, and its true answer."""

    scene: Scene
    question: str
    expected: str


def draw_worn(
    seed: int, stream: int, draw: Callable[[np.random.Generator], Scene], count: int
) -> list[Scene]:
    """Draw scenes of one stream of a seed, with noise and JPEG quality 80."""
    rng = np.random.default_rng((seed, stream))
    scenes = [draw(rng) for _ in range(count)]
    return [replace(scene, image=wear(rng, scene.image, noise=4, jpeg_quality=80)) for scene in scenes]


def describe_case(scene: Scene, language: dialogue.Language = "english") -> Case:
    """Ask for a description."""
    return Case(scene=scene, question=_DESCRIBE, expected=dialogue.describe(scene, language))


def count_case(rng: np.random.Generator, scene: Scene, form: str) -> Case:
    """Ask for a count of all shapes, or of a colour, a kind or both; see `form`."""
    picked = _likely_shape(rng, scene)
    noun, counted = {
        "all": ("shapes", len(scene.shapes)),
        "colour": (f"{picked.color} shapes", sum(one.color == picked.color for one in scene.shapes)),
        "kind": (f"{picked.kind}s", sum(one.kind == picked.kind for one in scene.shapes)),
        "colour and kind": (f"{picked.label}s", sum(one.label == picked.label for one in scene.shapes)),
    }[form]
    return Case(scene=scene, question=f"How many {noun} are there?", expected=str(counted))


def presence_case(rng: np.random.Generator, scene: Scene) -> Case:
    """Ask whether a colour and kind is there."""
    label = _likely_shape(rng, scene).label
    is_there = any(shape.label == label for shape in scene.shapes)
    return Case(
        scene=scene, question=f"Is there a {label} in the image?", expected="yes" if is_there else "no"
    )


def classify_case(rng: np.random.Generator, crop: Scene, truth: str, others: Sequence[str]) -> Case:
    """Ask for one of the true class and up to five others."""
    classes = draw_classes(rng, truth, others)
    return Case(
        scene=crop, question=classification.wording(classes), expected=json.dumps({"class_name": truth})
    )


def list_truths(crops: Sequence[Scene]) -> list[tuple[Scene, str, Sequence[str]]]:
    """Return each crop three times: with its colour, its kind and its label, and what these could be."""
    return [
        (crop, truth, others)
        for crop in crops
        for truth, others in (
            (crop.shapes[0].color, COLORS),
            (crop.shapes[0].kind, SHAPE_KINDS),
            (crop.shapes[0].label, dialogue.ALL_LABELS),
        )
    ]


def draw_classes(rng: np.random.Generator, truth: str, others: Sequence[str]) -> list[str]:
    """Return the true class and up to five others, shuffled."""
    wrong = [name for name in others if name != truth]
    count = int(rng.integers(1, min(5, len(wrong)) + 1))
    classes = [truth, *(wrong[index] for index in rng.permutation(len(wrong))[:count])]
    rng.shuffle(classes)
    return classes


def _likely_shape(rng: np.random.Generator, scene: Scene) -> Shape:
    """Pick a colour and a kind; two in three times they are those of a shape in the scene."""
    if scene.shapes and rng.random() < 2 / 3:
        return scene.shapes[int(rng.integers(len(scene.shapes)))]
    color, kind = COLORS[int(rng.integers(len(COLORS)))], SHAPE_KINDS[int(rng.integers(len(SHAPE_KINDS)))]
    return Shape(kind=kind, color=color, box_xyxy_px=(0, 0, 0, 0))


def pick_labels(rng: np.random.Generator, scene: Scene) -> list[str]:
    """Return the labels that are in the scene and two that are not, shuffled."""
    present = sorted({shape.label for shape in scene.shapes})
    absent = [label for label in dialogue.ALL_LABELS if label not in present]
    labels = [*present, *(absent[index] for index in rng.permutation(len(absent))[:2])]
    rng.shuffle(labels)
    return labels


def true_box(scene: Scene, shape: Shape) -> LabelledBox:
    """Return the box of a shape as y1, x1, y2, x2 of 1000, unrounded."""
    height, width = scene.image.shape[:2]
    x1, y1, x2, y2 = shape.box_xyxy_px
    box = (1000 * y1 / height, 1000 * x1 / width, 1000 * y2 / height, 1000 * x2 / width)
    return LabelledBox(label=shape.label, box_yxyx_1000=box)


def diameter(scene: Scene, shape: Shape) -> float:
    """Width of a shape over the square root of the image's area."""
    height, width = scene.image.shape[:2]
    return float((shape.box_xyxy_px[2] - shape.box_xyxy_px[0]) / np.sqrt(height * width))


def has_small_shape(scene: Scene) -> str:
    """Say `yes` where a shape is smaller than a good soft token across."""
    return "yes" if any(diameter(scene, shape) < 0.22 for shape in scene.shapes) else "no"


def digit_height(scene: Scene) -> float:
    """Height of the digits over the square root of the image's area."""
    height, width = scene.image.shape[:2]
    _, y1, _, y2 = scene.digits[0].box_xyxy_px
    return float((y2 - y1) / np.sqrt(height * width))
