"""The questions to the demo checkpoint about a scene, and their answers."""

import json
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from gemma4_block.demo import phrases
from gemma4_block.demo.scenes import COLORS, SHAPE_KINDS, Scene, Shape
from gemma4_block.tasks import classification, counting, multi_label_classification, object_detection, text

Language = Literal["english", "french"]

ALL_LABELS: tuple[str, ...] = tuple(f"{color} {kind}" for color in COLORS for kind in SHAPE_KINDS)
_FRENCH_COLOR = {
    "blue": "bleu", "green": "vert", "orange": "orange", "purple": "violet", "red": "rouge",
    "yellow": "jaune",
}  # fmt: skip
_FRENCH_KIND = {"circle": "cercle", "square": "carré", "star": "étoile", "triangle": "triangle"}
_FRENCH_FEMININE = {"bleu": "bleue", "vert": "verte", "violet": "violette"}
# Boxes are answered in steps of a fiftieth of the side: finer ones are not learnt in the time, and these
# lose a tenth of the IoU at most. Measured on 300 scenes: mean IoU 0.90, smallest 0.79.
_BOX_STEP_1000 = 20


@dataclass(frozen=True, kw_only=True, slots=True)
class Turn:
    """One question about a scene.

    Attributes:
        question: The user's text.
        answer: The whole answer.
        thought: What the demo writes in its thought channel where thinking is on.

    """

    question: str
    answer: str
    thought: str


def describe(scene: Scene, language: Language = "english") -> str:
    """Say what a scene shows, as in `1 blue star, 2 red circles.`; groups are sorted by colour, then kind."""
    number = scene.number
    if number is not None:
        return f"The number {number}." if language == "english" else f"Le nombre {number}."
    if not scene.shapes:
        return "An empty image." if language == "english" else "Une image vide."
    groups = Counter((shape.color, shape.kind) for shape in scene.shapes)
    name = _english_group if language == "english" else _french_group
    return ", ".join(name(count, *key) for key, count in sorted(groups.items())) + "."


def boxes_json(scene: Scene, labels: Sequence[str] | None = None) -> str:
    """Write the shapes as the detection answer, in the order that they have.

    Args:
        scene: What is in the image.
        labels: Only shapes with one of these labels; None means every shape.

    Returns:
        JSON: a list of `box_2d` (y1, x1, y2, x2, integers 0-1000 of the whole image) and `label`.

    """
    wanted = [shape for shape in scene.shapes if labels is None or shape.label in labels]
    return json.dumps(
        [{"box_2d": scale_box_1000(scene, shape.box_xyxy_px), "label": shape.label} for shape in wanted]
    )


def scale_box_1000(scene: Scene, box_xyxy_px: tuple[float, float, float, float]) -> list[int]:
    """Scale a box in pixels to y1, x1, y2, x2, integers 0-1000 of the whole image in steps of 20."""
    height, width = scene.image.shape[:2]
    x1, y1, x2, y2 = box_xyxy_px
    steps = 1000 // _BOX_STEP_1000
    fractions = (y1 / height, x1 / width, y2 / height, x2 / width)
    return [min(steps, max(0, round(steps * part))) * _BOX_STEP_1000 for part in fractions]


def turns(rng: np.random.Generator, scene: Scene, language: Language = "english") -> list[Turn]:
    """Pick questions about a scene in varied wordings, with their answers.

    Args:
        rng: Source of every choice.
        scene: What is in the image.
        language: Language of descriptions and of colour and shape names.

    Returns:
        The turns, each to be asked on its own; which ones depends on what the scene holds.

    """
    if scene.digits:
        return _number_turns(rng, scene, language)
    found = [_describe_turn(rng, scene, language), _detect_turn(rng, scene)]
    found += [_count_turn(rng, scene, picked) for picked in rng.permutation(4)[:2].tolist()]
    found.append(_presence_turn(rng, scene))
    found.append(_per_class_turn(rng, scene))
    if rng.random() < 0.4:
        found.append(_stray_turn(rng, scene, language))
    if 0 < len(scene.shapes) < 4:
        found.append(_detect_turn(rng, scene))
    if len(scene.shapes) == 1:
        found += [_color_turn(rng, scene, language), _kind_turn(rng, scene, language)]
        found += [_classify_turn(rng, scene), _classify_turn(rng, scene)]
    return [_maybe_as_question(rng, turn) for turn in found]


def _english_group(count: int, color: str, kind: str) -> str:
    return f"{count} {color} {kind}{'s' if count > 1 else ''}"


def _french_group(count: int, color: str, kind: str) -> str:
    noun, adjective = _FRENCH_KIND[kind], _FRENCH_COLOR[color]
    if kind == "star":
        adjective = _FRENCH_FEMININE.get(adjective, adjective)
    if count == 1:
        return f"1 {noun} {adjective}"
    # The colour orange does not change in the plural.
    return f"{count} {noun}s {adjective}{'' if adjective == 'orange' else 's'}"


def _pick(rng: np.random.Generator, choices: Sequence[str]) -> str:
    return choices[int(rng.integers(len(choices)))]


def _maybe_as_question(rng: np.random.Generator, turn: Turn) -> Turn:
    """Sometimes word a question of the user as the visual-question-answering task does."""
    if "JSON" in turn.question or rng.random() > 0.2:
        return turn
    return replace(turn, question=text.short_answer(turn.question))


def _thought(shapes: Sequence[Shape]) -> str:
    return ", ".join(shape.label for shape in shapes) if shapes else "nothing"


