"""Find the pictures of a video in which hardly anything changed since they were last looked at."""

import math
from dataclasses import dataclass
from threading import Lock
from typing import Final

import cv2
import numpy as np
from cachetools import LRUCache

from gemma4_block.contract import ImageSeqLength, RgbImage

# Twenty pictures of 1920x1080 pixels. A step of a workflow keeps what it saw last at each place.
_MOST_BYTES: Final = 128 * 2**20
_WHITE: Final = 255


@dataclass(frozen=True, kw_only=True, slots=True)
class FramePlace:
    """Where a picture was taken from.

    Attributes:
        video: The video's identifier, the same for all its frames.
        box_xywh_px: The part of the frame, in pixels of the frame, x right, y down; all of it for a frame.

    """

    video: str
    box_xywh_px: tuple[int, int, int, int]


class UnchangedFrames:
    """The pictures that were last looked at, one for each place of each video. May be used from many threads.

    A picture that hardly differs is replaced by the one that was looked at. Nothing else is kept: what the
    model saw in it and what it answered stay with the engine, by the picture's own pixels. So it does not
    matter here what is asked, or of which model.

    Args:
        most_bytes: Of all pictures together; those that were not compared for longest are dropped.

    """

    def __init__(self, most_bytes: int = _MOST_BYTES) -> None:
        self._seen: LRUCache[tuple[FramePlace, ImageSeqLength], RgbImage] = LRUCache(
            most_bytes, getsizeof=lambda picture: picture.nbytes
        )
        self._lock = Lock()

    @property
    def nbytes(self) -> int:
        """Size in memory."""
        return int(self._seen.currsize)

    def replace(
        self, picture: RgbImage, place: FramePlace, budget: ImageSeqLength, *, below_percent: float
    ) -> RgbImage:
        """Return the picture that was last looked at in its place where hardly anything changed, else itself.

        Changes add up: what is compared with is not the frame before, but the one that was looked at.

        Args:
            picture: `(H, W, 3)` uint8 RGB; a copy of it is kept.
            place: Where it was taken from.
            budget: Visual token budget, at which it is compared.
            below_percent: See `measure_change_percent`; a change of this much or more is one.

        Returns:
            A picture of the same size.

        """
        with self._lock:
            key = (place, budget)
            seen = self._seen.get(key)
            if seen is not None and _is_like(seen, picture, budget, below_percent):
                return seen
            if picture.nbytes > self._seen.maxsize:
                # What was seen before it is of no use any more.
                self._seen.pop(key, None)
                return picture
            # The host may draw into its own.
            kept = picture.copy()
            self._seen[key] = kept
            return kept


def _is_like(seen: RgbImage, picture: RgbImage, budget: ImageSeqLength, below_percent: float) -> bool:
    if seen.shape != picture.shape:
        return False
    return measure_change_percent(seen, picture, budget) < below_percent


def measure_change_percent(before: RgbImage, after: RgbImage, budget: ImageSeqLength) -> float:
    """Return how much the part changed most that the model sees as one token, in percent of all brightness.

    Both pictures are cut into as many parts as they become tokens, with their proportions. The change of a
    part is the mean difference of its pixels, over all three colours: noise of a camera averages out, and a
    small thing that appears does not, as it would in a mean over the whole picture.

    Args:
        before: `(H, W, 3)` uint8.
        after: Of the same shape.
        budget: Visual token budget.

    Returns:
        0 to 100.

    >>> black = np.zeros((96, 96, 3), np.uint8)
    >>> spot = black.copy()
    >>> spot[:12, :12] = 255
    >>> measure_change_percent(black, spot, 70), measure_change_percent(black, spot, 1120)
    (100.0, 100.0)
    """
    height, width = before.shape[:2]
    # Source: get_aspect_ratio_preserving_size in transformers/models/gemma4/image_processing_gemma4.py, 5.15.
    factor = math.sqrt(budget / (width * height))
    columns, rows = (max(1, math.floor(factor * side)) for side in (width, height))
    difference = cv2.absdiff(before, after)
    size = (min(columns, width), min(rows, height))
    # As floats: a sensor's noise is less than one step of the brightness.
    parts = cv2.resize(difference.astype(np.float32), size, interpolation=cv2.INTER_AREA)
    return float(100 * parts.mean(axis=-1).max() / _WHITE)
