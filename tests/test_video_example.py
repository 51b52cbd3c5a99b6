"""The shipped workflow for video, run by the host's pipeline on a small drawn video."""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Event

import cv2
import numpy as np
import numpy.typing as npt
import pytest
from inference import InferencePipeline

from gemma4_block.cli.workflows import Row, WorkflowRunner, load_example
from gemma4_block.contract import Answer, Capabilities, Engine, GenerationConfig, Prompt
from gemma4_block.engine.pool import get_engine_pool
from gemma4_block.errors import PromptError
from gemma4_block.testing import ScriptedProvider

# The host says so of workflows on video in general.
pytestmark = pytest.mark.filterwarnings("ignore:init_with_workflow is experimental")

PICTURE = Path(__file__).parents[1] / "workflow_examples" / "watch_line.png"
SIZE_WH = (320, 240)
LINE_X_PX = 160  # The example's default.
SHOWN_FRAME = 45
STEP_PX = 24

Frame = tuple[str, tuple[int, int]] | None
"""What is in a frame and where its middle is, in pixels; None where nothing is."""

# A red circle goes from left to right, and after a pause a blue square from right to left.
FRAMES: list[Frame] = [
    *[None] * 12,
    *[("red circle", (x, 90)) for x in range(-24, 350, STEP_PX)],
    *[None] * 8,
    *[("blue square", (x, 150)) for x in range(344, -30, -STEP_PX)],
    *[None] * 4,
]


class CountingEngine:
    """An engine that counts what it is asked, and lets another one answer."""

    def __init__(self, engine: Engine) -> None:
        self.asked = 0
        self._engine = engine

    @property
    def capabilities(self) -> Capabilities:
        """Those of the other one."""
        return self._engine.capabilities

    @property
    def nbytes(self) -> int:
        """That of the other one."""
        return self._engine.nbytes

    def answer(
        self,
        prompts: Sequence[Prompt],
        generation: GenerationConfig,
        *,
        deadline: float | None = None,
        cancelled: Event | None = None,
    ) -> list[Answer | PromptError]:
        """Count the prompts and hand them on."""
        self.asked += len(prompts)
        return self._engine.answer(prompts, generation, deadline=deadline, cancelled=cancelled)

    def close(self) -> None:
        """Leave the other one, which is the process's, as it is."""


@dataclass(frozen=True, kw_only=True)
class Watched:
    """What came of a video: a row for each frame, and how many prompts the engine got."""

    rows: list[Row]
    asked: int


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Watched:
    """Send the drawn video through the host's pipeline, once."""
    path = tmp_path_factory.mktemp("video") / "shapes.mp4"
    write_video(path)
    with get_engine_pool().lease("gemma-4-demo") as demo:
        engine = CountingEngine(demo)
    rows: list[Row] = []
    pipeline = InferencePipeline.init_with_workflow(
        video_reference=str(path),
        workflow_specification=load_example("watch_line"),
        workflow_init_parameters={"gemma4_block.engine_provider": ScriptedProvider(engine)},
        on_prediction=lambda row, _: rows.append(row),
    )
    pipeline.start(use_main_thread=False)
    pipeline.join()
    return Watched(rows=rows, asked=engine.asked)


def write_video(path: Path) -> None:
    """Draw every frame into a file."""
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), 10, SIZE_WH)
    for frame in FRAMES:
        writer.write(draw(frame))
    writer.release()


def draw(frame: Frame) -> npt.NDArray[np.uint8]:
    """Draw a frame, `(240, 320, 3)` uint8 in BGR."""
    width, height = SIZE_WH
    canvas = np.full((height, width, 3), (235, 240, 245), np.uint8)
    if frame is not None:
        label, (x, y) = frame
        if label == "red circle":
            cv2.circle(canvas, (x, y), 32, (30, 30, 220), cv2.FILLED, cv2.LINE_AA)
        else:
            cv2.rectangle(canvas, (x - 29, y - 29), (x + 29, y + 29), (220, 80, 40), cv2.FILLED)
    return canvas


def is_whole(frame: Frame) -> bool:
    """Say whether all of a shape is in the picture."""
    return frame is not None and 33 <= frame[1][0] <= SIZE_WH[0] - 33


