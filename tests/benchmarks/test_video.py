"""The stream of the video benchmark moves and rests, and its lines tell what looking less often changes."""

import itertools
from dataclasses import replace

import numpy as np

from tests.benchmarks.video import FRAMES_PER_SECOND, Watch, compare, draw_stream, watch


def test_the_stream_moves_for_five_seconds_of_twenty() -> None:
    """Frames differ much while the circle passes, and by noise alone while it does not."""
    frames = [frame.astype(float) for frame in draw_stream(12 * FRAMES_PER_SECOND)]
    changes = [np.abs(after - before).max() for before, after in itertools.pairwise(frames)]

    assert min(changes[4:20]) > 60
    assert max(changes[30:]) < 40
    assert min(changes) > 0


def test_a_frame_that_is_not_asked_about_keeps_the_last_answer() -> None:
    """So the answers of a workflow that skips frames are compared as whoever reads them sees them."""
    gated = Watch(
        answers=["1", None, None, "2"],
        looked_at=2,
        seconds=1.0,
        early_mb=3.0,
        end_mb=4.0,
        early_kept_mb=1.0,
        end_kept_mb=2.0,
    )
    whole = replace(gated, answers=["1", "1", "2", "2"], looked_at=4, seconds=4.0)

    assert compare("motion", gated, whole) == {
        "way": "motion",
        "frames": 4,
        "frames_per_second": 4.0,
        "asked_percent": 50.0,
        "looked_at_percent": 50.0,
        "same_answers_percent": 75.0,
        "early_mb": 3,
        "end_mb": 4,
        "early_kept_mb": 1,
        "end_kept_mb": 2,
    }


def test_the_stream_is_watched_in_each_way() -> None:
    """A frame that changed by noise is looked at again, or is not, and motion decides who is asked at all."""
    frames = 7 * FRAMES_PER_SECOND
    every, lazy, gated = (watch(way, frames) for way in ("every frame", "4", "motion"))

    assert every.looked_at == frames
    # All while the circle moves, and hardly any of the ten after that.
    assert 20 <= lazy.looked_at <= 29
    assert None not in lazy.answers
    assert None in gated.answers
    # What is looked at is kept, and nothing else.
    assert every.end_kept_mb > lazy.end_kept_mb > every.early_kept_mb > 0
