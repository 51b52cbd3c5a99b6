"""Time a workflow step on the user's own model and pictures."""

import json
from collections.abc import Iterator
from dataclasses import asdict
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

import gemma4_block
from gemma4_block.cli.demo import draw_picture, read_bgr
from gemma4_block.cli.inquiry import QUESTION_OPTION, Inquiry, Options, check_options
from gemma4_block.cli.options import (
    DEFAULT_MODEL_VERSION,
    Classes,
    ImageSeqLengthNumber,
    MaxNewTokens,
    ModelVersion,
    Precision,
    Structure,
    TaskNameOrNone,
)
from gemma4_block.cli.picture_files import find_pictures
from gemma4_block.cli.timing import StepTimer, TimedCall, Timing
from gemma4_block.cli.workflows import terminal_manners
from gemma4_block.fields import GenerationFields
from gemma4_block.settings import get_settings

if TYPE_CHECKING:
    from rich.table import Table

    from gemma4_block.engine.profiling import Profile

_PACKAGES: Final = ("torch", "transformers", "inference")


def bench(
    pictures: Annotated[
        list[str] | None,
        typer.Argument(
            help="Image files, folders or patterns, asked about in one call; a scene is drawn without any."
        ),
    ] = None,
    *,
    prompt: Annotated[
        str | None, typer.Option(help="What to ask, for a task that has no question of its own.")
    ] = None,
    model_version: ModelVersion = DEFAULT_MODEL_VERSION,
    task_type: TaskNameOrNone = None,
    classes: Classes = None,
    structure: Structure = None,
    image_seq_length: ImageSeqLengthNumber = None,
    max_new_tokens: MaxNewTokens = None,
    quantization: Precision = None,
    repeats: Annotated[int, typer.Option(min=1, help="How often to ask, after a first time.")] = 5,
    forget: Annotated[
        bool,
        typer.Option(
            "--forget/--keep",
            help="Forget the pictures between repeats, or keep what was seen, as for a second question.",
        ),
    ] = True,
    profile: Annotated[bool, typer.Option("--profile", help="Say where the time goes.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one line of JSON instead.")] = False,
) -> None:
    """Time the model on pictures of your own: a caption, or the answer to --prompt."""
    from rich.console import Console

    # A caption is the task that needs nothing but a picture.
    default_task = "caption" if prompt is None else "unconstrained"
    task = default_task if task_type is None else task_type
    with terminal_manners():
        paths = find_pictures(pictures) if pictures else ()
        inquiry = check_options(
            Options(
                task_type=task,
                model_version=model_version,
                question=prompt,
                classes=classes,
                structure=structure,
                image_seq_length=image_seq_length,
                quantization=quantization,
                generation=GenerationFields(max_new_tokens=max_new_tokens),
            ),
            question_is=QUESTION_OPTION,
        )
        fields = describe_step(inquiry, max_new_tokens)
        pixels = [read_bgr(path) for path in paths] if paths else [draw_picture().pixels]
        with Console(stderr=True).status(f"Timing {model_version} ..."):
            from gemma4_block.engine.pool import get_engine_pool

            timing = StepTimer(fields, pixels, get_engine_pool()).measure(
                repeats=repeats, forgets=forget, profiles=profile
            )
    if as_json:
        asked = {name: value for name, value in fields.items() if name not in {"prompt", "output_structure"}}
        report = (
            asked | {"repeats": repeats, "forgets": forget} | describe_machine() | describe_timing(timing)
        )
        typer.echo(json.dumps(report))
        return
    memory = "forgotten between calls" if forget else "seen before"
    typer.echo(f"{task} with {model_version}, pictures in a call: {len(pixels)}, {memory}")
    for name, text in summarize(timing):
        typer.echo(f"{name:14}  {text}")
    if timing.typical.profile is not None:
        typer.echo()
        Console().print(profile_table(timing.typical, timing.typical.profile))