def _describe_turn(rng: np.random.Generator, scene: Scene, language: Language) -> Turn:
    thought = scene.number if scene.number is not None else _thought(scene.shapes)
    return Turn(question=_pick(rng, phrases.DESCRIBE), answer=describe(scene, language), thought=thought)


def _stray_turn(rng: np.random.Generator, scene: Scene, language: Language) -> Turn:
    words = f"{_pick(rng, phrases.STRAY_STARTS)} {_pick(rng, phrases.STRAY_ENDS)}{_pick(rng, ('?', '.', ''))}"
    plain = _describe_turn(rng, scene, language)
    return Turn(question=words, answer=plain.answer, thought=plain.thought)


def _count_turn(rng: np.random.Generator, scene: Scene, picked: int) -> Turn:
    """Ask for a count of all shapes (0), of a colour (1), of a kind (2) or of both (3)."""
    color, kind = _likely_color_and_kind(rng, scene)
    noun, matches = (
        ("shapes", lambda _: True),
        (f"{color} shapes", lambda shape: shape.color == color),
        (f"{kind}s", lambda shape: shape.kind == kind),
        (f"{color} {kind}s", lambda shape: shape.color == color and shape.kind == kind),
    )[picked]
    counted = _matching(scene, matches)
    return Turn(
        question=_pick(rng, phrases.COUNT).format(noun), answer=str(len(counted)), thought=_thought(counted)
    )


def _presence_turn(rng: np.random.Generator, scene: Scene) -> Turn:
    color, kind = _likely_color_and_kind(rng, scene)
    matching = _matching(scene, lambda shape: shape.color == color and shape.kind == kind)
    question = _pick(rng, phrases.PRESENT).format(f"{color} {kind}")
    return Turn(question=question, answer="yes" if matching else "no", thought=_thought(matching))


def _detect_turn(rng: np.random.Generator, scene: Scene) -> Turn:
    labels = _candidate_labels(rng, scene)
    found = _matching(scene, lambda shape: shape.label in labels)
    return Turn(
        question=object_detection.wording(labels), answer=boxes_json(scene, labels), thought=_thought(found)
    )


def _per_class_turn(rng: np.random.Generator, scene: Scene) -> Turn:
    labels = _candidate_labels(rng, scene)
    counts = Counter(shape.label for shape in scene.shapes)
    found = _matching(scene, lambda shape: shape.label in labels)
    if rng.random() < 0.5:
        question, answer = counting.wording(labels), json.dumps({label: counts[label] for label in labels})
    else:
        question = multi_label_classification.wording(labels)
        answer = json.dumps({label: counts[label] > 0 for label in labels})
    return Turn(question=question, answer=answer, thought=_thought(found))


def _color_turn(rng: np.random.Generator, scene: Scene, language: Language) -> Turn:
    (shape,) = scene.shapes
    word = shape.color if language == "english" else _FRENCH_COLOR[shape.color]
    return Turn(question=_pick(rng, phrases.COLOR), answer=word, thought=shape.label)


def _kind_turn(rng: np.random.Generator, scene: Scene, language: Language) -> Turn:
    (shape,) = scene.shapes
    word = shape.kind if language == "english" else _FRENCH_KIND[shape.kind]
    return Turn(question=_pick(rng, phrases.KIND), answer=word, thought=shape.label)


def _classify_turn(rng: np.random.Generator, scene: Scene) -> Turn:
    (shape,) = scene.shapes
    truth, others = (
        (shape.color, COLORS),
        (shape.kind, SHAPE_KINDS),
        (shape.label, ALL_LABELS),
    )[int(rng.integers(3))]
    wrong = [name for name in others if name != truth]
    count = int(rng.integers(1, min(5, len(wrong)) + 1))
    classes = [truth, *(wrong[i] for i in rng.permutation(len(wrong))[:count])]
    rng.shuffle(classes)
    return Turn(
        question=classification.wording(classes),
        answer=json.dumps({"class_name": truth}),
        thought=shape.label,
    )


def _number_turns(rng: np.random.Generator, scene: Scene, language: Language) -> list[Turn]:
    number = str(scene.number)
    read = [Turn(question=_pick(rng, phrases.READ), answer=number, thought=number) for _ in range(3)]
    found = [
        *read,
        _describe_turn(rng, scene, language),
        _stray_turn(rng, scene, language),
        _count_turn(rng, scene, int(rng.integers(4))),
    ]
    return [_maybe_as_question(rng, turn) for turn in found]


def _candidate_labels(rng: np.random.Generator, scene: Scene) -> list[str]:
    """Labels to ask for: most of those in the scene and a few that are not, shuffled."""
    present = sorted({shape.label for shape in scene.shapes if rng.random() < 0.85})
    absent = [label for label in ALL_LABELS if all(shape.label != label for shape in scene.shapes)]
    extra = rng.permutation(len(absent))[: int(rng.integers(0 if present else 1, 4))]
    labels = [*present, *(absent[i] for i in extra)]
    rng.shuffle(labels)
    return labels


def _likely_color_and_kind(rng: np.random.Generator, scene: Scene) -> tuple[str, str]:
    """Pick a colour and a kind that are often, but not always, in the scene."""
    color, kind = _pick(rng, COLORS), _pick(rng, SHAPE_KINDS)
    if scene.shapes and rng.random() < 0.65:
        shape = scene.shapes[int(rng.integers(len(scene.shapes)))]
        color, kind = shape.color, shape.kind
    return color, kind


def _matching(scene: Scene, matches: Callable[[Shape], bool]) -> list[Shape]:
    return [shape for shape in scene.shapes if matches(shape)]
