"""Print replies: for people as text, tables and pictures, for programs as lines of JSON."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from gemma4_block.cli.boxes_picture import draw_boxes, save_beside_others
from gemma4_block.cli.replies import Reply
from gemma4_block.cli.wording import in_terminal_words
from gemma4_block.tasks import Classification, ClassScore, Detections, MultiLabelClassification, Task

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gemma4_block.reading import JsonValue
    from gemma4_block.tasks import Result


class Printer(Protocol):
    """Prints replies as they come."""

    def print(self, reply: Reply) -> None:
        """Print one reply; errors go to stderr.

        Args:
            reply: About one picture.

        Raises:
            ConfigurationError: A picture with boxes cannot be saved.

        """


class LinePrinter:
    """Prints the answer of every picture as one line of JSON, `null` where there is none.

    Args:
        task: What was asked.

    """

    def __init__(self, task: Task) -> None:
        self._is_json = task.gives.parsed != "none"

    def print(self, reply: Reply) -> None:
        """Print one line; thoughts are left out.

        Args:
            reply: About one picture.

        """
        value: JsonValue = None
        if reply.result is not None:
            value = reply.result.parsed if self._is_json else reply.result.output
        typer.echo(json.dumps(value, ensure_ascii=False))
        print_error(reply)


class PagePrinter:
    """Prints texts as they are and JSON as tables, and draws boxes into copies of the pictures.

    Args:
        task: What was asked.
        names_pictures: Whether to say which picture an answer is about.
        output: Folder for pictures with boxes.

    """

    def __init__(self, task: Task, *, names_pictures: bool, output: Path) -> None:
        self._task = task
        self._names_pictures = names_pictures
        self._output = output
        self._console = Console(highlight=False)

    def print(self, reply: Reply) -> None:
        """Print one answer, and save a picture where there are boxes.

        Args:
            reply: About one picture.

        Raises:
            ConfigurationError: The picture cannot be saved.

        """
        if reply.answer is not None and reply.answer.thinking:
            typer.secho(f"{self._heading(reply.path)}{reply.answer.thinking}", dim=True)
        if reply.result is not None:
            self._print_result(reply.path, reply.result)
            self._draw(reply, reply.result)
        print_error(reply)
        if reply.error is None and reply.answer is not None and reply.answer.finish_reason == "length":
            typer.echo(f"{self._heading(reply.path)}(cut off at --max-new-tokens)", err=True)

    def _print_result(self, path: Path, result: "Result") -> None:
        table = make_table(self._task, result)
        if table is None:
            separator = "\n" if self._names_pictures and "\n" in result.output else ""
            typer.echo(f"{self._heading(path)}{separator}{result.output}")
            return
        if self._names_pictures:
            # A title would be broken to the width of the table.
            typer.secho(path, bold=True)
        self._console.print(table)

    def _heading(self, path: Path) -> str:
        return f"{path}: " if self._names_pictures else ""

    def _draw(self, reply: Reply, result: "Result") -> None:
        if isinstance(result.predictions, Detections) and result.predictions.items:
            assert reply.image is not None, "what was answered was seen"
            picture = draw_boxes(reply.image, result.predictions)
            saved = save_beside_others(picture, self._output, f"{reply.path.stem}-boxes")
            typer.echo(f"The boxes are drawn in {saved}")


def print_error(reply: Reply) -> None:
    """Print why there is no answer, or only a part, on one line of stderr that names the picture.

    Args:
        reply: About one picture; where all went well nothing is printed.

    """
    if reply.error is not None:
        text = " ".join(in_terminal_words(reply.error).split())
        typer.echo(text if str(reply.path) in text else f"{reply.path}: {text}", err=True)


def make_table(task: Task, result: "Result") -> Table | None:
    """Lay out what a task read.

    Args:
        task: What was asked.
        result: What it read.

    Returns:
        A table; None where the answer is a text, a number or another single value.

    """
    match result.predictions:
        case Classification(scores=scores):
            return _fill(("class", "confidence"), [[one.class_name, _score(one)] for one in _rank(scores)])
        case MultiLabelClassification(scores=scores, present=present):
            rows = [
                [one.class_name, "yes" if one.class_name in present else "no", _score(one)] for one in scores
            ]
            return _fill(("class", "in the image", "confidence"), rows)
        case Detections(items=items):
            headings = ("class", "confidence", "left", "top", "right", "bottom")
            return _fill(
                headings,
                [
                    [one.class_name, _number(one.confidence), *(f"{side:.0f}" for side in one.box_xyxy_px)]
                    for one in items
                ],
            )
    match result.parsed:
        case dict() as fields:
            first, second = ("class", "count") if task.takes.classes == "required" else ("field", "value")
            return _fill((first, second), [[name, _text(value)] for name, value in fields.items()])
        case list() as values:
            return _fill(("value",), [[_text(value)] for value in values])
    return None


def _fill(headings: "Sequence[str]", rows: "Sequence[Sequence[str]]") -> Table:
    table = Table(box=None, pad_edge=False)
    for place, heading in enumerate(headings):
        is_name = place == 0 or heading in {"value", "in the image"}
        table.add_column(heading, justify="left" if is_name else "right", overflow="fold")
    for row in rows:
        # As texts, because brackets would be taken for styles.
        table.add_row(*map(Text, row))
    return table


def _rank(scores: "Sequence[ClassScore]") -> list[ClassScore]:
    return sorted(scores, key=lambda one: 0.0 if one.confidence is None else -one.confidence)


def _score(score: ClassScore) -> str:
    return _number(score.confidence)


def _number(confidence: float | None) -> str:
    return "unknown" if confidence is None else f"{confidence:.2f}"


def _text(value: "JsonValue") -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