def describe_step(inquiry: Inquiry, max_new_tokens: int | None) -> dict[str, object]:
    """Return the fields of a step that asks a question; None where the block's default holds.

    Args:
        inquiry: The question.
        max_new_tokens: As it was given.

    Returns:
        Field name to value.

    """
    return {
        "task_type": inquiry.task.name,
        "prompt": inquiry.question,
        "model_version": inquiry.model_version,
        "classes": list(inquiry.classes) if inquiry.classes else None,
        "output_structure": inquiry.output_structure,
        "image_seq_length": inquiry.image_seq_length,
        "max_new_tokens": max_new_tokens,
        "quantization": inquiry.quantization,
    }


def summarize(timing: Timing) -> Iterator[tuple[str, str]]:
    """Yield what was measured, a name and a text for each line."""
    seconds = [call.seconds for call in timing.calls]
    yield "loading", f"{timing.load_seconds:.2f} s"
    spread = f"from {min(seconds):.3f} to {max(seconds):.3f} s, calls: {len(seconds)}"
    yield "a call", f"{timing.typical.seconds:.3f} s in the median, {spread}"
    yield "answers", f"{timing.answers_per_second:.2f} a second"
    tokens = timing.typical.output_tokens
    yield "output tokens", f"{timing.output_tokens_per_second:.1f} a second, {tokens} in a call"


def profile_table(call: TimedCall, profile: "Profile") -> "Table":
    """Build the table of where the time of a call went.

    Args:
        call: As a whole.
        profile: Its own.

    Returns:
        A row for each stage; then `other`, which is the rest within the engine, and `workflow`, which is what
        the host and the block took around it.

    """
    from rich.table import Table

    from gemma4_block.engine.profiling import STAGES

    table = Table(box=None, pad_edge=False)
    table.add_column("stage")
    for heading in ("seconds", "share", "passes", "at once, at most"):
        table.add_column(heading, justify="right")

    def add(name: str, seconds: float, *counts: int) -> None:
        table.add_row(name, f"{seconds:.4f}", f"{seconds / call.seconds:.1%}", *map(str, counts))

    for stage in STAGES:
        if stage in profile.stages:
            spent = profile.stages[stage]
            add(stage, spent.seconds, spent.passes, spent.most_rows)
    add("other", call.find_other_seconds(profile))
    add("workflow", call.workflow_seconds)
    return table


def describe_timing(timing: Timing) -> dict[str, object]:
    """Return what was measured, for JSON; tokens and stages are those of the call of median time."""
    call = timing.typical
    figures: dict[str, object] = {
        "load_s": timing.load_seconds,
        "seconds": [one.seconds for one in timing.calls],
        "median_s": call.seconds,
        "answers_per_s": timing.answers_per_second,
        "output_tokens_per_s": timing.output_tokens_per_second,
        "pictures": len(call.answers),
        "input_tokens": sum(answer.input_tokens for answer in call.answers),
        "image_tokens": sum(answer.image_tokens for answer in call.answers),
        "output_tokens": call.output_tokens,
    }
    if call.profile is not None:
        figures["stages"] = {stage: asdict(spent) for stage, spent in call.profile.stages.items()}
        figures["other_s"] = call.find_other_seconds(call.profile)
        figures["workflow_s"] = call.workflow_seconds
    return figures


def describe_machine() -> dict[str, object]:
    """Return what figures depend on, for JSON, and how much memory this process took."""
    import torch

    from gemma4_block.engine.hardware import inspect_machine

    settings = get_settings()
    machine = inspect_machine(settings.device)
    is_gpu = machine.device.type == "cuda"
    return {
        "device": str(machine.device),
        "gpu": torch.cuda.get_device_name(machine.device) if is_gpu else None,
        "peak_memory_bytes": torch.cuda.max_memory_allocated(machine.device)
        if is_gpu
        else read_peak_bytes(Path("/")),
        "threads": machine.threads,
        "max_batch_size": settings.max_batch_size,
        "versions": {"gemma4-block": gemma4_block.__version__}
        | {name: metadata.version(name) for name in _PACKAGES},
    }


def read_peak_bytes(root: Path) -> int | None:
    """Return how much main memory this process has had at most.

    Args:
        root: Of the file system.

    Returns:
        What Linux counted; None elsewhere.

    """
    try:
        lines = (root / "proc" / "self" / "status").read_text(encoding="utf-8").splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:")), None)
