"""Show the blocks at work: find the shapes of a picture, crop them, and let the model name each crop."""

import re
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from gemma4_block.cli.caution import print_cautions
from gemma4_block.cli.gallery import write_gallery
from gemma4_block.cli.options import DEFAULT_MODEL_VERSION, ModelVersion
from gemma4_block.cli.workflows import (
    DETECTOR_DIRECTORY,
    Row,
    WorkflowRunner,
    load_example,
    stock_model_parameters,
    terminal_manners,
)
from gemma4_block.engine.pool import locate
from gemma4_block.errors import ConfigurationError
from gemma4_block.pictures import open_picture
from gemma4_block.settings import get_settings

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    import numpy.typing as npt
    from rich.console import Console
    from rich.table import Table

    from gemma4_block.demo.scenes import Scene, Shape

_EXAMPLE: Final = "detect_then_describe"
_SCENE_SEED: Final = 3
_SHAPE_COUNT: Final = 5


@dataclass(frozen=True, kw_only=True, slots=True)
class Picture:
    """A picture to ask about: BGR pixels, and the scene where it was drawn here."""

    pixels: "npt.NDArray[np.uint8]"
    scene: "Scene | None"


def demo(
    image: Annotated[
        Path | None, typer.Option(help="Image file to look at; a scene is drawn without it.")
    ] = None,
    output: Annotated[Path, typer.Option(help="Folder for the picture.")] = Path("demo-output"),
    model_version: ModelVersion = DEFAULT_MODEL_VERSION,
    *,
    gallery: Annotated[bool, typer.Option("--gallery", help="Write one picture for every task.")] = False,
) -> None:
    """Detect the shapes of a picture and describe each one."""
    from rich.console import Console

    console = Console()
    with terminal_manners():
        locate(model_version, get_settings())
        _make_folder(output)
        if gallery:
            if image is not None:
                raise ConfigurationError("--gallery draws its own pictures. Leave --image out.")
            write_gallery(output, model_version, console)
            print_cautions()
            return
        picture = draw_picture() if image is None else Picture(pixels=read_bgr(image), scene=None)
        with console.status("Starting the Workflows engine ..."):
            runner = WorkflowRunner(load_example(_EXAMPLE), init_parameters=stock_model_parameters())
        parameters = {
            "image": picture.pixels,
            "detector": str(DETECTOR_DIRECTORY),
            "model_version": model_version,
        }
        with console.status(f"Loading the detector and {model_version} ..."):
            runner.run(parameters)
        with console.status("Asking about every crop ..."):
            start_s = time.perf_counter()
            (row,) = runner.run(parameters)
            took_ms = round(1000 * (time.perf_counter() - start_s))
        console.print(_table(row, picture, took_ms))
        _save(row, output / f"{_EXAMPLE}.png", console)
        print_cautions()


def read_bgr(path: Path) -> "npt.NDArray[np.uint8]":
    """Read an image file as a workflow takes it.

    Args:
        path: In one of the formats of `open_picture`.

    Returns:
        `(H, W, 3)` uint8, BGR.

    Raises:
        PromptError: There is no such file, or it is no image.

    """
    import numpy as np

    rgb = open_picture(path, max_pixels=get_settings().max_image_pixels)
    return np.ascontiguousarray(rgb[..., ::-1])


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigurationError(
            f"The folder {folder} cannot be made: {error.strerror}. Choose another --output."
        ) from error


def draw_picture() -> Picture:
    """Draw the scene that the demo looks at where it is given no picture: five shapes."""
    import numpy as np

    from gemma4_block.demo.scenes import draw_scene

    scene = draw_scene(np.random.default_rng(_SCENE_SEED), shape_count=_SHAPE_COUNT)
    return Picture(pixels=np.ascontiguousarray(scene.image[..., ::-1]), scene=scene)


def _table(row: Row, picture: Picture, took_ms: int) -> "Table":
    from rich.table import Table
    from rich.text import Text

    answers = row["answers"]
    table = Table(caption=f"{len(answers)} crops in one batch; the whole workflow took {took_ms} ms.")
    for heading in ("at x, y", "answer", "truth"):
        table.add_column(heading, no_wrap=True)
    for heading in ("input\ntokens", "image\ntokens", "output\ntokens"):
        table.add_column(heading, justify="right")
    boxes_xyxy_px = row["detections"].xyxy.tolist()
    for index, (answer, box_xyxy_px) in enumerate(zip(answers, boxes_xyxy_px, strict=True)):
        said = Text(answer or row["error_messages"][index] or "no answer", style="" if answer else "red")
        truth = None if picture.scene is None else _nearest_shape(picture.scene, box_xyxy_px).label
        is_right = truth is not None and names_only(answer, truth)
        table.add_row(
            f"{box_xyxy_px[0]:.0f}, {box_xyxy_px[1]:.0f}",
            said,
            Text("unknown") if truth is None else Text(truth, style="green" if is_right else "red"),
            *(str(row[name][index]) for name in ("input_tokens", "image_tokens", "output_tokens")),
        )
    return table


def names_only(answer: str | None, label: str) -> bool:
    """Say whether an answer names one shape of this label, and no other shape."""
    from gemma4_block.demo.dialogue import ALL_LABELS

    said = "" if answer is None else answer.lower()
    return [label] == [known for known in ALL_LABELS if re.search(rf"\b{known}s?\b", said)] and (
        f"{label}s" not in said
    )


def _nearest_shape(scene: "Scene", box_xyxy_px: "Sequence[float]") -> "Shape":
    x1, y1, x2, y2 = box_xyxy_px

    def distance_px(shape: "Shape") -> float:
        x, y = shape.center_xy_px
        return abs(x - (x1 + x2) / 2) + abs(y - (y1 + y2) / 2)

    return min(scene.shapes, key=distance_px)


def _save(row: Row, path: Path, console: "Console") -> None:
    import cv2

    picture: Any = row["picture"]
    if picture is None or not cv2.imwrite(str(path), picture.numpy_image):
        raise ConfigurationError(f"{path} cannot be written. Choose another --output.")
    console.print(f"The picture is {path}")
