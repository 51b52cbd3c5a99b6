"""Find the JSON in what a model wrote."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass

from gemma4_block.errors import AnswerError
from gemma4_block.json_value import JsonValue
from gemma4_block.reading.excerpt import excerpt
from gemma4_block.reading.json_parser import MAX_DEPTH, Broken, Parsed, parse

__all__ = ["JsonReading", "JsonValue", "read_json"]

_OPENING = re.compile(r"[\[{]")
# Between values in a row: white space, commas, list markers, code fences, tags and surplus brackets.
_BETWEEN = re.compile(r"(?:[\s,;\]}]|\\n|[-*•][ \t]|\d{1,6}[.)][ \t]|```\w*|</?\|?[a-z_]{1,20}\|?>)*")


@dataclass(frozen=True, kw_only=True, slots=True)
class JsonReading:
    """The JSON of an answer.

    Attributes:
        value: An object or a list.
        is_complete: False where the text ended inside the JSON. Then a list keeps its complete entries and an
            object its complete members.

    """

    value: JsonValue
    is_complete: bool


def read_json(text: str, *, task: str, cut_off: str | None = None) -> JsonReading:
    """Read the object or list in a text, whatever stands around it and however carelessly it is written.

    Thoughts in Gemma 4's channel are passed over. Objects in a row, with nothing but commas, line breaks or
    code fences between them, are one list, and so are lists of objects; what repeats in them counts once.
    Among several values those with objects in them come first, then those whose texts stand in quotation
    marks; the last of the best is taken, also where it was cut, because a model corrects itself forwards.
    Words without quotation marks count only inside objects.

    A well-formed text reads as with `json.loads`: of duplicate keys the last counts. NaN, infinities and
    numbers beyond float become None, half a surrogate pair U+FFFD. The time taken grows with the length.

    Args:
        text: Written by a model.
        task: The task's name in messages.
        cut_off: Why the text ends early and what to do about it, for the error; None where it is whole.

    Returns:
        The value, and whether it was finished.

    Raises:
        AnswerError: There is no object or list, nothing in it is complete, or it nests too deeply.

    Example:
        >>> read_json("Sure! [{'label': 'cat',}, {'label': 'd", task="object-detection")
        JsonReading(value=[{'label': 'cat'}], is_complete=False)

    """
    spoken = _without_thoughts(text)
    rows: list[list[Parsed]] = []
    problem, advice = "holds no JSON; an object or a list is needed", "Ask again, or try a larger model."
    for start, found in _find(spoken):
        if isinstance(found, Parsed):
            # Square brackets around words, such as [sic], are prose.
            if not found.is_clean and not _holds_objects(found.value):
                continue
            if rows and _is_next_in_row(rows[-1][-1], found, spoken, start):
                rows[-1].append(found)
            else:
                rows.append([found])
        elif found.is_too_deep:
            rows, problem = [], f"nests JSON deeper than {MAX_DEPTH} levels, where 4 do"
            advice = "Ask again."
            break
        elif found.is_cut:
            problem = "ends before anything in its JSON is complete"
    if not rows:
        given = excerpt(text) if text.strip() else "an empty text"
        remedy = advice if cut_off is None else cut_off
        raise AnswerError(f"The answer to {task} {problem}. {remedy} It is {given}.", answer=text, task=task)
    return _join(max(reversed(rows), key=_rank))


def _without_thoughts(text: str) -> str:
    answer = text.rpartition("<channel|>")[2]
    return (answer if _OPENING.search(answer) else text).partition("<|channel>")[0]


def _find(text: str) -> Iterator[tuple[int, Parsed | Broken]]:
    opening = _OPENING.search(text)
    while opening is not None:
        found = parse(text, opening.start())
        yield opening.start(), found
        opening = _OPENING.search(text, found.end)


def _holds_objects(value: list[JsonValue] | dict[str, JsonValue]) -> bool:
    return bool(value) if isinstance(value, dict) else any(isinstance(entry, dict) for entry in value)


def _is_next_in_row(before: Parsed, found: Parsed, text: str, start: int) -> bool:
    is_list = _holds_objects(before.value) and _holds_objects(found.value)
    return is_list and _BETWEEN.fullmatch(text, before.end, start) is not None


def _rank(row: list[Parsed]) -> tuple[bool, bool]:
    return _holds_objects(row[0].value), all(found.is_clean for found in row)


def _join(row: list[Parsed]) -> JsonReading:
    is_complete = all(found.is_complete for found in row)
    if len(row) == 1:
        return JsonReading(value=row[0].value, is_complete=is_complete)
    entries: dict[str, JsonValue] = {}
    for found in row:
        # Of an object that was cut, only a part is left, which is no entry.
        whole = [found.value] if found.is_complete else []
        for entry in found.value if isinstance(found.value, list) else whole:
            entries[json.dumps(entry, sort_keys=True)] = entry
    is_one_object = len(entries) == 1 and all(isinstance(found.value, dict) for found in row)
    value: JsonValue = next(iter(entries.values())) if is_one_object else list(entries.values())
    return JsonReading(value=value, is_complete=is_complete)
