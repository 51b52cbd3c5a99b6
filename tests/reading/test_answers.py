"""Answers as models write them, each read or refused as its file says."""

import pytest

from gemma4_block.errors import AnswerError
from gemma4_block.reading import BOX_CONTRACTS, find_class, read_boxes, read_json
from tests.reading.corpus import Case, load_cases

CASES = dict(load_cases())


def read(case: Case) -> object:
    """Run the reader for the kind of answer and write its reading as the files do."""
    if case.reader == "label":
        return find_class(case.text, case.classes)
    found = read_json(case.text, task="a task")
    if case.reader == "json":
        return {"value": found.value, "is_complete": found.is_complete}
    contract = BOX_CONTRACTS[case.box_format]
    reading = read_boxes(
        found.value, contract, image_size_wh=case.image_size_wh, task="a task", answer=case.text
    )
    return {
        "boxes": [[box.label, box.entry, *box.box_xyxy_px] for box in reading.boxes],
        "skipped": reading.skipped,
        "is_complete": found.is_complete,
    }


def test_the_corpus_is_large() -> None:
    """A folder that is not found would let every other test here pass."""
    assert len(CASES) >= 130


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case.refusal is None])
def test_an_answer_is_read(name: str) -> None:
    """The reading is what the file says."""
    assert CASES[name].expected == read(CASES[name])


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case.refusal is not None])
def test_an_answer_is_refused(name: str) -> None:
    """The message says why, the error carries the whole answer, and nothing is read as `no objects`."""
    case = CASES[name]
    with pytest.raises(AnswerError, match=case.refusal) as caught:
        read(case)
    assert (case.text, "a task") == (caught.value.answer, caught.value.task)
