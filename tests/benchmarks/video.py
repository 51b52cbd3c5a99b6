"""Watch a drawn stream of ten minutes: how fast, with how much memory, and what looking less often changes.

    python -m tests.benchmarks.video
    python -m tests.benchmarks.video --minutes 2 --percents 1 3

The camera stands still, its picture is noisy and the light drifts by 2 percent. Every twenty seconds the
scene is another one, and in the first five of them a circle moves through. The demo model counts the shapes
in every frame. The same stream is watched in several ways, each in a process of its own: looking at every
frame, with `unchanged_below` at some percentages, and with the host's motion detection before the step. One
line of JSON for each: frames a second, how many frames were looked at, how many answers are the same as
those of looking at every frame, and the memory of the process after a tenth of the stream and at its end,
with what of it is kept of earlier pictures, which the settings bound.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import cv2
import numpy as np

from gemma4_block.cli.workflows import Specification, WorkflowRunner, one_step_workflow
from gemma4_block.contract import Answer, GenerationConfig, Prompt, RgbImage
from gemma4_block.demo.evaluation.report import CHECKPOINT_DIRECTORY
from gemma4_block.demo.scenes import draw_scene
from gemma4_block.engine.compat import Gemma4HF
from gemma4_block.engine.local import LocalEngine
from gemma4_block.errors import PromptError
from gemma4_block.testing import ScriptedProvider
from tests.benchmarks.machine import read_memory

FRAMES_PER_SECOND = 5
_SIZE_WH = (320, 240)
_SCENE_S = 20
_MOVING_S = 5
_NOISE = 2.0
_DRIFT = 0.02
_DRIFT_S = 60
_RADIUS_PX = 24
_RED = (220, 30, 35)
_MB = 1e6
_MOTION = "motion"
_EVERY_FRAME = "every frame"


@dataclass(frozen=True, kw_only=True, slots=True)
class Watch:
    """What one way of watching found.

    Attributes:
        answers: One for each frame; None where it was not asked about.
        looked_at: How many different pictures the model got.
        seconds: For all frames.
        early_mb: Memory of the process after a tenth of the stream.
        end_mb: And at its end.
        early_kept_mb: How much of `early_mb` is kept of earlier pictures.
        end_kept_mb: The same of `end_mb`.

    """

    answers: Sequence[str | None]
    looked_at: int
    seconds: float
    early_mb: float
    end_mb: float
    early_kept_mb: float
    end_kept_mb: float


class Looks:
    """Lends the engine to a workflow, and counts the different pictures that follow each other."""

    def __init__(self, engine: LocalEngine) -> None:
        self.count = 0
        self._engine = engine
        self._last = b""

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - everything else is the engine's
        return getattr(self._engine, name)

    def answer(
        self,
        prompts: Sequence[Prompt],
        generation: GenerationConfig,
        **options: Any,  # noqa: ANN401 - of `Engine.answer`
    ) -> list[Answer | PromptError]:
        """Count, and let the engine answer."""
        for prompt in prompts:
            pixels = prompt.images[0].tobytes()
            self.count += pixels != self._last
            self._last = pixels
        return self._engine.answer(prompts, generation, **options)


def draw_stream(frames: int, *, seed: int = 0) -> Iterator[RgbImage]:
    """Draw the frames of the stream, `(240, 320, 3)` uint8 RGB, one after the other."""
    rng = np.random.default_rng(seed)
    scene_frames, moving_frames = _SCENE_S * FRAMES_PER_SECOND, _MOVING_S * FRAMES_PER_SECOND
    background = np.zeros((*_SIZE_WH[::-1], 3), np.uint8)
    for number in range(frames):
        place = number % scene_frames
        if place == 0:
            drawn = draw_scene(
                np.random.default_rng([seed, number]), shape_count=1 + number // scene_frames % 3
            )
            background = cv2.resize(drawn.image, _SIZE_WH, interpolation=cv2.INTER_AREA)
        picture = background.astype(np.float32)
        if place < moving_frames:
            x = round((_SIZE_WH[0] + 4 * _RADIUS_PX) * place / moving_frames) - 2 * _RADIUS_PX
            cv2.circle(picture, (x, _SIZE_WH[1] // 2), _RADIUS_PX, _RED, thickness=-1, lineType=cv2.LINE_AA)
        light = 1 + _DRIFT * np.sin(2 * np.pi * number / (_DRIFT_S * FRAMES_PER_SECOND))
        noisy = light * picture + rng.normal(0, _NOISE, picture.shape)
        yield noisy.clip(0, 255).astype(np.uint8)


def watch(way: str, frames: int) -> Watch:
    """Watch the stream in this process.

    Args:
        way: `every frame`, `motion`, or the percentage of `unchanged_below`.
        frames: How many.

    """
    engine = Gemma4HF.from_pretrained(CHECKPOINT_DIRECTORY, device="cpu").engine
    looks = Looks(engine)
    provider = ScriptedProvider(looks)  # type: ignore[arg-type]
    runner = WorkflowRunner(_write_workflow(way), init_parameters={"gemma4_block.engine_provider": provider})
    # The runner has prepared the host, which must come first.
    from roboflow_workflows.execution_engine.entities.base import (
        ImageParentMetadata,
        VideoMetadata,
        WorkflowImageData,
    )

    weights_bytes = engine.nbytes

    def read_mb() -> tuple[float, float]:
        return read_memory()["VmRSS"] / _MB, (engine.nbytes - weights_bytes) / _MB

    answers: list[str | None] = []
    early_mb, early_kept_mb, spent_s = 0.0, 0.0, 0.0
    for number, picture in enumerate(draw_stream(frames), 1):
        image = WorkflowImageData(
            parent_metadata=ImageParentMetadata(parent_id="image"),
            numpy_image=np.ascontiguousarray(picture[..., ::-1]),
            video_metadata=VideoMetadata(
                video_identifier="stream",
                frame_number=number,
                frame_timestamp=datetime.now(tz=timezone.utc),
                fps=FRAMES_PER_SECOND,
            ),
        )
        started = time.perf_counter()
        (row,) = runner.run({"image": [image]})
        spent_s += time.perf_counter() - started
        answers.append(row["output"])
        if number == max(1, frames // 10):
            early_mb, early_kept_mb = read_mb()
    end_mb, end_kept_mb = read_mb()
    engine.close()
    return Watch(
        answers=answers,
        looked_at=looks.count,
        seconds=spent_s,
        early_mb=early_mb,
        end_mb=end_mb,
        early_kept_mb=early_kept_mb,
        end_kept_mb=end_kept_mb,
    )


def compare(way: str, found: Watch, whole: Watch) -> dict[str, object]:
    """Return the line of one way of watching, beside that of looking at every frame."""
    said = [answer for answer in found.answers if answer is not None]
    # Where a frame is not asked about, the last answer holds.
    held, last = [], None
    for answer in found.answers:
        last = last if answer is None else answer
        held.append(last)
    same = sum(one == other for one, other in zip(held, whole.answers, strict=True))
    return {
        "way": way,
        "frames": len(found.answers),
        "frames_per_second": round(len(found.answers) / found.seconds, 1),
        "asked_percent": round(100 * len(said) / len(held), 1),
        "looked_at_percent": round(100 * found.looked_at / len(held), 1),
        "same_answers_percent": round(100 * same / len(held), 1),
        "early_mb": round(found.early_mb),
        "end_mb": round(found.end_mb),
        "early_kept_mb": round(found.early_kept_mb),
        "end_kept_mb": round(found.end_kept_mb),
    }


def _write_workflow(way: str) -> Specification:
    fields: dict[str, object] = {
        "prompt": "How many shapes are there?",
        "model_version": "gemma-4-demo",
        "image_seq_length": 70,
    }
    if way not in (_EVERY_FRAME, _MOTION):
        fields["unchanged_below"] = float(way)
    workflow = one_step_workflow(fields, outputs={"output": "output"})
    if way == _MOTION:
        steps = workflow["steps"]
        assert isinstance(steps, list)
        steps[:0] = [
            {
                "type": "roboflow_core/motion_detection@v1",
                "name": "motion",
                "image": "$inputs.image",
                "history": 10,
            },
            {
                "type": "roboflow_core/continue_if@v1",
                "name": "only_changed",
                "condition_statement": {
                    "type": "StatementGroup",
                    "statements": [
                        {
                            "type": "UnaryStatement",
                            "operand": {"type": "DynamicOperand", "operand_name": "motion"},
                            "operator": {"type": "(Boolean) is True"},
                        }
                    ],
                },
                "evaluation_parameters": {"motion": "$steps.motion.motion"},
                "next_steps": ["$steps.gemma"],
            },
        ]
    return workflow


def _watch_apart(way: str, frames: int) -> Watch:
    command = [sys.executable, "-W", "ignore", "-m", __spec__.name, "--only", way, "--frames", str(frames)]
    printed = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout  # noqa: S603
    return Watch(**json.loads(printed.splitlines()[-1]))


def main(arguments: Sequence[str] | None = None) -> None:
    """Watch in every way, and print a line for each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--minutes", type=float, default=10, help="of the stream; 10 if not given")
    parser.add_argument("--percents", nargs="*", type=float, default=[1, 2, 3, 5, 10])
    parser.add_argument("--only", help="watch in one way, in this process")
    parser.add_argument("--frames", type=int, help="with --only, how many frames")
    options = parser.parse_args(arguments)
    if options.only is not None:
        found = watch(options.only, options.frames)
        print(json.dumps({name: getattr(found, name) for name in Watch.__slots__}))  # noqa: T201 - a command
        return
    frames = max(1, round(60 * options.minutes * FRAMES_PER_SECOND))
    whole = _watch_apart(_EVERY_FRAME, frames)
    print(json.dumps(compare(_EVERY_FRAME, whole, whole)), flush=True)  # noqa: T201
    for way in (*map(str, options.percents), _MOTION):
        print(json.dumps(compare(way, _watch_apart(way, frames), whole)), flush=True)  # noqa: T201


if __name__ == "__main__":
    main()
