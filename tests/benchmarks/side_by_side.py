"""Put the committed results of all kinds of processors into one table of Markdown.

python -m tests.benchmarks.side_by_side
"""

from collections.abc import Iterator, Mapping, Sequence

from tests.benchmarks.results import Result, Row, read_saved

TITLES: Mapping[str, str] = {
    "W1": "one image, one question",
    "W2": "eight crops (four at 280), one step",
    "W3": "one frame, four questions, four steps",
    "W4": "eight requests at once to the server",
    "W8": "another question about a frame that was seen",
    "W9": "a frame with five crops, found and described",
}


def write_table(results: Sequence[Result]) -> Iterator[str]:
    """Yield the lines of a table: seconds of ours, and how many times as long the peer takes."""
    kinds = "".join(f" {result.kind} |" for result in results)
    yield f"| workload | `image_seq_length` |{kinds}"
    yield "|---|---|" + "---|" * len(results)
    for name, title in TITLES.items():
        for budget in (70, 280):
            cells = [_find_cell(result, name, budget) for result in results]
            if any(cells):
                yield f"| {title} | {budget} |" + "".join(f" {cell or 'not measured'} |" for cell in cells)


def _find_cell(result: Result, name: str, budget: int) -> str:
    rows = [row for row in result.rows if (row.name, row.budget) == (name, budget)]
    return _write_cell(rows[0]) if rows else ""


def _write_cell(row: Row) -> str:
    ratio = f"{row.ratio['peer']:.1f}x" if "peer" in row.ratio else "no peer"
    return f"{row.seconds['ours']:.3g} s, {ratio}" if "ours" in row.seconds else ratio


def main() -> None:
    """Print the table, and below it what each column is."""
    results = read_saved()
    for line in write_table(results):
        print(line)  # noqa: T201 - a command
    for result in results:
        print(f"\n{result.kind}: {result.machine['cpu']}, {result.machine['dtype']}. {result.note}")  # noqa: T201


if __name__ == "__main__":
    main()
