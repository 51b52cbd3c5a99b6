"""What a row found: medians and spreads, and how they compare with the goals and the floor."""

import json
import math
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

_Work = TypeVar("_Work")


@dataclass(frozen=True, kw_only=True, slots=True)
class Goal:
    """A figure, and what it must be at least or at most."""

    name: str
    value: float
    at_least: float | None = None
    at_most: float | None = None

    @property
    def is_reached(self) -> bool:
        """Whether the figure is good enough."""
        is_high = self.at_least is None or self.value >= self.at_least
        return is_high and (self.at_most is None or self.value <= self.at_most)


@dataclass(frozen=True, kw_only=True, slots=True)
class Report:
    """One row of the benchmark.

    Attributes:
        row: W1 to W11.
        budget: Visual token budget.
        times_s: What was measured of each engine, in seconds.
        goals: What must be reached.
        floor_s: The least time that ours can take on this machine.
        stages_s: Where the time of ours went, in seconds, and the floor there.
        case: What of the row, where it has several.
        figures: Whatever else was measured; the unit is in the name.

    """

    row: str
    budget: int
    times_s: Mapping[str, Sequence[float]]
    goals: Sequence[Goal]
    floor_s: float
    stages_s: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    case: str = ""
    figures: Mapping[str, float] = field(default_factory=dict)

    def to_line(self) -> str:
        """Write it as one line of JSON."""
        medians = {name: statistics.median(times) for name, times in self.times_s.items()}
        goals = [
            {
                "name": goal.name,
                "value": _rounded(goal.value),
                **({} if goal.at_least is None else {"at_least": _rounded(goal.at_least)}),
                **({} if goal.at_most is None else {"at_most": _rounded(goal.at_most)}),
                "is_reached": goal.is_reached,
            }
            for goal in self.goals
        ]
        return json.dumps(
            {
                "row": self.row,
                **({"case": self.case} if self.case else {}),
                "budget": self.budget,
                "seconds": {name: _rounded(median) for name, median in medians.items()},
                "spread": {name: _rounded(max(times) - min(times)) for name, times in self.times_s.items()},
                "repeats": len(self.times_s["ours"]),
                "ratio": {
                    name: _rounded(median / medians["ours"])
                    for name, median in medians.items()
                    if name != "ours"
                },
                "floor_s": _rounded(self.floor_s),
                "over_floor": _rounded(medians["ours"] / self.floor_s),
                "goals": goals,
                "stages": {
                    name: {"seconds": _rounded(spent), "floor_s": _rounded(floor)}
                    for name, (spent, floor) in self.stages_s.items()
                    if spent or floor
                },
                **{name: _rounded(figure) for name, figure in self.figures.items()},
            }
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Turns:
    """How often each engine takes its turn.

    Attributes:
        most: Turns at most, 1 or more.
        patience_s: No further turn begins after so many seconds; the first always does.

    """

    most: int
    patience_s: float = math.inf

    def numbers(self) -> Iterator[int]:
        """Yield 0, 1 and so on, one for each turn."""
        started = time.perf_counter()
        for number in range(self.most):
            yield number
            if time.perf_counter() - started >= self.patience_s:
                return


def time_in_turns(
    players: Mapping[str, Callable[[_Work], object]],
    draw: Callable[[int], _Work],
    turns: Turns,
    *,
    prepare: Callable[[str, int], object] = lambda _name, _repeat: None,
) -> dict[str, list[float]]:
    """Let all take turns, A B A B, and return the seconds of each turn.

    Args:
        players: What to time, by name.
        draw: Makes the work of a repeat, which is the same for all; it is not timed.
        turns: How often.
        prepare: Is called before each turn with the name and the number of the repeat, and is not timed.

    """
    times: dict[str, list[float]] = {name: [] for name in players}
    for repeat in turns.numbers():
        work = draw(repeat)
        for name, play in players.items():
            prepare(name, repeat)
            started = time.perf_counter()
            play(work)
            times[name].append(time.perf_counter() - started)
    return times


def ratio_goals(
    times_s: Mapping[str, Sequence[float]], wanted: Mapping[str, float], *, what: str = "seconds"
) -> list[Goal]:
    """Compare the median of each engine with ours, where it was measured.

    Args:
        times_s: What was measured, with a key `ours`.
        wanted: What an engine's median must be over ours, by its name.
        what: What was measured.

    """
    ours = statistics.median(times_s["ours"])
    return [
        Goal(name=f"{name} / ours, {what}", value=statistics.median(times_s[name]) / ours, at_least=ratio)
        for name, ratio in wanted.items()
        if name in times_s
    ]


def _rounded(value: float) -> float:
    return float(f"{value:.4g}")
