"""The questions about wide pictures: every answer is true, and has the form that is asked for."""

import json
import re

import numpy as np
import pytest

from gemma4_block.demo.scenes import COLORS
from gemma4_block.demo.training.asking import Turn, ask, describe, names
from gemma4_block.demo.training.asking.classes import detect_turn, draw_classes, scale_box_1000
from gemma4_block.demo.training.asking.counting import write_sentence
from gemma4_block.demo.training.asking.outstanding import find_outstanding
from gemma4_block.demo.training.asking.structures import draw_form
from gemma4_block.demo.training.drawing import (
    EVERYDAY_KINDS,
    Letter,
    Limits,
    Picture,
    Thing,
    Writing,
    draw_picture,
)
from gemma4_block.json_schema import find_mismatch
from gemma4_block.tasks import answer_schema, name_images, object_detection
from gemma4_block.tasks.classification import REST_NAMES


def picture_of(*labels: str, text: str | None = None) -> Picture:
    """Return a blank picture of 200 by 100 px that says to hold things, in a row from left to right."""
    things = []
    for place, label in enumerate(labels):
        color, _, kind = label.rpartition(" ")
        things.append(
            Thing(kind=kind, color=color or None, box_xyxy_px=(20.0 * place, 40, 20.0 * place + 10, 60))
        )
    writing = None
    if text is not None:
        letters = tuple(Letter(char=char, box_xyxy_px=(0, 0, 1, 1)) for char in text if char != " ")
        writing = Writing(text=text, letters=letters)
    return Picture(
        image=np.full((100, 200, 3), 255, dtype=np.uint8),
        things=tuple(things),
        owners=np.full((100, 200), -1, dtype=np.int16),
        writing=writing,
    )


@pytest.fixture(scope="module")
def asked() -> list[tuple[Picture, Turn]]:
    """Return many questions, each with its picture."""
    rng = np.random.default_rng(0)
    found = []
    for _ in range(400):
        picture = draw_picture(rng, Limits(unit_px=60))
        found += [(picture, turn) for turn in ask(rng, [picture])]
    return found


def of_kind(asked: list[tuple[Picture, Turn]], kind: str) -> list[tuple[Picture, Turn]]:
    """Return the questions of a kind, of which there are some."""
    found = [(picture, turn) for picture, turn in asked if turn.kind == kind]
    assert len(found) > 20
    return found


def listed(question: str, before: str, after: str) -> list[str]:
    """Return the classes that a question lists between two texts."""
    return question[question.index(before) + len(before) : question.index(after)].split(", ")


@pytest.mark.parametrize(
    ("picture", "english", "french"),
    [
        (picture_of(), "An empty image.", "Une image vide."),
        (picture_of(text="407"), "The number 407.", "Le nombre 407."),
        (picture_of(text="EXIT 4"), 'The text "EXIT 4".', 'Le texte "EXIT 4".'),
        (
            picture_of("red circle", "cup", "blue star", "red circle", "backpack", "cup"),
            "1 blue star, 2 red circles, 1 backpack, 2 cups.",
            "1 étoile bleue, 2 cercles rouges, 1 sac à dos, 2 tasses.",
        ),
        (
            picture_of("orange star", "orange star", "bird", "bird", text="Go"),
            '2 orange stars, 2 birds, the text "Go".',
            '2 étoiles orange, 2 oiseaux, le texte "Go".',
        ),
    ],
    ids=["nothing", "a number", "a text", "groups", "things and a text"],
)
def test_a_description_groups_what_is_there(picture: Picture, english: str, french: str) -> None:
    """Shapes first, by colour and kind; then everyday things by name; then the text."""
    assert describe(picture) == english
    assert describe(picture, "french") == french


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("red circle", "red circles"),
        ("box", "boxes"),
        ("fish", "fish"),
        ("butterfly", "butterflies"),
        ("key", "keys"),
        ("toothbrush", "toothbrushes"),
        ("bus", "buses"),
    ],
)
def test_plurals(name: str, expected: str) -> None:
    """English ones, as users write them."""
    assert names.plural(name) == expected


@pytest.mark.parametrize(
    ("count", "expected"),
    [(0, "0. There are no cups."), (1, "1. There is 1 cup."), (3, "3. There are 3 cups.")],
)
def test_a_number_first_then_a_sentence(count: int, expected: str) -> None:
    """As a system prompt asks for it."""
    assert write_sentence(count, "cup") == expected


def test_no_foreign_class_is_ever_drawn() -> None:
    """What stands for absent classes is no thing, label or colour here, and each name comes once."""
    assert not set(names.FOREIGN) & {*names.KINDS, *names.LABELS, *COLORS}
    assert len(set(names.FOREIGN)) == len(names.FOREIGN)
    assert len(names.LABELS) == 44


