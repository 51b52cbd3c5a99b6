"""Read the texts, numbers and words inside JSON as models write them."""

import math
import re
from dataclasses import dataclass

# Typographic quotation marks, in the order of Unicode: left, right, low.
_SINGLE_MARKS, _DOUBLE_MARKS = "\u2018\u2019", "\u201c\u201d\u201e"

_TAG = r"</?\|?[a-z_]{1,20}\|?>"
# White space, also as an escape where the whole JSON was escaped; comments; control tokens and tags.
_PADDING = re.compile(
    rf"(?:[\s\ufeff\u200b]|\\[nrt]|//[^\n]*|\#[ \t][^\n]*|/\*.*?(?:\*/|\Z)|{_TAG})*", re.DOTALL
)
# `<|"|>` is how Gemma 4 quotes a text in a tool call.
_OPENING_QUOTE = re.compile(rf"""<\|"\|>|\\"|["'{_SINGLE_MARKS}{_DOUBLE_MARKS}]""")
_CLOSING_QUOTES = {
    '<|"|>': re.compile(r'(?P<quote><\|"\|>)'),
    '\\"': re.compile(r'(?P<quote>\\")'),
    '"': re.compile(r'\\.|(?P<quote>")', re.DOTALL),
    "'": re.compile(r"\\.|(?P<quote>')", re.DOTALL),
    **dict.fromkeys(_DOUBLE_MARKS, re.compile(rf'\\.|(?P<quote>[{_DOUBLE_MARKS}"])', re.DOTALL)),
    **dict.fromkeys(_SINGLE_MARKS, re.compile(rf"\\.|(?P<quote>[{_SINGLE_MARKS}'])", re.DOTALL)),
}
# Follows the end of a quoted text; another text only after white space, where a comma was forgotten.
_AFTER_TEXT = re.compile(
    rf"""\s*(?:[,:}}\]]|\\[nrt]|//|/\*|\#|```|{_TAG}|\Z)|\s+[\[{{"'{_SINGLE_MARKS[0]}{_DOUBLE_MARKS[0]}]"""
)
_WORD = rf"""(?!\#[ \t])(?:(?!//|/\*)[^\s,:\[\]{{}}"{_DOUBLE_MARKS}\\<`])+"""
_WORDS = re.compile(rf"{_WORD}(?:[ \t]+{_WORD})*")
_NUMBER = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?")
_ESCAPE = re.compile(r"\\(?:u([0-9a-fA-F]{4})|(.))", re.DOTALL)
_ESCAPED = {"n": "\n", "r": "\r", "t": "\t", "b": "\b", "f": "\f"}
_CONSTANTS = {
    "true": True,
    "false": False,
    **dict.fromkeys(("null", "none", "undefined", "nan"), None),
    **{sign + name: None for sign in ("", "+", "-") for name in ("infinity", "inf")},
}
# float holds 309 digits; int() refuses more than 4300.
_MAX_NUMBER_CHARACTERS = 400

Scalar = bool | int | float | str | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Span:
    """A piece of the text and what it says.

    Attributes:
        text: What it says, without quotation marks and escapes.
        end: Where it ends.
        is_quoted: Whether quotation marks made it text.

    """

    text: str
    end: int
    is_quoted: bool


def skip_padding(text: str, start: int) -> int:
    """Return where the next thing that means something begins."""
    padding = _PADDING.match(text, start)
    assert padding is not None, "it may be empty"
    return padding.end()


def read_span(text: str, start: int) -> Span | None:
    """Read the quoted text or the run of words that begins at `start`.

    A quotation mark inside a quoted text ends it only where JSON could go on after it, so that
    `"the "big" one"` is one text.

    Args:
        text: Written by a model.
        start: Where something that means something begins.

    Returns:
        What it says; a text that is never closed has no quotation marks and ends where `text` ends. None
        where neither begins.

    """
    opening = _OPENING_QUOTE.match(text, start)
    if opening is not None:
        return _read_quoted(text, opening)
    words = _WORDS.match(text, start)
    if words is None:
        return None
    return Span(text=_whole(words.group()), end=words.end(), is_quoted=False)


def read_words(words: str) -> Scalar:
    """Return the number or constant that `words` are, else the words.

    NaN, the infinities and numbers beyond float become None: no JSON has them, and no box survives them.

    >>> read_words("True"), read_words("12"), read_words("-1.5e2"), read_words("NaN"), read_words("red ball")
    (True, 12, -150.0, None, 'red ball')
    """
    if words.lower() in _CONSTANTS:
        return _CONSTANTS[words.lower()]
    if not is_number(words):
        return words
    if len(words) > _MAX_NUMBER_CHARACTERS or not math.isfinite(float(words)):
        return None
    return float(words) if any(sign in words for sign in ".eE") else int(words)


def is_number(words: str) -> bool:
    """Whether `words` are one decimal number."""
    return words.isascii() and _NUMBER.fullmatch(words) is not None


def _read_quoted(text: str, opening: re.Match[str]) -> Span:
    is_inside_inner = False
    for mark in _CLOSING_QUOTES[opening.group()].finditer(text, opening.end()):
        if mark["quote"] is None:
            continue
        if not _AFTER_TEXT.match(text, mark.end()):
            if text[mark.end()].isalnum():
                is_inside_inner = is_inside_inner or text[mark.start() - 1].isspace()
                continue
            if is_inside_inner:
                is_inside_inner = False
                continue
        return Span(text=_unescape(text[opening.end() : mark.start()]), end=mark.end(), is_quoted=True)
    return Span(text="", end=len(text), is_quoted=False)


def _unescape(text: str) -> str:
    return _whole(_ESCAPE.sub(_unescape_one, text) if "\\" in text else text)


def _unescape_one(escape: re.Match[str]) -> str:
    code, letter = escape.groups()
    return _ESCAPED.get(letter, letter) if code is None else chr(int(code, 16))


def _whole(text: str) -> str:
    """Join surrogate pairs; half of one is no character and becomes U+FFFD."""
    return text if text.isascii() else text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
