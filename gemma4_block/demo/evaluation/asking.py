"""Ask a checkpoint through the tasks, as a workflow does."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from threading import Event

from gemma4_block.contract import (
    Answer,
    Capabilities,
    Engine,
    GenerationConfig,
    ImageSeqLength,
    Prompt,
)
from gemma4_block.demo.evaluation.cases import true_box
from gemma4_block.demo.evaluation.scoring import LabelledBox, match_boxes
from gemma4_block.demo.scenes import Scene
from gemma4_block.errors import AnswerError, PromptError
from gemma4_block.tasks import TASKS, Detections, Predictions, Result, TaskRequest, TaskType

# The longest true answers about scenes are 5 boxes and 7 classes.
_MAX_NEW_TOKENS = 192


def list_claimed(engine: Engine, budgets: Sequence[ImageSeqLength]) -> list[ImageSeqLength]:
    """Return those of the budgets that an engine claims, in their order."""
    return [budget for budget in budgets if budget in engine.capabilities.image_seq_lengths]


class AtBudget:
    """An engine that is asked about each image at one budget.

    Args:
        engine: Who answers.
        image_seq_length: The budget.

    """

    def __init__(self, engine: Engine, image_seq_length: ImageSeqLength) -> None:
        self._engine = engine
        self._image_seq_length = image_seq_length

    @property
    def capabilities(self) -> Capabilities:
        """Those of the engine, with the one budget."""
        return replace(self._engine.capabilities, image_seq_lengths=(self._image_seq_length,))

    @property
    def nbytes(self) -> int:
        """What the engine takes."""
        return self._engine.nbytes

    def answer(
        self,
        prompts: Sequence[Prompt],
        generation: GenerationConfig,
        *,
        deadline: float | None = None,
        cancelled: Event | None = None,
    ) -> list[Answer | PromptError]:
        """Ask the engine, at the budget whatever a prompt says."""
        fixed = [replace(prompt, image_seq_length=self._image_seq_length) for prompt in prompts]
        return self._engine.answer(fixed, generation, deadline=deadline, cancelled=cancelled)

    def close(self) -> None:
        """Close the engine."""
        self._engine.close()


@dataclass(frozen=True, kw_only=True, slots=True)
class Asked:
    """A request and what came of it; None where the answer was cut off or could not be read."""

    request: TaskRequest
    result: Result | None

    @property
    def predictions(self) -> Predictions | None:
        """Classes or boxes, where there are any."""
        return None if self.result is None else self.result.predictions


def ask_requests(
    engine: Engine, name: TaskType, requests: Sequence[TaskRequest], *, max_new_tokens: int = _MAX_NEW_TOKENS
) -> list[Asked]:
    """Ask all requests of a task.

    Args:
        engine: Asked in one batch, always for the likeliest answer.
        name: The task.
        requests: What is asked.
        max_new_tokens: A model that runs on is cut here.

    Returns:
        One for each request, in order.

    """
    task = TASKS[name]
    generation = GenerationConfig(max_new_tokens=max_new_tokens)
    answers = engine.answer([task.ask(request) for request in requests], generation)
    found = []
    for request, answer in zip(requests, answers, strict=True):
        if not isinstance(answer, Answer):
            raise answer
        found.append(Asked(request=request, result=_read(name, answer, request)))
    return found


def ask_task(
    engine: Engine, name: TaskType, scenes: Sequence[Scene], classes: Sequence[tuple[str, ...]]
) -> list[Asked]:
    """Ask about each scene with its own classes, at the smallest budget that the engine has.

    Args:
        engine: Asked in one batch, always for the likeliest answer.
        name: The task.
        scenes: What is asked about.
        classes: For each of them what is asked for.

    Returns:
        One for each scene, in order.

    """
    budget = min(engine.capabilities.image_seq_lengths)
    requests = [
        TaskRequest(images=(scene.image,), image_seq_length=budget, classes=names)
        for scene, names in zip(scenes, classes, strict=True)
    ]
    return ask_requests(engine, name, requests)


def match_detections(asked: Asked, scene: Scene) -> list[tuple[float, bool]]:
    """Return of each answered box its confidence, 0 where it has none, and whether such a shape is there."""
    return match_to_truth(asked, [true_box(scene, shape) for shape in scene.shapes])


def match_to_truth(asked: Asked, truth: Sequence[LabelledBox]) -> list[tuple[float, bool]]:
    """Compare the boxes of an answer with the true ones.

    Args:
        asked: A detection.
        truth: The boxes that are in the image.

    Returns:
        Of each answered box its confidence, 0 where it has none, and whether it is right.

    """
    items = asked.predictions.items if isinstance(asked.predictions, Detections) else ()
    height, width = asked.request.images[0].shape[:2]
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
    right = [box for box, _ in match_boxes(given, truth)]
    # Two answered boxes may be equal, and only one of them is right.
    return [
        (0.0 if item.confidence is None else item.confidence, any(box is one for one in right))
        for item, box in zip(items, given, strict=True)
    ]


def _read(name: TaskType, answer: Answer, request: TaskRequest) -> Result | None:
    try:
        result = TASKS[name].read(answer, request)
    except AnswerError:
        return None
    return None if result.error_message is not None else result
