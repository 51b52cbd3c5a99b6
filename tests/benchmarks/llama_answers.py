"""Ask llama.cpp and our engine the same about drawn scenes, and say how often they answer the same.

    python -m tests.benchmarks.llama_answers --llama .venv-llama/source --llama-python .venv-llama/bin/python

Both have the embedded model in float32, and pictures of exactly the size that it sees, so that neither scales
them. Prints what differs, and a line for each budget.
"""

import argparse
import tempfile
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np

import gemma4_block.demo
from gemma4_block.contract import Answer, GenerationConfig, ImageSeqLength, LocalModel, Prompt, RgbImage
from gemma4_block.demo.scenes import draw_scene
from gemma4_block.engine.pool import load_local
from gemma4_block.settings import Settings
from tests.benchmarks.llama_process import LlamaBuild, convert, running_llama

_CHECKPOINT = Path(gemma4_block.demo.__file__).parent / "checkpoint"
_PRECISION = "f32"
# Width and height in soft tokens, as many as the budget allows, each of so many pixels a side.
_SOFT_TOKENS: dict[ImageSeqLength, tuple[int, int]] = {70: (10, 7), 140: (14, 10), 280: (20, 14)}
_SOFT_TOKEN_PX = 32
_QUESTIONS = ("How many shapes are in the image? Answer with a number.", "Describe the image.")
_NEW_TOKENS = 80


def draw(scenes: int, budget: ImageSeqLength) -> Iterator[RgbImage]:
    """Yield pictures that the model sees as they are."""
    width, height = _SOFT_TOKENS[budget]
    size = (_SOFT_TOKEN_PX * width, _SOFT_TOKEN_PX * height)
    for seed in range(scenes):
        yield cv2.resize(
            draw_scene(np.random.default_rng((7, seed))).image, size, interpolation=cv2.INTER_AREA
        )


def main() -> None:
    """Read the command line, and ask."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--llama", type=Path, required=True)
    parser.add_argument("--llama-python", type=Path, required=True)
    parser.add_argument("--scenes", type=int, default=100)
    arguments = parser.parse_args()
    build = LlamaBuild(source=arguments.llama, python=arguments.llama_python)
    settings = Settings(device="cpu", dtype="float32")
    engine = load_local(LocalModel(directory=_CHECKPOINT, quantization="none"), settings)
    generation = GenerationConfig(max_new_tokens=_NEW_TOKENS)
    with tempfile.TemporaryDirectory() as name:
        convert(build, _CHECKPOINT, Path(name), _PRECISION)
        for budget in _SOFT_TOKENS:
            same = 0
            with running_llama(build, Path(name), _PRECISION, budget, threads=1) as server:
                for image in draw(arguments.scenes, budget):
                    for question in _QUESTIONS:
                        prompt = Prompt(text=question, images=(image,), image_seq_length=budget)
                        (ours,) = engine.answer([prompt], generation)
                        theirs = server.answer(question, image, max_new_tokens=_NEW_TOKENS)
                        said = ours.text if isinstance(ours, Answer) else ours.message
                        same += said == theirs
                        if said != theirs:
                            print(f"{budget}: {said!r}, llama.cpp: {theirs!r}")  # noqa: T201
            print(f"{budget}: {same} of {arguments.scenes * len(_QUESTIONS)} answers are equal")  # noqa: T201
    engine.close()


if __name__ == "__main__":
    main()
