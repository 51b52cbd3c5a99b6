"""Frames of a video in which hardly anything changed are answered from the last look, and no others."""

from collections.abc import Sequence
from datetime import datetime, timezone

import numpy as np
import pytest
from inference.core.workflows.execution_engine.core import ExecutionEngine
from roboflow_workflows.execution_engine.entities.base import (
    ImageParentMetadata,
    VideoMetadata,
    WorkflowImageData,
)

from gemma4_block.blocks.unchanged_frames import FramePlace, UnchangedFrames, measure_change_percent
from gemma4_block.contract import RgbImage
from gemma4_block.testing import ScriptedEngine, ScriptedProvider

SIZE_WH = (96, 64)
WHOLE = FramePlace(video="camera", box_xywh_px=(0, 0, *SIZE_WH))


def grey(value: int) -> RgbImage:
    """Return a picture of one grey."""
    return np.full((SIZE_WH[1], SIZE_WH[0], 3), value, np.uint8)


def with_spot(picture: RgbImage, value: int) -> RgbImage:
    """Return the picture with a spot of 8x8 pixels in its corner."""
    spotted = picture.copy()
    spotted[:8, :8] = value
    return spotted


def frame(
    pixels: RgbImage, number: int, *, video: str = "camera", crop_xy: tuple[int, int] | None = None
) -> WorkflowImageData:
    """Return a frame as the host's pipeline gives it to a step, or the static crop of one."""
    whole = WorkflowImageData(
        parent_metadata=ImageParentMetadata(parent_id="image"),
        numpy_image=pixels if crop_xy is None else np.zeros((480, 640, 3), np.uint8),
        video_metadata=VideoMetadata(
            video_identifier=video, frame_number=number, frame_timestamp=datetime.now(tz=timezone.utc)
        ),
    )
    if crop_xy is None:
        return whole
    return WorkflowImageData.create_crop(
        origin_image_data=whole,
        crop_identifier=f"crop-{number}",
        cropped_image=pixels,
        offset_x=crop_xy[0],
        offset_y=crop_xy[1],
        preserve_video_metadata=True,
    )


class Watcher:
    """A workflow of one step that is run on one frame after the other, and the greys that its model saw."""

    def __init__(self, **fields: object) -> None:
        self._engine = ScriptedEngine(lambda prompt: str(prompt.images[0].max()))
        step = {
            "type": "gemma4_block/gemma4@v1",
            "name": "gemma",
            "images": "$inputs.image",
            "prompt": "What?",
            "image_seq_length": 70,
            **fields,
        }
        self._workflow = ExecutionEngine.init(
            workflow_definition={
                "version": "1.0",
                "inputs": [
                    {"type": "WorkflowImage", "name": "image"},
                    {"type": "WorkflowParameter", "name": "below", "default_value": 3},
                    {"type": "WorkflowParameter", "name": "budget", "default_value": 70},
                ],
                "steps": [step],
                "outputs": [{"type": "JsonField", "name": "answer", "selector": "$steps.gemma.output"}],
            },
            init_parameters={"gemma4_block.engine_provider": ScriptedProvider(self._engine)},
        )

    def see(self, *images: object, **parameters: object) -> list[str]:
        """Run the workflow, and return the largest value of each picture that the model got."""
        rows = self._workflow.run(runtime_parameters={"image": list(images), **parameters})
        return [row["answer"] for row in rows]


@pytest.mark.parametrize(
    ("after", "percent"),
    [
        pytest.param(grey(100), 0.0, id="the same"),
        pytest.param(grey(151), 20.0, id="brighter everywhere"),
        # A part is 9.6 pixels wide and 10.7 high: the spot is 62.5 percent of one, and 1 percent of all.
        pytest.param(with_spot(grey(100), 151), 12.5, id="a small thing appears"),
    ],
)
def test_the_part_that_changed_most_counts(after: RgbImage, percent: float) -> None:
    """A change is that of the one part that the model sees as one token, not the mean of the picture."""
    assert measure_change_percent(grey(100), after, 70) == pytest.approx(percent, abs=0.1)


def test_noise_averages_out() -> None:
    """A camera's noise, of 5 percent a pixel, is far less where all pixels of a part are taken together."""
    rng = np.random.default_rng(0)
    noisy = (grey(100).astype(float) + rng.normal(0, 13, (64, 96, 1))).clip(0, 255).astype(np.uint8)
    moved = with_spot(noisy, 160)

    assert measure_change_percent(grey(100), noisy, 70) < 6
    assert measure_change_percent(grey(100), moved, 70) > 15


def test_a_smaller_picture_than_its_tokens_is_compared() -> None:
    """Pictures are scaled up for the model; a part is then less than a pixel."""
    assert measure_change_percent(np.zeros((2, 3, 3), np.uint8), np.full((2, 3, 3), 51, np.uint8), 280) == 20


