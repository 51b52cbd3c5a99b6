"""Say on the terminal what the models that answered are not for."""

import typer

from gemma4_block.engine.pool import find_caution, get_engine_pool


def print_cautions() -> None:
    """Print a line on stderr for each model of this process that there is something to say about."""
    engines = get_engine_pool().list_engines()
    cautions = {find_caution(status.reference) for status in engines if status.state != "failed"}
    for caution in sorted(cautions - {""}):
        typer.echo(caution, err=True)
