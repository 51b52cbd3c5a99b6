"""Ask a checkpoint through the tasks that answer in JSON, as a workflow does."""

from collections.abc import Sequence
from dataclasses import dataclass

from gemma4_block.contract import Answer, Engine, GenerationConfig
from gemma4_block.demo.evaluation.cases import true_box
from gemma4_block.demo.evaluation.scoring import LabelledBox, match_boxes
from gemma4_block.demo.scenes import Scene
from gemma4_block.errors import AnswerError
from gemma4_block.tasks import TASKS, Detections, Predictions, Result, TaskRequest, TaskType

# The longest true answers are 5 boxes and 7 classes.
_MAX_NEW_TOKENS = 192


@dataclass(frozen=True, kw_only=True, slots=True)
class Asked:
    """A request and what came of it; None where the answer was cut off or could not be read."""

    request: TaskRequest
    result: Result | None

    @property
    def predictions(self) -> Predictions | None:
        """Classes or boxes, where there are any."""
        return None if self.result is None else self.result.predictions


def ask_task(
    engine: Engine, name: TaskType, scenes: Sequence[Scene], classes: Sequence[tuple[str, ...]]
) -> list[Asked]:
    """Ask about each scene with its own classes.

    Args:
        engine: Asked in one batch, always for the likeliest answer.
        name: The task.
        scenes: What is asked about.
        classes: For each of them what is asked for.

    Returns:
        One for each scene, in order.

    """
    task = TASKS[name]
    requests = [
        TaskRequest(
            images=(scene.image,), image_seq_length=min(engine.capabilities.image_seq_lengths), classes=names
        )
        for scene, names in zip(scenes, classes, strict=True)
    ]
    generation = GenerationConfig(max_new_tokens=_MAX_NEW_TOKENS)
    answers = engine.answer([task.ask(request) for request in requests], generation)
    found = []
    for request, answer in zip(requests, answers, strict=True):
        if not isinstance(answer, Answer):
            raise answer
        found.append(Asked(request=request, result=_read(name, answer, request)))
    return found


def match_detections(asked: Asked, scene: Scene) -> list[tuple[float, bool]]:
    """Return of each answered box its confidence, 0 where it has none, and whether such a shape is there."""
    items = asked.predictions.items if isinstance(asked.predictions, Detections) else ()
    height, width = scene.image.shape[:2]
    given = [
        LabelledBox(
            label=item.class_name,
            box_yxyx_1000=(
                1000 * item.box_xyxy_px[1] / height,
                1000 * item.box_xyxy_px[0] / width,
                1000 * item.box_xyxy_px[3] / height,
                1000 * item.box_xyxy_px[2] / width,
            ),
        )
        for item in items
    ]
    right = [box for box, _ in match_boxes(given, [true_box(scene, shape) for shape in scene.shapes])]
    return [
        (0.0 if item.confidence is None else item.confidence, box in right)
        for item, box in zip(items, given, strict=True)
    ]


def _read(name: TaskType, answer: Answer, request: TaskRequest) -> Result | None:
    try:
        result = TASKS[name].read(answer, request)
    except AnswerError:
        return None
    return None if result.error_message is not None else result
