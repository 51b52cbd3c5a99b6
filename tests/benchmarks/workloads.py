"""What is asked: pictures with detail everywhere, four questions, and what an engine gets of them at once."""

from collections.abc import Sequence

import cv2
import numpy as np

from gemma4_block.cli.workflows import one_step_workflow
from gemma4_block.contract import ImageSeqLength, RgbImage

Step = Sequence[tuple[RgbImage, str]]
"""Images and a question about each, that one step of a workflow asks together."""

QUESTIONS = (
    "What is this?",
    "Describe it in detail.",
    "How many people are there?",
    "Is anything wrong here?",
)
NEW_TOKENS = 32
REQUESTS = 8
_SIZES_WH = ((64, 64), (128, 96), (320, 240), (640, 480), (480, 640), (800, 600), (1280, 720), (200, 400))


def photo(seed: int, size_wh: tuple[int, int] = (640, 480)) -> RgbImage:
    """Draw noise at several scales: detail everywhere, as in a photo."""
    rng = np.random.default_rng(seed)
    layers = [rng.random((2**power, 2**power, 3)) for power in (2, 4, 6, 8)]
    mixed = np.mean([cv2.resize(layer, size_wh, interpolation=cv2.INTER_CUBIC) for layer in layers], axis=0)
    drawn: RgbImage = (255 * mixed.clip(0, 1)).astype(np.uint8)
    return drawn


def one_question(seed: int) -> Step:
    """One image, one question."""
    return [(photo(seed), QUESTIONS[0])]


def another_question(seed: int) -> Step:
    """Another question about the image of `one_question`."""
    return [(photo(seed), QUESTIONS[1])]


def many_crops(seed: int, budget: ImageSeqLength) -> Step:
    """Eight crops of different sizes, four above a budget of 70, and one question."""
    sizes = _SIZES_WH if budget == 70 else _SIZES_WH[2:6]
    # No two repeats share a crop.
    return [(photo(100 * seed + place, size), QUESTIONS[0]) for place, size in enumerate(sizes)]


def many_questions(seed: int) -> Sequence[Step]:
    """One frame and four questions, a step for each."""
    frame = photo(seed)
    return [[(frame, question)] for question in QUESTIONS]


def many_requests(seed: int) -> Sequence[Step]:
    """Eight images of one size, a request for each."""
    return [one_question(100 * seed + place) for place in range(REQUESTS)]


def write_workflow(
    text: str, budget: ImageSeqLength, *, model_version: str, max_new_tokens: int
) -> dict[str, object]:
    """Write a workflow that asks our block about its image, with the outputs `answer` and `tokens`."""
    fields = {
        "task_type": "unconstrained",
        "prompt": text,
        "model_version": model_version,
        "image_seq_length": budget,
        "max_new_tokens": max_new_tokens,
    }
    return one_step_workflow(fields, outputs={"answer": "output", "tokens": "output_tokens"})
