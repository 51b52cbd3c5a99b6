"""Fetch a model from the Hugging Face Hub."""

import warnings
from pathlib import Path
from typing import Annotated

import typer
from dotenv import load_dotenv

from gemma4_block.cli.workflows import refuse
from gemma4_block.errors import Gemma4BlockError


def pull(
    model: Annotated[
        str, typer.Argument(help="A model id, or the org/name of another Gemma 4 model on the hub.")
    ],
) -> None:
    """Fetch a model from the Hugging Face Hub into its cache, where workflows find it."""
    # The operator's HF_HOME or HF_TOKEN may be there.
    load_dotenv(Path.cwd() / ".env")
    from gemma4_block.engine.pool import fetch

    try:
        with warnings.catch_warnings():
            # The hub's client warns of what makes it slower, which is no fault.
            warnings.simplefilter("ignore")
            found = fetch(model)
    except Gemma4BlockError as error:
        refuse(str(error), error)
    typer.echo(f"{model} is here: {found.directory}")
