"""Ask the tasks that take classes: where they are, how many, whether, and which one fits."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from gemma4_block.demo.scenes import COLORS
from gemma4_block.demo.training.asking import names
from gemma4_block.demo.training.asking.turn import Turn, pick, think
from gemma4_block.demo.training.drawing import Picture, Thing
from gemma4_block.tasks import classification, counting, multi_label_classification, object_detection

Rng = np.random.Generator
MOST_CLASSES = 24
# Boxes are answered in steps of a hundredth of the side.
BOX_STEP_1000 = 10
# How often a single class is asked for, which a model that lists all it sees gets wrong.
_ALONE = 0.6


@dataclass(frozen=True, kw_only=True, slots=True)
class Classes:
    """Classes that are asked for.

    Attributes:
        written: As the user writes them, shuffled.
        by_name: What each thing is called here: the name of its kind or its label, to how it is written.
        name: Returns the name of a thing.

    """

    written: tuple[str, ...]
    by_name: dict[str, str]
    name: Callable[[Thing], str]

    def find(self, thing: Thing) -> str | None:
        """Return the class of a thing as it is written; None where it is not asked for."""
        return self.by_name.get(self.name(thing))


def draw_classes(rng: Rng, picture: Picture, *, most: int = MOST_CLASSES, only: int | None = None) -> Classes:
    """Choose classes to ask for: one or some of those that are there, and some that are not.

    Args:
        rng: Source of every choice.
        picture: What is asked about.
        most: How many at most.
        only: How many of them are there; None leaves it open.

    Returns:
        At least one class.

    """
    by_kind = rng.random() < 0.4
    name: Callable[[Thing], str] = (lambda thing: thing.kind) if by_kind else (lambda thing: thing.label)
    present = sorted({name(thing) for thing in picture.things})
    known = names.KINDS if by_kind else names.LABELS
    wanted = _draw_wanted(rng, present, only)
    absent = [other for other in known if other not in present]
    foreign = [other for other in names.FOREIGN if other not in present]
    near = [other for other in absent if {*other.split()} & {word for one in present for word in one.split()}]
    choice = rng.random()
    if choice < 0.2:
        # Things of another sort, as users have them.
        absent = [*absent[:: int(rng.integers(2, 6))], *foreign]
    elif choice < 0.5 and near:
        # A red circle is asked for where a red square is.
        absent = near
    limit = max(0, most - len(wanted))
    extra = (
        int(rng.integers(0, min(limit, 4) + 1)) if rng.random() < 0.75 else int(rng.integers(0, limit + 1))
    )
    if not wanted:
        extra = max(1, extra)
    chosen = [*wanted, *(absent[index] for index in rng.permutation(len(absent))[:extra])]
    rng.shuffle(chosen)
    write = _draw_spelling(rng)
    return Classes(
        written=tuple(write(one) for one in chosen), by_name={one: write(one) for one in chosen}, name=name
    )


def _draw_wanted(rng: Rng, present: Sequence[str], only: int | None) -> list[str]:
    order = [present[index] for index in rng.permutation(len(present))]
    if only is not None:
        return order[:only]
    choice = rng.random()
    if choice < 0.3:
        return order[:1]
    if choice < 0.4:
        return []
    if choice < 0.75:
        return order
    return order[: int(rng.integers(0, len(order) + 1))]


def _draw_spelling(rng: Rng) -> Callable[[str], str]:
    choice = rng.random()
    if choice < 0.84:
        return str
    if choice < 0.9:
        return names.plural
    if choice < 0.95:
        return str.capitalize
    return lambda name: name.replace(" ", "-" if choice < 0.98 else "_")


def scale_box_1000(picture: Picture, thing: Thing) -> list[int]:
    """Scale a box to y1, x1, y2, x2, integers 0-1000 of the whole image in steps of 10."""
    height, width = picture.image.shape[:2]
    x1, y1, x2, y2 = thing.box_xyxy_px
    steps = 1000 // BOX_STEP_1000
    fractions = (y1 / height, x1 / width, y2 / height, x2 / width)
    return [min(steps, max(0, round(steps * part))) * BOX_STEP_1000 for part in fractions]


def detect_turn(rng: Rng, picture: Picture) -> Turn:
    """Ask where the objects of some classes are; the answer lists them in the order of their tops."""
    if rng.random() < _ALONE:
        classes = draw_classes(rng, picture, most=1, only=int(rng.random() < 2 / 3))
    else:
        classes = draw_classes(rng, picture)
    found = [(thing, classes.find(thing)) for thing in picture.things]
    entries = [
        {"box_2d": scale_box_1000(picture, thing), "label": name} for thing, name in found if name is not None
    ]
    return Turn(
        kind="detect",
        question=object_detection.wording(classes.written),
        answer=json.dumps(entries, ensure_ascii=False),
        thought=think(picture, [thing for thing, name in found if name is not None]),
    )


def inside_turn(rng: Rng, picture: Picture) -> Turn | None:
    """Ask what is in a box, which ties a label to a place; None where there is nothing to be boxed."""
    if not picture.things:
        return None
    thing = picture.things[int(rng.integers(len(picture.things)))]
    return Turn(
        kind="inside",
        question=f"What is in the box {scale_box_1000(picture, thing)}?",
        answer=thing.label,
        thought=think(picture, [thing]),
    )


def per_class_turn(rng: Rng, picture: Picture) -> Turn:
    """Ask of every class how many there are, or whether there is one."""
    classes = draw_classes(rng, picture, most=MOST_CLASSES if rng.random() < 0.1 else 7)
    found = [thing for thing in picture.things if classes.find(thing) is not None]
    counts = {name: sum(classes.find(thing) == name for thing in found) for name in classes.written}
    answer: dict[str, int] | dict[str, bool]
    if rng.random() < 0.5:
        question, answer = counting.wording(classes.written), counts
    else:
        question = multi_label_classification.wording(classes.written)
        answer = {name: count > 0 for name, count in counts.items()}
    return Turn(
        kind="per class",
        question=question,
        answer=json.dumps(answer, ensure_ascii=False),
        thought=think(picture, found),
    )


def classify_turn(rng: Rng, picture: Picture) -> Turn | None:
    """Ask which one of the classes fits; None where a picture has nothing to be classified."""
    if not picture.things:
        return None
    has_rest = rng.random() < 0.3
    by_color = len(picture.things) == 1 and picture.things[0].color is not None and rng.random() < 0.25
    is_none = has_rest and rng.random() < 0.5
    if by_color:
        classes = _draw_colors(rng, picture, is_none=is_none)
    else:
        classes = draw_classes(rng, picture, only=0 if is_none else 1)
    named = [name for thing in picture.things if (name := classes.find(thing)) is not None]
    written = list(classes.written)
    rest = pick(rng, classification.REST_NAMES)
    if has_rest:
        place = len(written) if rng.random() < 0.6 else int(rng.integers(len(written) + 1))
        written.insert(place, rest)
    if len(written) < 2 or (not named and not has_rest):
        return None
    return Turn(
        kind="classify",
        question=classification.wording(written),
        answer=json.dumps({"class_name": named[0] if named else rest}, ensure_ascii=False),
        thought=think(picture),
    )


def _draw_colors(rng: Rng, picture: Picture, *, is_none: bool) -> Classes:
    truth = picture.things[0].color
    wrong = [color for color in COLORS if color != truth]
    count = int(rng.integers(1, len(wrong) + 1))
    chosen = [wrong[index] for index in rng.permutation(len(wrong))[:count]]
    if not is_none and truth is not None:
        chosen.append(truth)
    rng.shuffle(chosen)
    return Classes(
        written=tuple(chosen), by_name={color: color for color in chosen}, name=lambda thing: str(thing.color)
    )