def test_detections_list_all_of_the_asked_classes_and_no_others(asked: list[tuple[Picture, Turn]]) -> None:
    """Entries are in the order of their tops, boxes in steps of ten; nothing there means an empty list."""
    empty = 0
    for picture, turn in of_kind(asked, "detect"):
        classes = listed(turn.question, "classes in the image: ", ". Answer in JSON")
        entries = json.loads(turn.answer)
        empty += not entries
        assert all(entry["label"] in classes for entry in entries)
        boxes = [scale_box_1000(picture, thing) for thing in picture.things]
        assert all(part % 10 == 0 and 0 <= part <= 1000 for box in boxes for part in box)
        # Classes are never both kinds and labels, so each thing is at most once asked for.
        plain = {_singular(name) for name in classes}
        expected = [
            box for box, thing in zip(boxes, picture.things, strict=True) if {thing.label, thing.kind} & plain
        ]
        assert [entry["box_2d"] for entry in entries] == expected
    assert empty > 10


def test_a_box_is_asked_for_its_label(asked: list[tuple[Picture, Turn]]) -> None:
    """It is the box that a detection would give to the thing that the answer names."""
    turns = of_kind(asked, "inside")
    assert len(turns) > 20
    for picture, turn in turns:
        box = json.loads(turn.question.split("in the box ")[1].split("?")[0])
        named = [thing for thing in picture.things if thing.label == turn.answer]
        assert box in [scale_box_1000(picture, thing) for thing in named]


def _singular(name: str) -> str:
    by_spelling = {}
    for known in (*names.KINDS, *names.LABELS):
        for spelled in (
            known,
            names.plural(known),
            known.capitalize(),
            known.replace(" ", "-"),
            known.replace(" ", "_"),
        ):
            by_spelling[spelled] = known
    return by_spelling.get(name, name)


def test_one_class_of_several_is_often_asked_for(asked: list[tuple[Picture, Turn]]) -> None:
    """Of pictures with several labels, a good share of detections is about one of them."""
    few = 0
    several = [
        (picture, turn)
        for picture, turn in of_kind(asked, "detect")
        if len({thing.label for thing in picture.things}) > 2
    ]
    for _, turn in several:
        few += len({entry["label"] for entry in json.loads(turn.answer)}) == 1
    assert 0.2 < few / len(several) < 0.6


def test_a_single_class_is_asked_for_whether_it_is_there_or_not() -> None:
    """Many detections name one class only, and a third of these is of something that is not there."""
    rng = np.random.default_rng(0)
    before, after = object_detection.wording(["CLASS"]).split("CLASS")
    asked = [detect_turn(rng, picture_of("red circle", "blue star", "dog")) for _ in range(400)]
    alone = [turn for turn in asked if "," not in turn.question.removeprefix(before).removesuffix(after)]
    assert 0.45 < len(alone) / 400 < 0.7
    assert 0.2 < sum(turn.answer == "[]" for turn in alone) / len(alone) < 0.5


def test_what_is_not_there_is_often_much_like_what_is() -> None:
    """A red circle is asked for where a red square is."""
    rng = np.random.default_rng(0)
    shown = picture_of("red square", "red square")
    drawn = [draw_classes(rng, shown, most=1, only=0).by_name for _ in range(400)]
    names = [name for one in drawn for name in one if name.count(" ") and name != "red square"]
    near = [name for name in names if name.startswith("red ") or name.endswith(" square")]
    assert len(near) / len(names) > 0.4


def test_up_to_24_classes_are_asked_for() -> None:
    """No more, and that many come up."""
    rng = np.random.default_rng(0)
    counts = [len(draw_classes(rng, picture_of("red circle", "dog")).written) for _ in range(2000)]
    assert max(counts) == 24
    assert min(counts) == 1


def test_a_class_that_fits_is_the_answer(asked: list[tuple[Picture, Turn]]) -> None:
    """Exactly one of the classes is there; where none is, the one that stands for the rest."""
    rest = 0
    for picture, turn in of_kind(asked, "classify"):
        classes = listed(turn.question, "fits the image best: ", "? Answer in JSON")
        answer = json.loads(turn.answer)["class_name"]
        assert answer in classes
        named = {thing.label for thing in picture.things} | {thing.kind for thing in picture.things}
        named |= {str(thing.color) for thing in picture.things}
        there = [name for name in classes if _singular(name) in named]
        rest += answer in REST_NAMES
        assert there == ([] if answer in REST_NAMES else [answer])
    assert rest > 10


