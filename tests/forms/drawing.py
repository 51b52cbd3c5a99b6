"""A form as an SVG picture: the same text every time, so that a test can compare it."""

from html import escape
from itertools import accumulate
from textwrap import wrap
from typing import Final

from tests.forms.form import Form, FormField

_COLUMN_WIDTH: Final = 440
_MARGIN: Final = 24
_HEADER_HEIGHT: Final = 84
_LINE_HEIGHT: Final = 15
# Letters of 11 pixels that fit beside each other, with room for fonts that are wide.
_LETTERS_A_LINE: Final = 70
_CONTROL_HEIGHTS: Final = {"area": 54, "choice": 28, "connection": 28, "text": 28, "switch": 22}
_GAP: Final = 30

_STYLE: Final = """
text{font-family:Helvetica,Arial,sans-serif;fill:#1f2430}
.name{font-size:19px;font-weight:bold}.short{font-size:12px;fill:#5b6170}
.section{font-size:12px;font-weight:bold;fill:#7a3ff2;letter-spacing:.6px}
.title{font-size:13px;font-weight:bold}.need{fill:#d03050}.note{font-size:11px;fill:#5b6170}
.key{font-size:11px;fill:#9aa0ad;text-anchor:end}.when{font-size:11px;fill:#7a3ff2}.value{font-size:12px}.example{font-size:12px;fill:#9aa0ad}
.box{fill:#fff;stroke:#c7cbd6}.sheet{fill:#f7f7fa;stroke:#dcdfe8}.hidden .box{stroke-dasharray:4 3}
.line{stroke:#dcdfe8}.gem{fill:none;stroke:#7a3ff2;stroke-width:2;stroke-linejoin:round}
""".strip().replace("\n", "")


def draw(form: Form) -> str:
    """Return the picture of a form.

    Args:
        form: What to draw.

    Returns:
        SVG.

    """
    columns = (("", form.main), ("OPTIONAL PROPERTIES", form.optional))
    heights = [sum(map(_height, fields)) for _, fields in columns]
    width = 2 * _COLUMN_WIDTH + 3 * _MARGIN
    height = _HEADER_HEIGHT + 30 + max(heights) + _MARGIN
    opening = (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
        f'viewBox="0 0 {width} {height}" role="img" aria-label="{escape(f"The form of {form.name}")}">'
    )
    parts = [
        opening,
        f"<style>{_STYLE}</style>",
        f'<rect class="sheet" x=".5" y=".5" width="{width - 1}" height="{height - 1}" rx="10"/>',
        *_draw_header(form, width),
    ]
    for place, (heading, fields) in enumerate(columns):
        left = _MARGIN + place * (_COLUMN_WIDTH + _MARGIN)
        parts.append(_text(left, _HEADER_HEIGHT + 16, "section", heading))
        tops = accumulate(map(_height, fields), initial=_HEADER_HEIGHT + 34)
        for field, top in zip(fields, tops, strict=False):
            parts.extend(_draw_field(field, left, top))
    return "\n".join([*(part for part in parts if part), "</svg>", ""])


def _draw_header(form: Form, width: int) -> list[str]:
    shape = "tags" if form.icon.endswith("fa-tags") else "gem"
    outlines = {
        "gem": "M32 26h20l8 11-18 22-18-22z M24 37h36 M42 59l-8-22 4-11 M42 59l8-22-4-11",
        "tags": "M28 28h14l16 16-14 14-16-16z M46 28l18 18-11 11 M35 35h1",
    }
    return [
        f'<path class="gem" d="{outlines[shape]}"/>',
        _text(76, 40, "name", form.name),
        _text(76, 60, "short", f"{form.short_description}  ({form.icon})"),
        f'<path class="line" d="M0 {_HEADER_HEIGHT - 8}H{width}"/>',
    ]


def _draw_field(field: FormField, left: int, top: int) -> list[str]:
    lines = [f'<g class="{"field" if field.is_shown_at_first else "hidden"}">']
    need = '<tspan class="need"> *</tspan>' if field.is_required else ""
    lines.append(f'<text x="{left}" y="{top}" class="title">{escape(field.title)}{need}</text>')
    right = left + _COLUMN_WIDTH
    lines.append(f'<text x="{right}" y="{top}" class="key">{escape(field.name)}</text>')
    y = top + 4
    for words in _condition_lines(field):
        y += _LINE_HEIGHT
        lines.append(_text(left, y - 3, "when", words))
    lines.extend(_draw_control(field, left, y + 4))
    y += _CONTROL_HEIGHTS[field.control] + 6
    for words in _lines(field.description):
        y += _LINE_HEIGHT
        lines.append(_text(left, y, "note", words))
    return [*lines, "</g>"]


def _draw_control(field: FormField, left: int, top: int) -> list[str]:
    height = _CONTROL_HEIGHTS[field.control]
    style = "example" if field.is_example else "value"
    if field.control == "switch":
        return [
            f'<rect class="box" x="{left}" y="{top}" width="36" height="{height - 2}" rx="10"/>',
            f'<circle class="box" cx="{left + 10}" cy="{top + 10}" r="7"/>',
        ]
    shown = f"e.g. {field.shown}" if field.is_example else field.shown
    (first, *rest) = wrap(shown, _LETTERS_A_LINE - 8) or [""]
    right = left + _COLUMN_WIDTH
    marks = {
        "choice": f"M{right - 22} {top + 12}l5 5 5-5",
        "connection": f"M{right - 24} {top + 14}h12m-4-4l4 4-4 4",
    }
    mark = marks.get(field.control)
    return [
        f'<rect class="box" x="{left}" y="{top}" width="{_COLUMN_WIDTH}" height="{height}" rx="5"/>',
        _text(left + 10, top + 19, style, f"{first} ..." if rest else first),
        "" if mark is None else f'<path class="gem" d="{mark}"/>',
    ]


def _height(field: FormField) -> int:
    lines = len(_condition_lines(field)) + len(_lines(field.description))
    return 10 + lines * _LINE_HEIGHT + _CONTROL_HEIGHTS[field.control] + _GAP


def _condition_lines(field: FormField) -> list[str]:
    return [] if field.condition is None else _lines(f"Shown where {field.condition}.")


def _lines(text: str) -> list[str]:
    return wrap(text, _LETTERS_A_LINE, break_on_hyphens=False)


def _text(x: int, y: int, style: str, text: str) -> str:
    return f'<text x="{x}" y="{y}" class="{style}">{escape(text)}</text>' if text else ""
