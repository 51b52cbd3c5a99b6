"""Run a workflow on the pictures of a folder or on a video, with the host's own commands."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final

import typer

from gemma4_block.cli.caution import print_cautions
from gemma4_block.cli.workflows import Specification, load_example, terminal_manners
from gemma4_block.errors import ConfigurationError
from gemma4_block.reading import JsonValue

# Source: IMAGES_EXTENSIONS in inference_cli/lib/utils.py of inference 1.8; it takes no others.
PICTURE_ENDINGS: Final = (".bmp", ".dib", ".jp2", ".jpe", ".jpeg", ".jpg", ".png", ".webp")
_IMAGE_INPUTS: Final = {"WorkflowImage", "InferenceImage"}


@dataclass(frozen=True, kw_only=True, slots=True)
class Job:
    """A workflow and what it needs beside its pictures.

    Attributes:
        specification: Its definition.
        image_input: Name of its input for images.
        parameters: Its other inputs, as far as they are given.

    """

    specification: Specification
    image_input: str
    parameters: dict[str, JsonValue]


def run(
    workflow: Annotated[
        str, typer.Argument(help="JSON file of a workflow, or the name of a shipped example.")
    ],
    *,
    images: Annotated[Path | None, typer.Option(help="Folder of pictures; each is a run of its own.")] = None,
    video: Annotated[Path | None, typer.Option(help="Video file; each frame is a run of its own.")] = None,
    output: Annotated[Path, typer.Option(help="Folder for the results; empty or new.")] = Path("run-output"),
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", help="An input of the workflow, as in --set question='How many?'; repeatable."),
    ] = None,
) -> None:
    """Run a workflow on a folder of pictures or on a video."""
    with terminal_manners():
        job = read_job(workflow, settings if settings is not None else [])
        if (images is None) == (video is None):
            raise ConfigurationError("Give either --images with a folder, or --video with a file.")
        _check_output(output)
        if images is not None:
            _check_folder(images)
            failures = run_on_images(job, images, output)
        else:
            assert video is not None, "one of the two is given"
            _check_video(video)
            failures = run_on_video(job, video, output)
        print_cautions()
    for failure in failures:
        typer.echo(" ".join(failure.split()), err=True)
    typer.echo(f"The results are in {output}")
    if failures:
        raise typer.Exit(code=1)


def read_job(workflow: str, settings: Sequence[str]) -> Job:
    """Read a workflow and the inputs that were given for it.

    Args:
        workflow: Name of a JSON file, or of an example.
        settings: As in `question=How many?`; a value that is JSON is taken as such.

    Returns:
        What to run.

    Raises:
        ConfigurationError: It is no workflow about images, or an input is unknown, malformed or missing.

    """
    specification = _read_specification(workflow)
    given = dict(map(_split_setting, settings))
    inputs = specification.get("inputs")
    listed = [one for one in inputs if isinstance(one, dict)] if isinstance(inputs, list) else []
    images = [str(one.get("name")) for one in listed if one.get("type") in _IMAGE_INPUTS]
    if len(images) != 1:
        raise ConfigurationError(
            f"{workflow} has {len(images)} inputs of type WorkflowImage; it must have one, which gets the "
            "pictures or frames."
        )
    others = {str(one.get("name")): one for one in listed if one.get("type") not in _IMAGE_INPUTS}
    unknown = sorted(set(given) - set(others))
    if unknown:
        raise ConfigurationError(
            f"--set names {', '.join(map(repr, unknown))}, which {workflow} has not. It has "
            f"{', '.join(map(repr, others)) if others else 'no inputs but its image'}."
        )
    missing = [name for name, one in others.items() if "default_value" not in one and name not in given]
    if missing:
        raise ConfigurationError(f"{workflow} needs {', '.join(f'--set {name}=...' for name in missing)}.")
    return Job(specification=specification, image_input=images[0], parameters=given)


def run_on_images(job: Job, folder: Path, output: Path) -> list[str]:
    """Run a workflow on every picture right in a folder.

    Args:
        job: What to run.
        folder: Has pictures.
        output: Gets a folder for each picture, and all results in one table.

    Returns:
        For each picture that failed, why.

    """
    from inference_cli.lib.workflows.entities import OutputFileType
    from inference_cli.lib.workflows.local_image_adapter import (
        process_image_directory_with_workflow_using_inference_package,
    )

    details = process_image_directory_with_workflow_using_inference_package(
        input_directory=str(folder),
        output_directory=str(output),
        workflow_specification=job.specification,
        workflow_parameters=job.parameters,
        image_input_name=job.image_input,
        aggregation_format=OutputFileType.CSV,
    )
    if details.failures_report_path is None:
        return []
    lines = Path(details.failures_report_path).read_text(encoding="utf-8").splitlines()
    return [str(json.loads(line)["cause"]) for line in lines]


def run_on_video(job: Job, video: Path, output: Path) -> list[str]:
    """Run a workflow on every frame of a video.

    Args:
        job: What to run.
        video: A file.
        output: Gets a table with a line for each frame, and a video for each output that is an image.

    Returns:
        The errors of the frames that failed.

    """
    output.mkdir(parents=True, exist_ok=True)
    from inference_cli.lib.workflows.core import run_video_processing_with_workflows
    from inference_cli.lib.workflows.entities import OutputFileType

    try:
        run_video_processing_with_workflows(
            input_video_path=str(video),
            output_directory=str(output),
            output_file_type=OutputFileType.CSV,
            workflow_specification=job.specification,
            workflow_parameters=job.parameters,
            image_input_name=job.image_input,
        )
    except RuntimeError as error:
        return [str(error)]
    return []


def _read_specification(workflow: str) -> Specification:
    path = Path(workflow)
    if path.suffix != ".json":
        return load_example(workflow)
    try:
        specification: JsonValue = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigurationError(
            f"{path} cannot be opened: {error.strerror}. Name the JSON file of a workflow, or an example "
            "without .json."
        ) from error
    except (ValueError, RecursionError) as error:
        raise ConfigurationError(f"{path} is no JSON: {error}. Correct it.") from error
    if not isinstance(specification, dict):
        raise ConfigurationError(f"{path} holds a {type(specification).__name__}; a workflow is an object.")
    return dict(specification)


def _split_setting(setting: str) -> tuple[str, JsonValue]:
    name, equals, text = setting.partition("=")
    if not equals or not name:
        raise ConfigurationError(f"--set is {setting!r}; write a name and a value, as in --set question=Why?")
    try:
        value: JsonValue = json.loads(text)
    except (ValueError, RecursionError):
        return name, text
    return name, value


def _check_output(output: Path) -> None:
    if output.is_dir() and any(output.iterdir()):
        raise ConfigurationError(f"The folder {output} is not empty. Empty it, or choose another --output.")
    if output.exists() and not output.is_dir():
        raise ConfigurationError(f"{output} is no folder. Choose another --output.")


def _check_video(video: Path) -> None:
    if not video.is_file():
        raise ConfigurationError(f"There is no video file {video}. Name one that is there.")
    import cv2

    capture = cv2.VideoCapture(str(video))
    is_video = capture.isOpened()
    capture.release()
    if not is_video:
        raise ConfigurationError(f"{video} cannot be opened as a video. Save it as MP4.")


def _check_folder(folder: Path) -> None:
    if not folder.is_dir():
        raise ConfigurationError(f"There is no folder {folder}. Name one that is there.")
    if not any(path.suffix.lower() in PICTURE_ENDINGS for path in folder.iterdir()):
        raise ConfigurationError(
            f"The folder {folder} has no pictures right in it. Name one with files that end in "
            f"{', '.join(PICTURE_ENDINGS)}."
        )
