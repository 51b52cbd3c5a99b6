"""Whatever a model writes, a reading is sound or is refused."""

import json
import math

from hypothesis import given, settings
from hypothesis import strategies as st

from gemma4_block.errors import AnswerError
from gemma4_block.reading import BOX_CONTRACTS, BoxFormat, JsonValue, find_class, read_boxes, read_json
from tests.reading.corpus import load_cases

CORPUS = [case.text for _, case in load_cases()]
SIGNS = "[]{}\",:'`<>|/*#\\ \n0123456789.-+eE\u201c\u201d\u2018\u2019\ufeff\ud83dNaN"
PIECES = st.sampled_from(
    [
        *SIGNS,
        '"box_2d": ',
        '"label": ',
        "NaN",
        "Infinity",
        "true",
        "1e999",
        "<|channel>",
        "<channel|>",
        "```json\n",
    ]
)


@st.composite
def mutations(draw: st.DrawFn) -> str:
    """Draw an answer of the corpus with parts cut out, swapped and put in."""
    text = draw(st.sampled_from(CORPUS))
    for _ in range(draw(st.integers(1, 6))):
        first, second = sorted(draw(st.tuples(*[st.integers(0, len(text))] * 2)))
        match draw(st.sampled_from(["cut", "end", "insert", "swap", "double"])):
            case "cut":
                text = text[:first] + text[second:]
            case "end":
                text = text[:second]
            case "insert":
                text = text[:first] + draw(PIECES) + text[first:]
            case "swap":
                text = text[second:] + text[first:second] + text[:first]
            case _:
                text = text[:second] + text[first:]
    return text


def check_value(value: JsonValue) -> None:
    """Refuse what no JSON holds and no text may hold."""
    if isinstance(value, float):
        assert math.isfinite(value)
    elif isinstance(value, str):
        value.encode()
    elif isinstance(value, list | dict):
        for inner in value if isinstance(value, list) else [*value.keys(), *value.values()]:
            check_value(inner)


@given(
    text=mutations() | st.text(st.sampled_from(SIGNS)) | st.lists(PIECES).map("".join) | st.text(),
    name=st.sampled_from(list(BOX_CONTRACTS)),
    size_wh=st.tuples(st.integers(1, 10_000), st.integers(1, 10_000)),
)
@settings(deadline=None, max_examples=2000)
def test_a_reading_is_sound_or_an_answer_error(text: str, name: BoxFormat, size_wh: tuple[int, int]) -> None:
    """No other error comes out, no number that is none, and no box that leaves the image."""
    assert find_class(text, ["cat", "dog"]) in {None, "cat", "dog"}
    try:
        found = read_json(text, task="t")
        check_value(found.value)
        json.dumps(found.value, allow_nan=False)
        reading = read_boxes(found.value, BOX_CONTRACTS[name], image_size_wh=size_wh, task="t", answer=text)
    except AnswerError as error:
        assert error.answer == text  # noqa: PT017 - both may happen
        return
    entries = len(reading.boxes) + reading.skipped + reading.flat
    assert reading.boxes or reading.flat or not entries
    for box in reading.boxes:
        x1, y1, x2, y2 = box.box_xyxy_px
        assert 0 <= x1 < x2 <= size_wh[0]
        assert 0 <= y1 < y2 <= size_wh[1]
        assert box.entry < entries
