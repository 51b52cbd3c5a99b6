"""What a run of the benchmark found, as a file of JSON for a kind of processor."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.benchmarks.processors import KINDS, ProcessorKind

SAVED = Path(__file__).with_name("results")
"""Those that the pages show: a file for each kind of processor that was measured."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """A row as its line says it; see `Report`.

    Attributes:
        name: W1 and so on.
        case: What of it, where it has several.
        budget: Visual token budget.
        seconds: Medians, by engine; empty where only ratios were noted.
        ratio: Of the time of another engine to ours, by engine.
        over_floor: Of our time to the least that the machine could take; None where that was not noted.
        goals: What was to be reached.
        figures: All other numbers of the row.

    """

    name: str
    case: str = ""
    budget: int
    seconds: Mapping[str, float] = field(default_factory=dict)
    ratio: Mapping[str, float] = field(default_factory=dict)
    over_floor: float | None = None
    goals: Sequence[Mapping[str, Any]] = ()
    figures: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class Result:
    """A run on one machine.

    Attributes:
        machine: As it was measured, or what is known of it.
        kind: Of its processor.
        versions: Of the libraries.
        note: What a reader must know, such as that others used the machine too.
        rows: What was measured.
        left_out: Rows that there was no time for, and rows that failed.

    """

    machine: Mapping[str, Any]
    kind: ProcessorKind
    versions: Mapping[str, str] = field(default_factory=dict)
    note: str = ""
    rows: Sequence[Row] = ()
    left_out: Sequence[str] = ()


def read_row(content: Mapping[str, Any]) -> Row:
    """Read what `Report.to_line` wrote."""
    told = ("row", "case", "budget", "seconds", "ratio", "over_floor", "goals", "stages", "spread", "repeats")
    return Row(
        name=content["row"],
        case=content.get("case", ""),
        budget=content["budget"],
        seconds=content.get("seconds", {}),
        ratio=content.get("ratio", {}),
        over_floor=content.get("over_floor"),
        goals=content.get("goals", ()),
        figures={name: value for name, value in content.items() if name not in told and name != "floor_s"},
    )


def read_result(content: Mapping[str, Any]) -> Result:
    """Read a file's content, whose rows are the lines of the benchmark."""
    return Result(
        machine=content["machine"],
        kind=content["machine"]["kind"],
        versions=content.get("versions", {}),
        note=content.get("note", ""),
        rows=[read_row(row) for row in content["rows"]],
        left_out=content.get("left_out", ()),
    )


def read_saved() -> list[Result]:
    """Return the committed results, the most capable processors first."""
    paths = (SAVED / f"{kind}.json" for kind in KINDS)
    return [read_result(json.loads(path.read_text(encoding="utf-8"))) for path in paths if path.is_file()]


def write_result(lines: Sequence[str], left_out: Sequence[str], path: Path) -> Result:
    """Write what a run printed into a file, and return it.

    Args:
        lines: Of JSON: the machine's, and one for each row.
        left_out: Rows that there was no time for, and rows that failed.
        path: Of the file; its folder is made.

    Returns:
        The same, read.

    """
    head, *rows = (json.loads(line) for line in lines)
    content = {**head, "rows": rows, "left_out": list(left_out)}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    return read_result(content)
