"""JSON is found in any text, in time that grows with its length."""

import json
import time
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gemma4_block.errors import AnswerError
from gemma4_block.reading import JsonValue, read_json

# A pipe makes control tokens, which are passed over on purpose.
CHARACTERS = st.characters(codec="utf-8", exclude_characters="|")
SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
VALUES = st.recursive(
    SCALARS | st.text(CHARACTERS),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(CHARACTERS), inner),
    max_leaves=12,
)


@given(
    st.lists(VALUES) | st.dictionaries(st.text(CHARACTERS), VALUES),
    st.sampled_from([{}, {"ensure_ascii": False}, {"indent": 1}, {"separators": (",", ":")}]),
)
@settings(deadline=None, max_examples=300)
def test_well_formed_json_reads_as_json_loads_reads_it(value: JsonValue, form: dict[str, Any]) -> None:
    """Forgiveness never changes what needs none."""
    text = json.dumps(value, **form)

    found = read_json(text, task="t")

    assert found.is_complete
    assert text == json.dumps(found.value, **form)


@given(st.lists(st.dictionaries(st.text(CHARACTERS, min_size=1), VALUES, min_size=1), min_size=1), st.data())
@settings(deadline=None, max_examples=50)
def test_a_cut_list_keeps_its_first_entries(entries: list[JsonValue], data: st.DataObject) -> None:
    """Wherever a list is cut, what is left are entries that the model wrote, and it is known to be cut."""
    text = json.dumps(entries)
    cut = text[: data.draw(st.integers(1, len(text) - 1), label="length")]
    try:
        found = read_json(cut, task="t")
    except AnswerError as error:
        assert "ends before anything in its JSON is complete" in str(error)  # noqa: PT017 - both may happen
        return
    assert isinstance(found.value, list)
    assert not found.is_complete
    assert json.dumps(entries[: len(found.value)]) == json.dumps(found.value)


def test_constants_are_no_numbers() -> None:
    """True is not 1, and a whole number is not a fraction."""
    assert json.dumps(read_json("[True, FALSE, 1, 1.0]", task="t").value) == "[true, false, 1, 1.0]"


@pytest.mark.parametrize(
    ("number", "expected"),
    [
        ("9" * 308, int("9" * 308)),
        ("9" * 309, None),
        ("9" * 100_000, None),
        ("0" * 5000, None),
        ("1e309", None),
    ],
    ids=["308 digits", "309 digits", "100,000 digits", "zeros", "exponent"],
)
def test_a_number_beyond_float_is_none(number: str, expected: int | None) -> None:
    """What no float holds, or nobody would write, can be no place and no count."""
    assert read_json(f'{{"n": {number}}}', task="t").value == {"n": expected}


@pytest.mark.parametrize("depth", [64, 65, 100_000])
def test_deep_nesting_is_refused(depth: int) -> None:
    """Whatever walks over the value later may recurse."""
    text = "[" * depth + "1" + "]" * depth
    if depth <= 64:
        assert json.loads(text) == read_json(text, task="t").value
    else:
        with pytest.raises(AnswerError, match="nests JSON deeper than 64 levels"):
            read_json(text, task="t")


@pytest.mark.parametrize(("prefix", "suffix"), [("", ""), ("[{'a': 1}, ", '"]}')], ids=["alone", "in a list"])
@pytest.mark.parametrize(
    "part",
    [
        *("[", "{", '"', "'", "\\", "/*", "#", " ", "- ", "1", "9e", "```", "\ufeff", "\udc00"),
        *(
            "[1,",
            "[/*",
            "[a ",
            '["\\"',
            '[{"a":',
            "[{'a':1}:",
            '[{"a":1 : {',
            '[{"a":1}]] ',
            '[{"a":1, ] , "b',
        ),
        *('{"', "{a", '{"a', '{"a" ', '{"a"]', '{"a":1}', '{"a":1},', '{"a":1 /*', '{"a":"b" "', '{"a":"b\\'),
        *("{'a':'b ' c", '{"a":"b "c', "<|channel>", "<channel|>{", "\\n", '{"a":[1}', "[[1}", "} ", "``"),
    ],
)
def test_time_grows_with_the_length(part: str, prefix: str, suffix: str) -> None:
    """No text makes the reader go over it again and again: a quadratic one would take minutes here."""
    text = prefix + part * (200_000 // len(part)) + suffix
    start = time.process_time()
    with suppress(AnswerError):
        read_json(text, task="t")
    # About 1 s is measured for the worst; the rest is for slow machines.
    assert time.process_time() - start < 10


def test_the_message_is_short_and_says_what_to_do() -> None:
    """A long answer is quoted by its ends."""
    with pytest.raises(AnswerError) as caught:
        read_json("no " * 1000, task="object-detection")

    assert str(caught.value) == (
        "The answer to object-detection holds no JSON; an object or a list is needed. Ask again, or try a "
        f"larger model. It is '{'no ' * 20}' ... '{'no ' * 20}' (3000 characters)."
    )
