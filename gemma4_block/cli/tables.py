"""Print rows of text in columns."""

from collections.abc import Sequence

import typer


def print_table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table whose columns are as wide as their longest text.

    Args:
        heads: Of the columns.
        rows: Each with as many texts.

    """
    widths = [max(map(len, column)) for column in zip(heads, *rows, strict=True)]
    for row in (heads, *rows):
        cells = (text.ljust(width) for text, width in zip(row, widths, strict=True))
        typer.echo("  ".join(cells).rstrip())


def write_size(nbytes: int | None) -> str:
    """Write a number of bytes for people; a dash where it is unknown.

    >>> write_size(6_898_656)
    '0.01 GB'
    """
    return "-" if nbytes is None else f"{nbytes / 1e9:.2f} GB"


def write_seconds(seconds: float | None) -> str:
    """Write a time for people; a dash where there is none.

    >>> [write_seconds(seconds) for seconds in (None, 59.6, 61.0, 7384.0)]
    ['-', '60 s', '1 min', '2 h 3 min']
    """
    if seconds is None:
        return "-"
    if seconds < 60:  # noqa: PLR2004 - of a minute
        return f"{seconds:.0f} s"
    hours, minutes = divmod(int(seconds) // 60, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min"
