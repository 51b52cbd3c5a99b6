"""Ask the model about an image file, by a workflow of one step."""

import json
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Annotated

import numpy as np
import numpy.typing as npt
import typer

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
    split_classes,
)
from gemma4_block.cli.workflows import Row, Specification, WorkflowRunner, refuse, terminal_manners
from gemma4_block.errors import ConfigurationError
from gemma4_block.reading import BOX_CONTRACTS, JsonValue

_OUTPUTS = {name: name for name in ("output", "thinking", "finish_reason", "error_status", "error_message")}


def ask(
    image: Annotated[Path, typer.Argument(help="Image file.")],
    question: Annotated[
        str | None, typer.Argument(help="What to ask, for a task that has no question of its own.")
    ] = None,
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
) -> None:
    """Ask the model about an image and print its answer."""
    fields: dict[str, object] = {
        "task_type": task_type,
        "prompt": question,
        "system_prompt": system_prompt,
        "model_version": model_version,
        "image_seq_length": image_seq_length,
        "max_new_tokens": max_new_tokens,
        "temperature": temperature,
        "top_p": top_p,
        "top_k": top_k,
        "seed": seed,
        "quantization": quantization,
        "enable_thinking": thinking,
        "max_thinking_tokens": max_thinking_tokens,
        "box_format": box_format,
        "classes": split_classes(classes),
    }
    from rich.console import Console

    with terminal_manners():
        fields["output_structure"] = None if structure is None else read_structure(structure)
        pixels = read_image(image)
        with Console(stderr=True).status(f"Asking {model_version} ..."):
            runner = WorkflowRunner(one_step_workflow(fields), init_parameters={})
            (row,) = runner.run({"image": pixels})
        _print_row(row)


def read_image(path: Path) -> npt.NDArray[np.uint8]:
    """Read an image file as a workflow takes it.

    Args:
        path: PNG, JPEG, WebP, BMP or TIFF.

    Returns:
        `(H, W, 3)` uint8, BGR.

    Raises:
        ConfigurationError: There is no such file, or it is no image.

    """
    import cv2

    try:
        # OpenCV would write its own complaint to the terminal about a file it cannot open.
        content = np.frombuffer(path.read_bytes(), dtype=np.uint8)
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be opened: {error.strerror}. Name an image file.") from error
    pixels = cv2.imdecode(content, cv2.IMREAD_COLOR) if content.size else None
    if pixels is None:
        raise ConfigurationError(
            f"{path} cannot be read as an image. Name a PNG, JPEG, WebP, BMP or TIFF file."
        )
    return pixels.astype(np.uint8, copy=False)


def read_structure(structure: str) -> dict[str, JsonValue]:
    """Read an output structure.

    Args:
        structure: A JSON object, or the name of a file that holds one.

    Returns:
        Field names with descriptions, or a JSON Schema.

    Raises:
        ConfigurationError: It is neither.

    """
    text, where = structure, "--structure"
    if not structure.lstrip().startswith("{"):
        where = structure
        try:
            text = Path(structure).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigurationError(
                f"--structure is {structure!r}, which is neither a JSON object nor a readable file: {error}. "
                'Write one, as in \'{"color": "color of the car"}\'.'
            ) from error
    try:
        value: JsonValue = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ConfigurationError(f"{where} is no JSON: {error}. Correct it.") from error
    if not isinstance(value, dict):
        raise ConfigurationError(f"{where} holds a {type(value).__name__}; it must be a JSON object.")
    return value


def one_step_workflow(
    fields: Mapping[str, object], outputs: Mapping[str, str] = MappingProxyType(_OUTPUTS)
) -> Specification:
    """Write the workflow that asks about its image.

    Args:
        fields: Of the block; one that is None keeps its default.
        outputs: What each output of the workflow is called, and which of the block's it is.

    Returns:
        Its definition.

    """
    given = {name: value for name, value in fields.items() if value is not None}
    return {
        "version": "1.0",
        "inputs": [{"type": "WorkflowImage", "name": "image"}],
        "steps": [{"type": "gemma4_block/gemma4@v1", "name": "gemma", "images": "$inputs.image", **given}],
        "outputs": [
            {"type": "JsonField", "name": name, "selector": f"$steps.gemma.{output}"}
            for name, output in outputs.items()
        ],
    }


def _print_row(row: Row) -> None:
    if row["error_status"]:
        refuse(row["error_message"])
    if row["thinking"]:
        typer.secho(row["thinking"], dim=True)
    typer.echo(row["output"])
    if row["finish_reason"] == "length":
        typer.echo("(cut off at --max-new-tokens)", err=True)
