"""Parse one JSON value as models write it: forgivingly, in one pass, and without recursion."""

import re
from dataclasses import dataclass

from gemma4_block.json_value import JsonValue
from gemma4_block.reading.json_scalars import is_number, read_span, read_words, skip_padding

MAX_DEPTH = 64
"""No task asks for more than 4; functions that walk over a value may recurse this far in safety."""

_MORE_MEMBERS = re.compile(r"""\s*,\s*["'“\w][^,:\[\]{}]*:""")


@dataclass(frozen=True, kw_only=True, slots=True)
class Parsed:
    """A value that could be read.

    Attributes:
        value: An object or a list; duplicate keys keep the last value, as in `json.loads`.
        end: Where it ends in the text.
        is_complete: Whether it was closed before the text, or the code fence around it, ended. Where not, a
            list keeps its complete entries and an object its complete members.
        is_clean: Whether no text in it lacks quotation marks and no entry was given up.

    """

    value: list[JsonValue] | dict[str, JsonValue]
    end: int
    is_complete: bool
    is_clean: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class Broken:
    """Text that looked like a value and is none.

    Attributes:
        end: Where to look for the next one.
        is_cut: Whether the text ended before anything in the value was complete.
        is_too_deep: Whether it nests deeper than `MAX_DEPTH`.

    """

    end: int
    is_cut: bool = False
    is_too_deep: bool = False


@dataclass(kw_only=True, slots=True)
class _Frame:
    """A list or object that is still open; an object's `key` waits for a colon, then for its value."""

    container: list[JsonValue] | dict[str, JsonValue]
    key: str | None = None
    has_colon: bool = False


def parse(text: str, start: int) -> Parsed | Broken:
    """Parse the object or list that begins at `start`.

    Beyond JSON it takes comments, control tokens, any quotation marks or none, Python's constants, and
    forgotten or surplus commas and brackets. An entry of a list of objects that cannot be read all the same
    becomes None and its neighbours stay.

    Args:
        text: Written by a model.
        start: Where `{` or `[` stands.

    Returns:
        The value, or why there is none.

    """
    return _Parser(text, start).run()


class _Parser:
    def __init__(self, text: str, start: int) -> None:
        self._text = text
        self._start = self._at = start
        self._frames: list[_Frame] = []
        self._root: list[JsonValue] | dict[str, JsonValue] | None = None
        self._is_clean = True

    def run(self) -> Parsed | Broken:
        while self._root is None:
            self._at = skip_padding(self._text, self._at)
            if self._at == len(self._text) or self._text.startswith("```", self._at):
                return self._cut()
            if len(self._frames) > MAX_DEPTH:
                return Broken(end=self._at, is_too_deep=True)
            if not self._step() and not self._give_up_entry():
                return Broken(end=max(self._at, self._start + 1))
        return Parsed(value=self._root, end=self._at, is_complete=True, is_clean=self._is_clean)

    def _step(self) -> bool:
        """Take in what comes next; False where it cannot stand there."""
        sign = self._text[self._at]
        steps = {"{": self._open, "[": self._open, "}": self._close_object, "]": self._close_list}
        steps |= {",": self._separate, ":": self._take_colon}
        if sign not in steps:
            return self._take_scalar()
        if not steps[sign]():
            return False
        self._at += 1
        return True

    def _open(self) -> bool:
        if self._frames and self._waits_for_key():
            return False
        self._frames.append(_Frame(container={} if self._text[self._at] == "{" else []))
        return True

    def _close_object(self) -> bool:
        frame = self._frames[-1]
        if isinstance(frame.container, list):
            # In `{"box_2d": [1, 2, 3, 4}` the list's bracket was forgotten; else the brace is surplus.
            if len(self._frames) == 1 or isinstance(self._frames[-2].container, list):
                return True
            self._pop()
            return self._close_object()
        if not self._separate():
            return False
        self._pop()
        return True

    def _close_list(self) -> bool:
        if isinstance(self._frames[-1].container, dict):
            is_in_list = len(self._frames) > 1 and isinstance(self._frames[-2].container, list)
            if not is_in_list or _MORE_MEMBERS.match(self._text, self._at + 1):
                return True
            # In `[{"label": "cat"]` the object's brace was forgotten.
            if not self._separate():
                return False
            self._pop()
        self._pop()
        return True

    def _separate(self) -> bool:
        frame = self._frames[-1]
        if frame.key is not None:
            if not frame.has_colon:
                return False
            self._put(None)
        return True

    def _take_colon(self) -> bool:
        frame = self._frames[-1]
        if frame.key is None or frame.has_colon:
            return False
        frame.has_colon = True
        return True

    def _take_scalar(self) -> bool:
        frame = self._frames[-1]
        if frame.key is not None and not frame.has_colon:
            return False
        span = read_span(self._text, self._at)
        if span is None:
            return False
        self._at = span.end
        # A scalar that touches the end of the text may be cut: `12` may be the beginning of `120`.
        if span.end == len(self._text) and not span.is_quoted:
            return True
        if self._waits_for_key():
            frame.key = span.text
        elif span.is_quoted:
            self._put(span.text)
        else:
            self._put_words(span.text)
        return True

    def _put_words(self, words: str) -> None:
        parts = words.split()
        container = self._frames[-1].container
        if isinstance(container, list) and all(map(is_number, parts)):
            container.extend(map(read_words, parts))
            return
        value = read_words(words)
        self._is_clean = self._is_clean and not isinstance(value, str)
        self._put(value)

    def _waits_for_key(self) -> bool:
        frame = self._frames[-1]
        return isinstance(frame.container, dict) and not frame.has_colon

    def _put(self, value: JsonValue) -> None:
        frame = self._frames[-1]
        if isinstance(frame.container, list):
            frame.container.append(value)
            return
        assert frame.key is not None, "a value in an object comes after a colon"
        frame.container[frame.key] = value
        frame.key, frame.has_colon = None, False

    def _pop(self) -> None:
        value = self._frames.pop().container
        if self._frames:
            self._put(value)
        else:
            self._root = value

    def _give_up_entry(self) -> bool:
        """Put None for an entry that cannot be read and go on at the next; False outside lists of objects."""
        places = [place for place, frame in enumerate(self._frames) if isinstance(frame.container, list)]
        if not places:
            return False
        entries, inner = self._frames[places[0]], self._frames[places[0] + 1 :]
        is_in_object = bool(inner) and isinstance(inner[0].container, dict) and bool(inner[0].container)
        # Square brackets are common in prose; only objects show that this is a list of entries.
        if not is_in_object and not any(isinstance(entry, dict) for entry in entries.container):
            return False
        del self._frames[places[0] + 1 :]
        self._put(None)
        self._is_clean = False
        self._at = self._find_next_entry()
        return True

    def _find_next_entry(self) -> int:
        for place in (self._text.find("{", self._at), self._text.rfind("]", self._at)):
            if place >= 0:
                return place
        return len(self._text)

    def _cut(self) -> Parsed | Broken:
        """Keep what is complete: of objects their members, of lists their entries."""
        value: list[JsonValue] | dict[str, JsonValue] = []
        for frame in reversed(self._frames):
            if value and isinstance(frame.container, dict) and frame.key is not None:
                frame.container[frame.key] = value
            value = frame.container
        if not value:
            return Broken(end=self._at, is_cut=True)
        return Parsed(value=value, end=self._at, is_complete=False, is_clean=self._is_clean)
