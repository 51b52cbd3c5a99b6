"""Show the question and the answer of every task with a picture, one picture a task."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

from gemma4_block.cli.question_picture import write_below
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

    @property
    def question(self) -> str:
        """The task and what it is given, for people."""
        given = [
            ", ".join(value) if isinstance(value, list) else str(value) for value in self.fields.values()
        ]
        return ": ".join([self.task_type, *given])


def write_gallery(folder: Path, model_version: str, console: "Console") -> None:
    """Ask every task about a drawn picture, and write each answer into its picture.

    Args:
        folder: Where the pictures go; must exist.
        model_version: Which model answers.
        console: Gets a line for each picture.

    Raises:
        ConfigurationError: A picture cannot be written, or an image could not be asked about.

    """
    import numpy as np
    from rich.progress import track

    for exhibit in track(list(draw_exhibits()), description="asking", console=console):
        runner = WorkflowRunner(workflow_of(exhibit, model_version), init_parameters={})
        (row,) = runner.run({"image": exhibit.scene.image[..., ::-1].copy()})
        if row["error_status"]:
            raise ConfigurationError(f"{exhibit.task_type}: {row['error_message']}")
        path = folder / f"{exhibit.task_type}.png"
        drawn = np.ascontiguousarray(row["picture"].numpy_image[..., ::-1])
        written = [exhibit.question] if exhibit.task_type in _DRAWN else [exhibit.question, row["output"]]
        try:
            write_below(drawn, written).save(path)
        except OSError as error:
            raise ConfigurationError(f"{path} cannot be written. Choose another --output.") from error
        console.print(f"{path}: {row['output']}", soft_wrap=True, highlight=False, markup=False)


def draw_exhibits() -> Iterator[Exhibit]:
    """Yield a picture and a question for every task.

    No scene is chosen for its answer: each is the first one of so many shapes that the generator draws.
    """
    import numpy as np

    from gemma4_block.demo.scenes import SHAPE_KINDS, draw_number, draw_scene

    one, two, three, five = (
        draw_scene(np.random.default_rng(0), shape_count=shapes) for shapes in (1, 2, 3, 5)
    )
    labels = [*sorted({shape.label for shape in five.shapes}), "yellow star"]
    asked: tuple[tuple[str, Scene, Fields], ...] = (
        ("unconstrained", five, {"prompt": "How many stars are there?"}),
        ("visual-question-answering", five, {"prompt": "Is there a red circle in the image?"}),
        ("caption", two, {}),
        ("detailed-caption", three, {}),
        ("ocr", draw_number(np.random.default_rng(0)), {}),
        ("classification", one, {"classes": [f"{one.shapes[0].color} {kind}" for kind in SHAPE_KINDS]}),
        ("multi-label-classification", five, {"classes": labels}),
        ("object-detection", five, {"classes": labels}),
        (
            "structured-answering",
            five,
            {
                "output_structure": {
                    "shapes": "number of shapes",
                    "has_yellow_star": "whether there is a yellow star",
                }
            },
        ),
        ("counting", five, {"classes": labels}),
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
    draw = _DRAWN.get(exhibit.task_type)
    outputs = {"picture": "$inputs.image" if draw is None else "$steps.drawn.image"} | {
        name: f"$steps.gemma.{name}" for name in ("output", "error_status", "error_message")
    }
    return {
        "version": "1.0",
        "inputs": [{"type": "WorkflowImage", "name": "image"}],
        "steps": [asking, *([] if draw is None else draw())],
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


_DRAWN: Final[Mapping[str, Callable[[], list[dict[str, Any]]]]] = MappingProxyType(
    {
        "object-detection": _draw_boxes,
        "classification": _draw_classes,
        "multi-label-classification": _draw_classes,
    }
)
"""The steps that draw the answers of some tasks; others are written below the picture."""
