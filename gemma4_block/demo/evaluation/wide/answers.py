"""Ask for forms, for text, and for backpacks as the first example does."""

import re

import numpy as np

from gemma4_block.contract import Engine, ImageSeqLength
from gemma4_block.demo.evaluation.asking import ask_requests
from gemma4_block.demo.evaluation.scoring import Row, score_exact
from gemma4_block.demo.evaluation.wide.forms import draw_form
from gemma4_block.demo.evaluation.wide.pictures import draw_backpacks, draw_mixed, draw_texts
from gemma4_block.demo.evaluation.wide.texts import Case, ask
from gemma4_block.tasks import TaskRequest, text

BACKPACKS_QUESTION = "How many backpacks are clearly visible?"
BACKPACKS_SYSTEM = "Answer with a number first, then one short sentence."
"""Both as the page about Gemma 4 of `inference_models` has them."""
_MOST_FIELDS = 5
_SENTENCE_TOKENS = 48
_NUMBER_FIRST = re.compile(r"\s*(\d+)\b[.,:;]?\s+\S")


def judge_forms(engine: Engine, budget: ImageSeqLength, count: int, seed: int) -> list[Row]:
    """Judge structured answers by their number of fields: all of a form must be right.

    Args:
        engine: Asked in batches.
        budget: Of each image.
        count: Forms of each number of fields; every other one is a JSON Schema.
        seed: Root of all draws.

    Returns:
        A row for each number of fields.

    """
    rows = []
    for fields in range(1, _MOST_FIELDS + 1):
        rng = np.random.default_rng((seed, fields))
        pictures = draw_mixed(rng, count)
        forms = [
            draw_form(rng, picture, fields, as_schema=place % 2 == 1)
            for place, picture in enumerate(pictures)
        ]
        requests = [
            TaskRequest(images=(picture.image,), image_seq_length=budget, output_structure=form.structure)
            for picture, form in zip(pictures, forms, strict=True)
        ]
        asked = ask_requests(engine, "structured-answering", requests)
        right = [
            one.result is not None and one.result.parsed == form.values
            for one, form in zip(asked, forms, strict=True)
        ]
        rows.append(
            Row(
                name=f"structured answer, {fields} field{'s' if fields > 1 else ''}",
                value=float(np.mean(right)),
                target=0.80 if fields == 3 else None,
                n=count,
            )
        )
    return rows


def judge_texts(engine: Engine, budget: ImageSeqLength, count: int, seed: int) -> list[Row]:
    """Judge words and numbers in fonts of the evaluation's own, to the letter."""
    rows = []
    for name, are_numbers in (("words", False), ("numbers", True)):
        pictures = draw_texts(np.random.default_rng((seed, int(are_numbers))), count, are_numbers=are_numbers)
        cases = [
            Case(picture=picture, question=text.OCR, expected=picture.writing.text)
            for picture in pictures
            if picture.writing is not None
        ]
        rows.append(score_exact(f"OCR, {name}", ask(engine, budget, cases, _SENTENCE_TOKENS), 0.80))
    return rows


def judge_backpacks(engine: Engine, budget: ImageSeqLength, count: int, seed: int) -> list[Row]:
    """Judge the first example: a number, which must be right, and then a sentence."""
    pictures = draw_backpacks(np.random.default_rng(seed), count)
    cases = [
        Case(
            picture=picture,
            question=BACKPACKS_QUESTION,
            system=BACKPACKS_SYSTEM,
            expected=str(sum(thing.kind == "backpack" for thing in picture.things)),
        )
        for picture in pictures
    ]
    pairs = ask(engine, budget, cases, _SENTENCE_TOKENS)
    return [
        score_exact("count_backpacks", [(expected, read_number(given)) for expected, given in pairs], 0.85)
    ]


def read_number(answer: str) -> str:
    """Return the number that an answer begins with; "" where none does or no words follow it.

    >>> read_number("2. There are 2 backpacks.")
    '2'
    >>> read_number("2")
    ''
    """
    found = _NUMBER_FIRST.match(answer)
    return "" if found is None else found.group(1)