def test_changes_add_up() -> None:
    """What counts is the change since the last look, so a slow one is looked at sooner or later."""
    seen = UnchangedFrames()
    looks = [seen.replace(grey(value), WHOLE, 70, below_percent=2)[0, 0, 0] for value in range(100, 112, 2)]

    # 2 percent are 5.1 of 255.
    assert looks == [100, 100, 100, 106, 106, 106]


@pytest.mark.parametrize(
    ("place", "budget"),
    [
        pytest.param(FramePlace(video="other", box_xywh_px=(0, 0, *SIZE_WH)), 70, id="another video"),
        pytest.param(FramePlace(video="camera", box_xywh_px=(1, 0, *SIZE_WH)), 70, id="another crop"),
        pytest.param(WHOLE, 140, id="another budget"),
    ],
)
def test_places_do_not_mix(place: FramePlace, budget: int) -> None:
    """Only what was looked at in the same place, as closely, takes the place of a picture."""
    seen = UnchangedFrames()
    seen.replace(grey(100), WHOLE, 70, below_percent=50)

    assert seen.replace(grey(101), place, budget, below_percent=50)[0, 0, 0] == 101
    assert seen.replace(grey(102), WHOLE, 70, below_percent=50)[0, 0, 0] == 100


def test_memory_is_bounded() -> None:
    """The pictures that were compared longest ago go first, and one that is too large is never kept."""
    one = grey(0).nbytes
    seen = UnchangedFrames(most_bytes=3 * one)
    for number in range(100):
        seen.replace(
            grey(100), FramePlace(video=str(number), box_xywh_px=(0, 0, *SIZE_WH)), 70, below_percent=5
        )
        assert seen.nbytes <= 3 * one
    big = np.zeros((640, 960, 3), np.uint8)

    assert seen.replace(big, WHOLE, 70, below_percent=5) is big
    assert seen.nbytes == 3 * one


def test_what_is_kept_is_a_copy() -> None:
    """The host may draw into a frame after the step has run."""
    seen = UnchangedFrames()
    picture = grey(100)
    seen.replace(picture, WHOLE, 70, below_percent=5)
    picture[:] = 0

    assert seen.replace(grey(101), WHOLE, 70, below_percent=5)[0, 0, 0] == 100


@pytest.mark.parametrize(
    ("below", "seen"),
    [(None, ["100", "101", "103"]), (1, ["100", "100", "103"]), (3, ["100", "100", "100"])],
)
def test_the_step_looks_again_from_its_percentage_on(below: float | None, seen: Sequence[str]) -> None:
    """Without the field every frame is looked at; with it those that changed by so much."""
    watcher = Watcher(unchanged_below=below)
    answers = [watcher.see(frame(grey(value), number)) for number, value in enumerate((100, 101, 103), 1)]

    assert [answer for (answer,) in answers] == list(seen)


def test_the_percentage_may_come_from_an_input() -> None:
    """Another run of the same workflow may set another one."""
    watcher = Watcher(unchanged_below="$inputs.below")
    watcher.see(frame(grey(100), 1))

    assert watcher.see(frame(grey(103), 2), below=1) == ["103"]
    assert watcher.see(frame(grey(106), 3), below=3) == ["103"]


def test_a_closer_look_is_a_new_one() -> None:
    """A frame that was seen at 70 tokens is looked at again where more are asked for."""
    watcher = Watcher(unchanged_below=3, image_seq_length="$inputs.budget")

    assert watcher.see(frame(grey(100), 1)) == ["100"]
    assert watcher.see(frame(grey(101), 2), budget=280) == ["101"]
    assert watcher.see(frame(grey(102), 3)) == ["100"]


def test_two_cameras_of_one_workflow_do_not_mix() -> None:
    """Each has its own last look, in whatever order their frames come."""
    watcher = Watcher(unchanged_below=3)
    watcher.see(frame(grey(100), 1, video="a"), frame(grey(102), 1, video="b"))

    assert watcher.see(frame(grey(103), 2, video="b"), frame(grey(101), 2, video="a")) == ["102", "100"]


def test_static_crops_are_told_apart_by_their_place() -> None:
    """The host gives every crop another name, so the place in the frame tells which it is."""
    watcher = Watcher(unchanged_below=3)
    watcher.see(frame(grey(100), 1, crop_xy=(0, 0)), frame(grey(102), 1, crop_xy=(200, 0)))

    assert watcher.see(frame(grey(103), 2, crop_xy=(200, 0)), frame(grey(101), 2, crop_xy=(0, 0))) == [
        "102",
        "100",
    ]


def test_images_of_no_video_are_always_looked_at() -> None:
    """The host gives the images of all requests the same name, so nothing says that two belong together."""
    watcher = Watcher(unchanged_below=3)

    assert watcher.see(grey(100)) == ["100"]
    assert watcher.see(grey(101)) == ["101"]


def test_another_workflow_begins_anew() -> None:
    """What one compiled workflow saw is nothing to another one, nor to another request."""
    Watcher(unchanged_below=3).see(frame(grey(100), 1))

    assert Watcher(unchanged_below=3).see(frame(grey(101), 2)) == ["101"]
