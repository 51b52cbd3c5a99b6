"""Write the findings of a self-test as Markdown, to paste into an issue."""

from collections.abc import Iterator, Sequence

from gemma4_block.cli.selftest.findings import Check, Findings, Speed
from gemma4_block.cli.tables import write_size


def write_report(findings: Findings) -> str:
    """Return the report, with a line break at its end."""
    return "\n".join(_lines(findings)) + "\n"


def _lines(findings: Findings) -> Iterator[str]:
    said = "all answers are equal" if findings.are_equal else "**some answers differ**"
    yield f"### gemma4-block selftest: {said}, in {findings.seconds:.0f} s"
    yield ""
    yield from _table(("machine", ""), findings.machine)
    yield ""
    heads = ("mechanism", "compared with", "answers", "equal")
    yield from _table(heads, [_describe(check) for check in findings.checks])
    for check in findings.checks:
        if check.different is not None:
            expected, found = check.different
            yield ""
            yield f"- {check.name}: expected `{expected}`, found `{found}`"
    yield ""
    stages = list(dict.fromkeys(stage for speed in findings.speeds for stage in speed.stages))
    measures = ("speed", "answers/s", "tokens/s", *(f"{stage}, ms" for stage in stages))
    yield from _table(measures, [_measure(speed, stages) for speed in findings.speeds])
    yield ""
    memory = findings.memory
    yield from _table(
        ("memory", "estimated", "measured"),
        [("peak", write_size(memory.estimated), write_size(memory.measured))],
    )


def _describe(check: Check) -> tuple[str, ...]:
    return check.name, check.against, str(check.compared), "yes" if check.different is None else "**no**"


def _measure(speed: Speed, stages: Sequence[str]) -> tuple[str, ...]:
    times = (f"{speed.stages[stage]:.1f}" if stage in speed.stages else "-" for stage in stages)
    return speed.name, f"{speed.answers_per_s:.2f}", f"{speed.tokens_per_s:.1f}", *times


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    yield f"| {' | '.join(heads)} |"
    yield f"|{'---|' * len(heads)}"
    for row in rows:
        cells = [cell.replace("|", "\\|") for cell in row]
        yield f"| {' | '.join(cells)} |"
