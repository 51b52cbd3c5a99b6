"""Write what was measured as tables: figures beside their demands, and which of them are missed."""

from collections.abc import Iterable, Sequence

from gemma4_block.demo.evaluation.report import Report
from gemma4_block.demo.evaluation.scoring import Row

_BEGINS, _ENDS = "<!-- measured -->\n", "<!-- end of measured -->\n"
_NO_BUDGET = "value"
# A checkpoint that succeeds another may lose so many points in a row.
_MOST_LOSS = 0.02
_ROUNDING = 1e-9


def list_missed(rows: Iterable[Row]) -> list[str]:
    """Say of each row that misses its demand what was reached and what is demanded.

    >>> list_missed([Row(name="count", value=0.5, target=0.85, n=20, budget=140)])
    ['count, at 140: 0.500, demanded 0.850']
    """
    return [f"{_full_name(row)}: {row.value:.3f}, demanded {row.demand}" for row in rows if not row.is_met]


def list_worse(rows: Iterable[Row], before: Iterable[Row]) -> list[str]:
    """Say which rows are more than two points worse than the rows of an earlier report with their names.

    >>> list_worse([Row(name="count", value=0.9, n=20)], [Row(name="count", value=0.95, n=20)])
    ['count: 0.900, before 0.950']
    """
    earlier = {_full_name(row): row for row in before}
    worse = []
    for row in rows:
        old = earlier.get(_full_name(row))
        if old is None:
            continue
        loss = row.value - old.value if row.limit is not None else old.value - row.value
        if loss > _MOST_LOSS + _ROUNDING:
            worse.append(f"{_full_name(row)}: {row.value:.3f}, before {old.value:.3f}")
    return worse


def write_markdown(report: Report, weights_sha256: str) -> str:
    """Write a report as a page of Markdown.

    Args:
        report: What was measured.
        weights_sha256: Which weights were judged.

    Returns:
        A table for each part that was measured, with the budgets side by side where there are several, and
        what misses its demand.

    """
    rows = [*report.rows, *report.wide_rows]
    parts = [f"Weights: `{weights_sha256}`"]
    parts += ["\n".join(write_table(part)) for part in (report.rows, report.wide_rows) if part]
    missed = list_missed(rows)
    demanded = sum(row.has_demand for row in rows)
    parts.append(f"{demanded - len(missed)} of {demanded} demands are met. Missed:" if missed else
                 f"All {demanded} demands are met.")  # fmt: skip
    if missed:
        parts.append("\n".join(f"- {line}" for line in missed))
    return "\n\n".join(parts) + "\n"


def fill_page(page: str, measured: str) -> str:
    r"""Put what was measured into a page, between the two comments that stand for it.

    >>> fill_page("a\n<!-- measured -->\nold\n<!-- end of measured -->\nb\n", "new\n")
    'a\n<!-- measured -->\nnew\n<!-- end of measured -->\nb\n'
    """
    before, rest = page.split(_BEGINS)
    _, after = rest.split(_ENDS)
    return f"{before}{_BEGINS}{measured}{_ENDS}{after}"


def write_table(rows: Sequence[Row]) -> list[str]:
    """Write rows as the lines of a Markdown table: one for each name, and a column for each budget.

    What a demand is derived from may differ by budget; then it stands behind each figure. A figure that
    misses its demand is bold.
    """
    columns = list(dict.fromkeys(_column(row) for row in rows))
    by_name: dict[str, dict[str, Row]] = {}
    for row in rows:
        by_name.setdefault(row.name, {})[_column(row)] = row
    lines = [
        f"| measure | {' | '.join(columns)} | target | n |",
        f"|---|{'---|' * len(columns)}---|---|",
    ]
    for name, found in by_name.items():
        demands = {row.demand for row in found.values()}
        is_shared = len(demands) == 1
        cells = [_cell(found.get(column), shows_demand=not is_shared) for column in columns]
        counts = sorted({row.n for row in found.values()})
        shared = demands.pop() if is_shared else ""
        lines.append(f"| {name} | {' | '.join(cells)} | {shared} | {'-'.join(map(str, counts))} |")
    return lines


def _cell(row: Row | None, *, shows_demand: bool) -> str:
    if row is None:
        return ""
    figure = f"{row.value:.3f}" if row.is_met else f"**{row.value:.3f}**"
    return f"{figure} ({row.demand})" if shows_demand else figure


def _column(row: Row) -> str:
    return _NO_BUDGET if row.budget is None else f"at {row.budget}"


def _full_name(row: Row) -> str:
    return row.name if row.budget is None else f"{row.name}, at {row.budget}"
