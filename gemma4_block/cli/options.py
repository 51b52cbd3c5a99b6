"""The options that commands share, and what they mean to a step of a workflow."""

from collections.abc import Sequence
from typing import Annotated, Final, get_args

import typer

from gemma4_block.contract import Quantization
from gemma4_block.tasks import TaskType


def one_of(names: Sequence[str]) -> str:
    """Write a choice as a sentence of a help text.

    >>> one_of(["auto", "none", "nf4"])
    'auto, none or nf4.'
    """
    return f"{', '.join(names[:-1])} or {names[-1]}."


ModelVersion = Annotated[str, typer.Option(help="Model id.")]
_TASK_TYPE = typer.Option(help=one_of(get_args(TaskType)))
TaskName = Annotated[str, _TASK_TYPE]
TaskNameOrNone = Annotated[str | None, _TASK_TYPE]
Classes = Annotated[
    str | None,
    typer.Option(help="What may be answered, separated by commas: for classification, detection, counting."),
]
Structure = Annotated[
    str | None,
    typer.Option(
        help="With structured-answering: fields with descriptions or a JSON Schema, as JSON or a file."
    ),
]
ImageSeqLengthNumber = Annotated[
    int | None, typer.Option(help="Visual token budget: 70, 140, 280, 560 or 1120.")
]
MaxNewTokens = Annotated[int | None, typer.Option(help="Most tokens of the answer.")]
Precision = Annotated[
    str | None, typer.Option(help=f"Precision of the weights: {one_of(get_args(Quantization))}")
]

DEFAULT_MODEL_VERSION: Final = "gemma-4-demo"
