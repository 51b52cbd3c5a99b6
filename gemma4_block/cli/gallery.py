"""Draw the answer of every task into a picture, one picture a task."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gemma4_block.cli.workflows import Specification, WorkflowRunner
from gemma4_block.errors import ConfigurationError

if TYPE_CHECKING:
    from rich.console import Console

    from gemma4_block.demo.scenes import Scene

Fields = dict[str, object]


@dataclass(frozen=True, kw_only=True, slots=True)
class Exhibit:
    """A picture and what is asked about it.

    Attributes:
        task_type: The task, which also names the file.
        scene: What is drawn.
        fields: The step's other fields.

    """

    task_type: str
    scene: "Scene"
    fields: Fields


def write_gallery(folder: Path, model_version: str, console: "Console") -> None:
    """Ask every task about a drawn picture, and write each answer into its picture.

    Args:
        folder: Where the pictures go; must exist.
        model_version: Which model answers.
        console: Gets a line for each picture.

    Raises:
        ConfigurationError: A picture cannot be written, or an image could not be asked about.

    """
    import cv2
    from rich.progress import track

    for exhibit in track(list(draw_exhibits()), description="asking", console=console):
        runner = WorkflowRunner(workflow_of(exhibit, model_version), init_parameters={})
        (row,) = runner.run({"image": exhibit.scene.image[..., ::-1].copy()})
        if row["error_status"]:
            raise ConfigurationError(f"{exhibit.task_type}: {row['error_message']}")
        path = folder / f"{exhibit.task_type}.png"
        if not cv2.imwrite(str(path), row["picture"].numpy_image):
            raise ConfigurationError(f"{path} cannot be written. Choose another --output.")
        console.print(f"{path}: {row['output']}", soft_wrap=True, highlight=False, markup=False)


def draw_exhibits() -> Iterator[Exhibit]:
    """Yield a picture and a question for every task."""
    import numpy as np

    from gemma4_block.demo.scenes import SHAPE_KINDS, draw_number, draw_scene

    def draw(seed: int, shapes: int) -> "Scene":
        return draw_scene(np.random.default_rng(seed), shape_count=shapes)

    several, one = draw(3, 5), draw(11, 1)
    labels = [*sorted({shape.label for shape in several.shapes}), "yellow star"]
    three = ["green star", "yellow star", "blue square"]
    asked: tuple[tuple[str, Scene, Fields], ...] = (
        ("unconstrained", several, {"prompt": "How many triangles are there?"}),
        ("visual-question-answering", several, {"prompt": "Is there a red circle in the image?"}),
        ("caption", draw(5, 2), {}),
        ("detailed-caption", draw(6, 3), {}),
        ("ocr", draw_number(np.random.default_rng(2), value=915), {}),
        ("classification", one, {"classes": [f"{one.shapes[0].color} {kind}" for kind in SHAPE_KINDS]}),
        ("multi-label-classification", several, {"classes": labels}),
        ("object-detection", several, {"classes": labels}),
        (
            "structured-answering",
            several,
            {
                "prompt": f"Which of these classes are in the image: {', '.join(three)}?",
                "output_structure": {
                    "type": "object",
                    "properties": {name: {"type": "boolean"} for name in three},
                    "required": three,
                    "additionalProperties": False,
                },
            },
        ),
        ("counting", several, {"classes": three}),
    )
    for task_type, scene, fields in asked:
        yield Exhibit(task_type=task_type, scene=scene, fields=fields)


def workflow_of(exhibit: Exhibit, model_version: str) -> Specification:
    """Write the workflow that asks about a picture and draws the answer into it."""
    asking = {
        "type": "gemma4_block/gemma4@v1",
        "name": "gemma",
        "images": "$inputs.image",
        "task_type": exhibit.task_type,
        "model_version": model_version,
        **exhibit.fields,
    }
    draw: Callable[[], list[dict[str, Any]]] = {
        "object-detection": _draw_boxes,
        "classification": _draw_classes,
        "multi-label-classification": _draw_classes,
    }.get(exhibit.task_type, _draw_text)
    outputs = {"picture": "$steps.drawn.image"} | {
        name: f"$steps.gemma.{name}" for name in ("output", "error_status", "error_message")
    }
    return {
        "version": "1.0",
        "inputs": [{"type": "WorkflowImage", "name": "image"}],
        "steps": [asking, *draw()],
        "outputs": [
            {"type": "JsonField", "name": name, "selector": selector} for name, selector in outputs.items()
        ],
    }


def _draw_boxes() -> list[dict[str, Any]]:
    common = {
        "predictions": "$steps.gemma.predictions",
        "color_palette": "CUSTOM",
        "custom_colors": ["#202020"],
    }
    return [
        {
            "type": "roboflow_core/bounding_box_visualization@v1",
            "name": "boxes",
            "image": "$inputs.image",
            **common,
        },
        {
            "type": "roboflow_core/label_visualization@v1",
            "name": "drawn",
            "image": "$steps.boxes.image",
            "text": "Class and Confidence",
            "text_scale": 0.5,
            "text_padding": 5,
            **common,
        },
    ]


def _draw_classes() -> list[dict[str, Any]]:
    return [
        {
            "type": "roboflow_core/classification_label_visualization@v1",
            "name": "drawn",
            "image": "$inputs.image",
            "predictions": "$steps.gemma.predictions",
            "text": "Class and Confidence",
            "text_scale": 0.6,
            "text_padding": 5,
            "color_palette": "CUSTOM",
            "custom_colors": ["#202020"],
        }
    ]


def _draw_text() -> list[dict[str, Any]]:
    return [
        {
            "type": "roboflow_core/text_display@v1",
            "name": "drawn",
            "image": "$inputs.image",
            "text": "{{ $parameters.answer }}",
            "text_parameters": {"answer": "$steps.gemma.output"},
            "font_scale": 0.5,
            "font_thickness": 1,
            "padding": 6,
            "anchor": "bottom_left",
            "offset_x": 0,
            "offset_y": 0,
        }
    ]