def test_only_frames_that_changed_are_asked_about(watched: Watched) -> None:
    """Every whole moving shape is asked about once, and a still frame never."""
    assert len(FRAMES) == len(watched.rows)
    were_asked = [row["detections"] is not None for row in watched.rows]
    assert were_asked == [row["motion"] for row in watched.rows]
    assert watched.asked == sum(were_asked)
    for frame, was_asked in zip(FRAMES, were_asked, strict=True):
        assert was_asked if is_whole(frame) else not was_asked or frame is not None


def test_boxes_follow_the_shapes(watched: Watched) -> None:
    """The middle of a box is on the shape that it names, and a shape keeps its track."""
    tracks: dict[str, set[int]] = {}
    for frame, row in zip(FRAMES, watched.rows, strict=True):
        if frame is None or row["detections"] is None:
            continue
        label, (x, y) = frame
        found = row["detections"]
        assert set(found.data.get("class_name", [])) <= {label}
        for (x1, y1, x2, y2), track in zip(found.xyxy, found.tracker_id, strict=True):
            assert abs((x1 + x2) / 2 - x) < 29
            assert abs((y1 + y2) / 2 - y) < 29
            tracks.setdefault(label, set()).add(int(track))
    assert {label: len(ids) for label, ids in tracks.items()} == {"red circle": 1, "blue square": 1}


def test_who_crosses_the_line_is_counted_by_direction(watched: Watched) -> None:
    """Counts change at the frame where a middle passes the line, give or take the width of a step."""
    counted = [(row["right"], row["left"]) for row in watched.rows]
    for frame, counts in zip(FRAMES, counted, strict=True):
        if is_whole(frame) and frame is not None and abs(frame[1][0] - LINE_X_PX) > STEP_PX:
            label, (x, _) = frame
            is_right = x > LINE_X_PX
            expected = (int(is_right), 0) if label == "red circle" else (1, int(not is_right))
            assert expected == counts


def test_summaries_tell_what_was_seen_and_who_crossed(watched: Watched) -> None:
    """Every fifth frame that was asked about tells of five, and all summaries together of each crossing."""
    told = [row for row in watched.rows if row["seen"] is not None]
    assert len(told) == watched.asked // 5
    right, left = (
        sum((Counter(row[name]) for row in told), Counter()) for name in ("went_right", "went_left")
    )
    assert right == {"red circle": 1}
    assert left == {"blue square": 1}
    assert {"red circle", "blue square"} == {name for row in told for name in row["seen"]}


def test_the_shown_picture_is_a_frame_of_the_video(watched: Watched) -> None:
    """The picture in README.md beside the examples is what the workflow makes of one frame."""
    made, shown = watched.rows[SHOWN_FRAME]["picture"].numpy_image, cv2.imread(str(PICTURE))
    assert shown is not None
    assert made.shape == shown.shape
    # The video's compression differs a little between builds of OpenCV.
    assert (np.abs(made.astype(int) - shown.astype(int)).max(axis=2) > 60).mean() < 0.01


def test_merged_motion_can_be_cropped_and_asked_about() -> None:
    """With `detections_merge` between them, as README.md says, what moved is cut out and named."""
    definition = {
        "version": "1.0",
        "inputs": [{"type": "WorkflowImage", "name": "image"}],
        "steps": [
            {
                "type": "roboflow_core/motion_detection@v1",
                "name": "motion",
                "image": "$inputs.image",
                "history": 3,
            },
            {
                "type": "roboflow_core/detections_merge@v1",
                "name": "merge",
                "predictions": "$steps.motion.detections",
            },
            {
                "type": "roboflow_core/dynamic_crop@v1",
                "name": "crop",
                "images": "$inputs.image",
                "predictions": "$steps.merge.predictions",
            },
            {
                "type": "gemma4_block/gemma4@v1",
                "name": "gemma",
                "images": "$steps.crop.crops",
                "model_version": "gemma-4-demo",
                "task_type": "classification",
                "classes": ["red circle", "blue square"],
            },
        ],
        "outputs": [{"type": "JsonField", "name": "answers", "selector": "$steps.gemma.output"}],
    }
    runner = WorkflowRunner(definition, init_parameters={})
    # A crop that a square fills would be a background.
    frames: list[Frame] = [None, None, None, None, ("red circle", (160, 120))]
    answers = [runner.run({"image": draw(frame)})[0]["answers"] for frame in frames]
    named = [[json.loads(answer)["class_name"] for answer in frame] for frame in answers]
    assert named == [[], [], [], [], ["red circle"]]
