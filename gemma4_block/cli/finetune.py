"""Train an adapter from a folder of pictures with questions and answers."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from gemma4_block.cli.inquiry import Options, check_options
from gemma4_block.cli.options import (
    DEFAULT_MODEL_VERSION,
    Classes,
    ImageSeqLengthNumber,
    ModelVersion,
    Precision,
    Structure,
    TaskName,
)
from gemma4_block.cli.workflows import terminal_manners
from gemma4_block.fields import GenerationFields
from gemma4_block.finetuning import ANNOTATIONS, Comparison, Plan, Wording, read_dataset
from gemma4_block.finetuning import finetune as train
from gemma4_block.settings import get_settings

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID
    from rich.table import Table

_SHOWN_EXAMPLES: Final = 5
_PLAN: Final = Plan()


def finetune(
    dataset: Annotated[
        Path,
        typer.Argument(
            help=f"Folder with train and valid, each with pictures and {ANNOTATIONS}, as Roboflow exports "
            "multimodal datasets."
        ),
    ],
    *,
    output: Annotated[Path, typer.Option(help="Folder for the adapter.")],
    model_version: ModelVersion = DEFAULT_MODEL_VERSION,
    task_type: TaskName = "unconstrained",
    classes: Classes = None,
    structure: Structure = None,
    system_prompt: Annotated[str | None, typer.Option(help="Text of the system turn.")] = None,
    image_seq_length: ImageSeqLengthNumber = None,
    quantization: Precision = None,
    epochs: Annotated[int, typer.Option(help="How often every example is learnt.")] = _PLAN.epochs,
    batch_size: Annotated[
        int, typer.Option(help="Examples of one pass through the model.")
    ] = _PLAN.batch_size,
    gradient_accumulation_steps: Annotated[
        int, typer.Option(help="Passes of one step, for more examples than memory holds at once.")
    ] = _PLAN.gradient_accumulation_steps,
    learning_rate: Annotated[
        float, typer.Option(help="After the warm-up; it then falls to nothing.")
    ] = _PLAN.learning_rate,
    rank: Annotated[int, typer.Option(help="Of the adapter's matrices.")] = _PLAN.rank,
    seed: Annotated[
        int, typer.Option(help="Of its first weights, and of the order of examples.")
    ] = _PLAN.seed,
) -> None:
    """Train an adapter on pictures with questions and answers; goes on where a run was cut off."""
    with terminal_manners():
        examples = read_dataset(dataset)
        question = examples.train[0].prefix
        inquiry = check_options(
            Options(
                task_type=task_type,
                model_version=model_version,
                question=question if question.strip() else None,
                system_prompt=system_prompt,
                classes=classes,
                structure=structure,
                image_seq_length=image_seq_length,
                quantization=quantization,
                generation=GenerationFields(),
            ),
            question_is=f"a question: the prefix in each line of {ANNOTATIONS}",
        )
        plan = Plan(
            epochs=epochs,
            batch_size=batch_size,
            gradient_accumulation_steps=gradient_accumulation_steps,
            learning_rate=learning_rate,
            rank=rank,
            seed=seed,
        )
        with _bar() as progress:
            comparison = train(
                examples,
                output,
                model_version=inquiry.model_version,
                quantization="auto" if inquiry.quantization is None else inquiry.quantization,
                wording=Wording(
                    task=inquiry.task,
                    image_seq_length=inquiry.image_seq_length,
                    system_prompt=inquiry.system_prompt,
                    classes=inquiry.classes,
                    output_structure=inquiry.output_structure,
                ),
                plan=plan,
                settings=get_settings(),
                watcher=_BarWatcher(progress),
            )
    _print(comparison, output)


class _BarWatcher:
    """Shows stages as bars."""

    def __init__(self, progress: "Progress") -> None:
        self._progress = progress
        self._bar: TaskID | None = None

    def begin(self, stage: str, total: int, done: int = 0) -> None:
        """Start a bar."""
        self._bar = self._progress.add_task(stage, total=total, completed=done, loss="")

    def advance(self, loss: float | None = None) -> None:
        """Move it on."""
        assert self._bar is not None, "a stage has begun"
        text = "" if loss is None else f"loss {loss:.3f}"
        self._progress.update(self._bar, advance=1, loss=text)


def _bar() -> "Progress":
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[loss]}"),
        console=Console(stderr=True),
    )


def _print(comparison: Comparison, output: Path) -> None:
    from rich.console import Console

    before, after = comparison.before, comparison.after
    typer.echo(f"examples that were not learnt from: {len(comparison.examples)}")
    typer.echo(f"answered to the letter: {before.exact:.0%} before, {after.exact:.0%} after")
    typer.echo(f"loss of the right answer: {before.loss:.3f} before, {after.loss:.3f} after")
    Console().print(_tabulate(comparison))
    typer.echo(f"adapter: {output}; use it as a model under one of GEMMA4_BLOCK_MODEL_ROOTS")


def _tabulate(comparison: Comparison) -> "Table":
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for heading in ("picture", "question", "right", "before", "after"):
        table.add_column(heading)
    answers = zip(comparison.examples, comparison.before.answers, comparison.after.answers, strict=True)
    for example, before, after in list(answers)[:_SHOWN_EXAMPLES]:
        table.add_row(example.image.name, example.prefix, example.suffix, before, after)
    return table
