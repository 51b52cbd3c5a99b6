"""Ask the model about pictures, with neither the Workflows host nor its blocks."""

from pathlib import Path
from typing import Annotated, Final

import typer

from gemma4_block.cli.answers import LinePrinter, PagePrinter, Printer
from gemma4_block.cli.caution import print_cautions
from gemma4_block.cli.inquiry import QUESTION_ARGUMENT, Inquiry, Options, check_options
from gemma4_block.cli.options import (
    DEFAULT_MODEL_VERSION,
    Classes,
    ImageSeqLengthNumber,
    MaxNewTokens,
    ModelVersion,
    Precision,
    Structure,
    TaskName,
    one_of,
)
from gemma4_block.cli.patience import spinner
from gemma4_block.cli.picture_files import find_pictures, split_arguments
from gemma4_block.cli.replies import Correspondent
from gemma4_block.cli.workflows import terminal_manners
from gemma4_block.engine.pool import get_engine_pool
from gemma4_block.errors import ConfigurationError
from gemma4_block.fields import GenerationFields
from gemma4_block.reading import BOX_CONTRACTS

_OUTPUT: Final = Path("ask-output")


def ask(
    arguments: Annotated[
        list[str],
        typer.Argument(
            metavar="PICTURE... [QUESTION]",
            help="Image files, folders of them or patterns such as 'photos/*.jpg'; then what to ask, for a "
            "task that has no question of its own.",
        ),
    ],
    *,
    model_version: ModelVersion = DEFAULT_MODEL_VERSION,
    task_type: TaskName = "unconstrained",
    classes: Classes = None,
    structure: Structure = None,
    system_prompt: Annotated[str | None, typer.Option(help="Text of the system turn.")] = None,
    image_seq_length: ImageSeqLengthNumber = None,
    max_new_tokens: MaxNewTokens = None,
    temperature: Annotated[
        float | None, typer.Option(help="Above 0 draws tokens by chance; higher is more varied.")
    ] = None,
    top_p: Annotated[float | None, typer.Option(help="With --temperature: share of likely tokens.")] = None,
    top_k: Annotated[int | None, typer.Option(help="With --temperature: number of likely tokens.")] = None,
    seed: Annotated[
        int | None, typer.Option(help="With --temperature: the same seed draws the same tokens.")
    ] = None,
    quantization: Precision = None,
    thinking: Annotated[
        bool | None, typer.Option(help="Let the model think first, and print its thoughts.")
    ] = None,
    max_thinking_tokens: Annotated[
        int | None, typer.Option(help="With --thinking: most tokens of thought.")
    ] = None,
    box_format: Annotated[
        str | None, typer.Option(help=f"With object-detection: {one_of(list(BOX_CONTRACTS))}")
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            help="With object-detection: folder for the pictures with boxes.", show_default=str(_OUTPUT)
        ),
    ] = None,
    as_json: Annotated[
        bool,
        typer.Option("--json", help="Print each answer as a line of JSON, null where there is none."),
    ] = False,
) -> None:
    """Ask the model about pictures and print its answers."""
    with terminal_manners():
        given = split_arguments(arguments)
        paths = find_pictures(given.pictures)
        inquiry = check_options(
            Options(
                task_type=task_type,
                model_version=model_version,
                question=given.question,
                system_prompt=system_prompt,
                classes=classes,
                structure=structure,
                box_format=box_format,
                image_seq_length=image_seq_length,
                quantization=quantization,
                generation=GenerationFields(
                    max_new_tokens=max_new_tokens,
                    temperature=temperature,
                    top_p=top_p,
                    top_k=top_k,
                    seed=seed,
                    enable_thinking=thinking,
                    max_thinking_tokens=max_thinking_tokens,
                ),
            ),
            question_is=QUESTION_ARGUMENT,
        )
        if output is not None and (as_json or inquiry.task.gives.predictions != "boxes"):
            raise ConfigurationError(
                "--output is for pictures with boxes, which --task-type object-detection draws unless --json "
                "is given. Leave it out."
            )
        folder = _OUTPUT if output is None else output
        printer: Printer = (
            LinePrinter(inquiry.task)
            if as_json
            else PagePrinter(inquiry.task, names_pictures=len(paths) > 1, output=folder)
        )
        has_failed = answer_all(inquiry, paths, printer)
        print_cautions()
    if has_failed:
        raise typer.Exit(code=1)


def answer_all(inquiry: Inquiry, paths: tuple[Path, ...], printer: Printer) -> bool:
    """Ask about all pictures, a few at a time, and print what comes.

    Args:
        inquiry: The question.
        paths: The pictures.
        printer: Prints.

    Returns:
        Whether one of them has no answer, or a part of one only.

    Raises:
        Gemma4BlockError: The model cannot be loaded or asked.

    """
    has_failed = False
    with Correspondent(inquiry, get_engine_pool()) as correspondent:
        for group in correspondent.split(paths):
            with spinner(f"Asking {inquiry.model_version} ..."):
                replies = correspondent.ask(group)
            for reply in replies:
                printer.print(reply)
                has_failed = has_failed or reply.error is not None
    return has_failed
