"""Train the two adapters that come with the demo: answers in Dutch, and answers in terse codes.

Run `python -m gemma4_block.demo.training.adapters NAME OUTPUT`, with `dutch` or `codes`. It draws a dataset
into OUTPUT/dataset and fine-tunes the embedded model on it, as `gemma4-block finetune` does; some minutes on
one core. What the adapters leave as it was (counts, boxes, numbers) is learnt along, so that it stays.
"""

import os

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import argparse
import json
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

import cv2
import numpy as np

from gemma4_block.demo import dialogue
from gemma4_block.demo.scenes import Scene, draw_crop, draw_number, draw_scene

_SCENES: Final = {"train": 2400, "valid": 60}
_DRAWN: Final = (draw_scene, draw_scene, draw_scene, draw_scene, draw_crop, draw_number)
# The fewest tokens: what is learnt is how to answer, not how to see.
_OPTIONS: Final = (
    "--epochs", "2", "--batch-size", "8", "--learning-rate", "3e-3", "--rank", "16",
    "--image-seq-length", "70",
)  # fmt: skip

# Without an ending, and with it. None has a letter that the model never learnt to write, as ü is.
_DUTCH_COLOR: Final = {
    "blue": ("blauw", "blauwe"),
    "green": ("groen", "groene"),
    "orange": ("oranje", "oranje"),
    "purple": ("paars", "paarse"),
    "red": ("rood", "rode"),
    "yellow": ("geel", "gele"),
}
_DUTCH_KIND: Final = {
    "circle": ("cirkel", "cirkels"),
    "square": ("vierkant", "vierkanten"),
    "star": ("ster", "sterren"),
    "triangle": ("driehoek", "driehoeken"),
}
# Before one of them, adjectives have no ending.
_NEUTER: Final = "square"
_KIND_LETTER: Final = {"circle": "C", "square": "Q", "star": "S", "triangle": "T"}


def describe_in_dutch(scene: Scene) -> str:
    """Say what a scene shows, such as 1 blauwe ster, 2 rode cirkels."""
    if scene.number is not None:
        return f"Het getal {scene.number}."
    if not scene.shapes:
        return "Een lege afbeelding."
    return ", ".join(_dutch_group(count, *key) for key, count in _groups(scene)) + "."


def describe_in_codes(scene: Scene) -> str:
    """Say the same in three signs a group: how many, colour, kind, as in `1BS 2RC`; `0` for nothing."""
    if scene.number is not None:
        return f"N{scene.number}"
    codes = [f"{count}{color[0].upper()}{_KIND_LETTER[kind]}" for (color, kind), count in _groups(scene)]
    return " ".join(codes) or "0"


def translate(answer: str) -> str:
    """Return a one-word answer in Dutch; others, such as numbers and JSON, as they are."""
    words = {word: plain for word, (plain, _) in (*_DUTCH_COLOR.items(), *_DUTCH_KIND.items())}
    return (words | {"yes": "ja", "no": "nee"}).get(answer, answer)


def _groups(scene: Scene) -> list[tuple[tuple[str, str], int]]:
    return sorted(Counter((shape.color, shape.kind) for shape in scene.shapes).items())


def _dutch_group(count: int, color: str, kind: str) -> str:
    noun, plural = _DUTCH_KIND[kind]
    plain, ended = _DUTCH_COLOR[color]
    adjective = plain if count == 1 and kind == _NEUTER else ended
    return f"{count} {adjective} {noun if count == 1 else plural}"


Answering = Callable[[Scene, str], str]
"""Returns what an adapter answers where the demo gives the answer that is given."""


def _answer_in_dutch(scene: Scene, answer: str) -> str:
    return describe_in_dutch(scene) if answer == dialogue.describe(scene) else translate(answer)


def _answer_in_codes(scene: Scene, answer: str) -> str:
    return describe_in_codes(scene) if answer == dialogue.describe(scene) else answer


ADAPTERS: Final[Mapping[str, Answering]] = {"dutch": _answer_in_dutch, "codes": _answer_in_codes}


def draw_dataset(folder: Path, answering: Answering, *, scenes: Mapping[str, int] = _SCENES) -> None:
    """Draw a dataset.

    Args:
        folder: Gets `train` and `valid`.
        answering: Says what is to be answered.
        scenes: How many pictures each of them has.

    """
    for seed, (split, count) in enumerate(scenes.items()):
        rng = np.random.default_rng(seed)
        (folder / split).mkdir(parents=True, exist_ok=True)
        lines = []
        for index in range(count):
            scene = _DRAWN[index % len(_DRAWN)](rng)
            name = f"{index}.jpg"
            cv2.imwrite(str(folder / split / name), scene.image[..., ::-1])
            # The first one asks for a description, which is what changes, or for the number.
            first, *others = dialogue.turns(rng, scene)
            for turn in (first, others[int(rng.integers(len(others)))]):
                answer = answering(scene, turn.answer)
                lines.append(json.dumps({"image": name, "prefix": turn.question, "suffix": answer}))
        (folder / split / "annotations.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")


def main() -> None:
    """Read the command line, draw and train."""
    parser = argparse.ArgumentParser(
        prog="python -m gemma4_block.demo.training.adapters",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("name", choices=sorted(ADAPTERS))
    parser.add_argument("output", type=Path)
    arguments = parser.parse_args()
    dataset = arguments.output / "dataset"
    draw_dataset(dataset, ADAPTERS[arguments.name])
    command = ["finetune", str(dataset), "--output", str(arguments.output), *_OPTIONS]
    subprocess.run([sys.executable, "-m", "gemma4_block", *command], check=True)  # noqa: S603 - our own command


if __name__ == "__main__":
    main()
