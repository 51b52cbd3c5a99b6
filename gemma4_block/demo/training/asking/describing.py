"""Describe pictures, and ask for what the user wants to know about all of one."""

from collections import Counter

import numpy as np

from gemma4_block.demo import phrases
from gemma4_block.demo.training.asking import names
from gemma4_block.demo.training.asking.turn import Language, Turn, pick, think
from gemma4_block.demo.training.drawing import Picture
from gemma4_block.tasks import text

_READ_NUMBER = (
    "Read the number.",
    "Read the digits.",
    "What number is it?",
    "What number is this?",
    "What number do you see?",
    "Which number is in the image?",
)
_READ = (
    "What does it say?",
    "Read the text.",
    "What is written in the image?",
    "What text is in the image?",
    "What does the sign say?",
    "What does the label say?",
    "Which word is it?",
    "Transcribe the text.",
    *(text.OCR,) * 4,
)
NO_TEXT = "no text"


def describe(picture: Picture, language: Language = "english") -> str:
    """Say what a picture shows, as in `1 blue star, 2 cups, the text "EXIT".`.

    Shapes come first, sorted by colour, then kind; then everyday things by name; then the text.
    """
    is_english = language == "english"
    if not picture.things and picture.writing is not None:
        written = picture.writing.text
        if written.isdecimal():
            return f"The number {written}." if is_english else f"Le nombre {written}."
        return f'The text "{written}".' if is_english else f'Le texte "{written}".'
    if not picture.things:
        return "An empty image." if is_english else "Une image vide."
    groups = Counter((thing.color is None, thing.color, thing.kind) for thing in picture.things)
    said = [
        names.count_english(count, kind if color is None else f"{color} {kind}")
        if is_english
        else names.count_french(count, kind, color)
        for (_, color, kind), count in sorted(
            groups.items(), key=lambda group: [str(part) for part in group[0]]
        )
    ]
    if picture.writing is not None:
        said.append(f'{"the text" if is_english else "le texte"} "{picture.writing.text}"')
    return ", ".join(said) + "."


def describe_turn(rng: np.random.Generator, picture: Picture, language: Language) -> Turn:
    """Ask for a description."""
    return Turn(
        kind="describe",
        question=pick(rng, phrases.DESCRIBE),
        answer=describe(picture, language),
        thought=think(picture),
    )


def stray_turn(rng: np.random.Generator, picture: Picture, language: Language) -> Turn:
    """Ask what has no answer here: the picture is described instead."""
    if rng.random() < 0.2:
        question = pick(rng, phrases.STRAY_REMARKS)
    else:
        # Of a few fixed ends the model would learn only these, and take the rest for something known.
        end = pick(rng, phrases.STRAY_ENDS) if rng.random() < 0.5 else names.plural(pick(rng, names.FOREIGN))
        question = f"{pick(rng, phrases.STRAY_STARTS)} {end}{pick(rng, ('?', '.', ''))}"
    return Turn(kind="stray", question=question, answer=describe(picture, language), thought=think(picture))


def read_turn(rng: np.random.Generator, picture: Picture) -> Turn:
    """Ask for the text."""
    written = NO_TEXT if picture.writing is None else picture.writing.text
    wordings = (*_READ, *_READ_NUMBER) if written.isdecimal() else _READ
    return Turn(kind="read", question=pick(rng, wordings), answer=written, thought=written)


def color_turn(rng: np.random.Generator, picture: Picture, language: Language) -> Turn:
    """Ask for the colour of the only thing, which is a shape."""
    (thing,) = picture.things
    assert thing.color is not None
    word = thing.color if language == "english" else names.french_color(thing.color)
    return Turn(kind="color", question=pick(rng, phrases.COLOR), answer=word, thought=thing.label)


def kind_turn(rng: np.random.Generator, picture: Picture, language: Language) -> Turn:
    """Ask what the only thing is."""
    (thing,) = picture.things
    word = thing.kind if language == "english" else names.french_kind(thing.kind)
    wordings = (
        phrases.KIND
        if thing.is_shape
        else (
            "What is it?",
            "What is this?",
            "Which object is it?",
            "Name the object.",
            "What object do you see?",
        )
    )
    return Turn(kind="kind", question=pick(rng, wordings), answer=word, thought=thing.label)
