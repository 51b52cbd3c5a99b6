"""The command `gemma4-block selftest`."""

from pathlib import Path
from typing import Annotated

import typer

from gemma4_block.cli.workflows import terminal_manners


def selftest(
    *,
    device: Annotated[str, typer.Option(help="Where to test: auto, cpu, cuda or cuda:N.")] = "auto",
    quick: Annotated[bool, typer.Option("--quick", help="Ask about few pictures and time once.")] = False,
    output: Annotated[Path | None, typer.Option(help="File for the report too.")] = None,
) -> None:
    """Show that this machine answers as it should: a report in Markdown, to paste into an issue."""
    from rich.console import Console

    with terminal_manners():
        # The host's environment is set by then.
        from gemma4_block.cli.selftest.report import write_report
        from gemma4_block.cli.selftest.testing import QUICK, WHOLE, run_selftest
        from gemma4_block.engine.hardware import find_device

        with Console(stderr=True).status("Loading the demo model ...") as status:
            findings = run_selftest(
                find_device(device),
                QUICK if quick else WHOLE,
                tell=lambda what: status.update(f"Testing: {what} ..."),
            )
    report = write_report(findings)
    if output is not None:
        output.write_text(report, encoding="utf-8")
    typer.echo(report, nl=False)
    if not findings.are_equal:
        raise typer.Exit(code=1)