def test_classes_are_counted_each(asked: list[tuple[Picture, Turn]]) -> None:
    """The keys are the classes in their order; the values are counts, or whether there are any."""
    for picture, turn in of_kind(asked, "per class"):
        counts = json.loads(turn.answer)
        before = "these classes are in the image: "
        assert list(counts) == listed(turn.question, before, "? Answer in JSON")
        for name, value in counts.items():
            expected = sum(_singular(name) in {thing.label, thing.kind} for thing in picture.things)
            assert value == (expected > 0 if isinstance(value, bool) else expected)


def test_counts_are_those_of_the_picture(asked: list[tuple[Picture, Turn]]) -> None:
    """The thought lists what is counted, and the answer is how many that are."""
    for picture, turn in of_kind(asked, "count"):
        thought = [] if turn.thought == "nothing" else turn.thought.split(", ")
        assert turn.answer == str(len(thought))
        if "objects" in turn.question:
            assert turn.answer == str(len(picture.things))
        if re.search(r"(many|the|of) shapes", turn.question):
            assert turn.answer == str(sum(thing.is_shape for thing in picture.things))


def test_images_are_named_as_the_block_names_them() -> None:
    """Where there are several, mostly; alone, never."""
    rng = np.random.default_rng(0)
    one, other = picture_of("red circle"), picture_of("blue star", "red circle")
    names = name_images("", 2)
    several = [turn.question.startswith(names) for _ in range(200) for turn in ask(rng, [one, other])]
    assert 0.5 < sum(several) / len(several) < 0.9
    assert not any(turn.question.startswith("There ") for _ in range(50) for turn in ask(rng, [one]))


def test_people_are_persons() -> None:
    """Who asks for people counts persons."""
    rng = np.random.default_rng(0)
    picture = picture_of("person", "person", "dog")
    turns = [
        turn
        for _ in range(200)
        for turn in ask(rng, [picture])
        if "people" in turn.question and turn.kind == "count"
    ]
    assert turns
    assert {turn.answer for turn in turns} == {"2"}


def test_forms_are_filled_in_validly() -> None:
    """Every true answer matches the JSON Schema that holds the model's answers."""
    rng = np.random.default_rng(0)
    kinds: set[type] = set()
    sizes = set()
    for _ in range(500):
        form = draw_form(rng, draw_picture(rng, Limits(unit_px=40)))
        assert find_mismatch(form.values, answer_schema(form.structure).text) is None
        kinds |= {type(value) for value in form.values.values()}
        sizes.add(len(form.values))
    assert kinds == {int, bool, str}
    assert sizes == {1, 2, 3, 4, 5}


def test_fields_say_what_is_there() -> None:
    """Each field of a form about a known picture has the one value that is true."""
    rng = np.random.default_rng(0)
    picture = picture_of("red circle", "backpack", "backpack", text="EXIT")
    truths = {
        "num_backpacks": 2,
        "has_dog": False,
        "has_backpack": True,
        "leftmost_color": "red",
        "sign": "EXIT",
        "total": 3,
        "red_circles": 1,
        "rightmost_object": "backpack",
        "backpack_count": 2,
    }
    said: dict[str, set[object]] = {}
    for _ in range(6000):
        for name, value in draw_form(rng, picture).values.items():
            said.setdefault(name, set()).add(value)
    assert {name: said[name] for name in truths} == {name: {value} for name, value in truths.items()}


def test_words_of_the_task_come_before_a_form(asked: list[tuple[Picture, Turn]]) -> None:
    """The question is what a workflow sends, with fields or with a JSON Schema."""
    questions = [turn.question for _, turn in of_kind(asked, "structured")]
    fields = sum("Answer about the image in JSON with these keys. " in question for question in questions)
    schemas = sum("in JSON that matches this JSON Schema: {" in question for question in questions)
    assert fields + schemas == len(questions)
    assert min(fields, schemas) > 0.25 * len(questions)


@pytest.mark.parametrize(
    ("which", "expected"),
    [("leftmost", "red circle"), ("rightmost", "dog"), ("largest", None), ("topmost", None)],
)
def test_what_stands_out_does_so_clearly(which: str, expected: str | None) -> None:
    """Things of one size in one row have a leftmost and a rightmost, and no largest or topmost."""
    found = find_outstanding(picture_of("red circle", "cup", "dog"), which)
    assert (None if found is None else found.label) == expected


def test_text_is_read_to_the_letter(asked: list[tuple[Picture, Turn]]) -> None:
    """What is read is what is written; where nothing is, that is said."""
    for picture, turn in of_kind(asked, "read"):
        assert turn.answer == ("no text" if picture.writing is None else picture.writing.text)


def test_every_everyday_thing_has_a_french_name() -> None:
    """And it is another word for each."""
    french = [names.french_kind(kind) for kind in EVERYDAY_KINDS]
    assert len(set(french)) == 20
