"""A run of the benchmark on one screen: ratios beside their goals, and how far ours is from the floor."""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from tests.benchmarks.results import Result, Row

WIDTH = 100
"""Columns of the screen that a summary fits."""

HEIGHT = 48
"""And its lines."""

_COMPARED = ("peer", "plain", "vllm")
_CALLERS = "W10"
_ENGINES = "W11"
_ENGINES_A_LINE = 4


def summarize(result: Result) -> Iterator[str]:
    """Yield the lines of a summary."""
    yield _cut(_describe_machine(result.machine, result.versions))
    yield f"{'row':<4}{'tokens':>7}{'ours s':>9}{'floor x':>9}" + "".join(
        f"{f'{name} x':>14}" for name in _COMPARED
    )
    for row in result.rows:
        if row.name not in (_CALLERS, _ENGINES):
            yield _compare(row)
    yield from _tell_callers(row for row in result.rows if row.name == _CALLERS)
    yield from _tell_engines(row for row in result.rows if row.name == _ENGINES)
    yield from _tell_other_goals(result.rows)
    reached = [goal["is_reached"] for row in result.rows for goal in row.goals]
    yield f"{sum(reached)} of {len(reached)} goals reached"
    if result.left_out:
        yield _cut(f"left out: {', '.join(result.left_out)}")


def _describe_machine(machine: Mapping[str, Any], versions: Mapping[str, str]) -> str:
    said = [
        str(machine["kind"]),
        str(machine["cpu"]),
        str(machine["dtype"]),
        f"{machine['threads']} thread(s)",
    ]
    return " · ".join([*said, *(f"{name} {number}" for name, number in versions.items())])


def _compare(row: Row) -> str:
    ours = row.seconds.get("ours", math.nan)
    floor = "-" if row.over_floor is None else f"{row.over_floor:.2f}"
    return f"{row.name:<4}{row.budget:>7}{ours:>9.3g}{floor:>9}" + "".join(
        f"{_ratio(row, name):>14}" for name in _COMPARED
    )


def _ratio(row: Row, name: str) -> str:
    """Return a ratio, with what it should be at least and a mark where it is not."""
    if name not in row.ratio:
        return "-"
    goals = [goal for goal in row.goals if goal["name"] == f"{name} / ours, seconds"]
    said = f"{row.ratio[name]:.2f}"
    for goal in goals:
        said += f" {'ok' if goal['is_reached'] else '<'} {goal['at_least']:g}"
    return said


def _tell_callers(rows: Iterator[Row]) -> Iterator[str]:
    for row in rows:
        names = [name.removesuffix("_p95_s") for name in row.figures if name.endswith("_p95_s")]
        told = "; ".join(
            f"{name} {row.figures[f'{name}_answers_per_minute']:.1f} answers a minute, "
            f"p95 {row.figures[f'{name}_p95_s']:.1f} s"
            for name in names
        )
        yield _cut(f"{row.name:<4}{row.budget:>7}  {row.figures['callers']:.0f} callers: {told}")


def _tell_engines(rows: Iterator[Row]) -> Iterator[str]:
    """Tell how many times as long as ours the others take; below 1 they are faster."""
    for row in rows:
        yield f"{row.name:<4}{row.seconds['ours']:>7.3g}  {row.case}, seconds of ours, and of it:"
        told = [f"{name} {ratio:.2f}x" for name, ratio in row.ratio.items()]
        for place in range(0, len(told), _ENGINES_A_LINE):
            yield _cut(f"{'':<13}{', '.join(told[place : place + _ENGINES_A_LINE])}")


def _tell_other_goals(rows: Sequence[Row]) -> Iterator[str]:
    for row in rows:
        for goal in row.goals:
            if goal["name"].endswith("/ ours, seconds"):
                continue
            bound = f"at least {goal['at_least']:g}" if "at_least" in goal else f"at most {goal['at_most']:g}"
            verdict = "ok" if goal["is_reached"] else "MISSED"
            yield _cut(f"{row.name:<4}{row.budget:>7}  {goal['name']}: {goal['value']:g}, {bound}: {verdict}")


def _cut(line: str) -> str:
    return line if len(line) <= WIDTH else line[: WIDTH - 1] + "…"
