"""Judge a demo checkpoint on drawn scenes that its training never saw.

Run `python -m gemma4_block.demo.evaluation`. It prints every measured share with the least that the shipped
checkpoint must reach, where the model is weak, and all of it once more as one line of JSON.
"""

import argparse
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import get_args

import numpy as np
from rich.console import Console
from rich.table import Table

from gemma4_block.contract import Answer, Engine, GenerationConfig, Prompt
from gemma4_block.demo import dialogue
from gemma4_block.demo.scenes import (
    COLORS,
    SHAPE_KINDS,
    Scene,
    Shape,
    draw_crop,
    draw_number,
    draw_scene,
    wear,
)
from gemma4_block.demo.scoring import (
    LabelledBox,
    Pair,
    Row,
    find_confusions,
    score_box_errors,
    score_boxes,
    score_exact,
    score_groups,
)
from gemma4_block.engine.gemma4_hf import load_engine
from gemma4_block.settings import Dtype, Settings
from gemma4_block.tasks import classification, counting, multi_label_classification, object_detection

CHECKPOINT_DIRECTORY = Path(__file__).parent / "checkpoint"
# Root of the judged scenes; training draws from (20261124, step).
HELD_OUT_SEED = 20261125
UNTRAINED_QUESTIONS = (
    "Does it look tasty?",
    "Which day of the week is it today?",
    "Could a child play with this?",
    "My boss wants a report before lunch.",
    "Hello there!",
    "Where can one buy bread around here?",
    "Sort your favourite songs by length.",
    "Would this look nice on a wall?",
    "Do you like football?",
    "Turn left after the bridge, then ask again.",
)
"""Questions about other things than pictures, in words that training does not use for anything like it."""

_DESCRIBE = "Describe the image."
# The longest true answers are 5 groups, 5 boxes and 7 classes; a model that runs on is cut here.
_SHORT_TOKENS, _SENTENCE_TOKENS, _JSON_TOKENS, _BOXES_TOKENS = 12, 48, 96, 192
_BATCH_SIZE = 32
# Thinking must cost no more than these points.
_THINKING_LOSS = 0.05


@dataclass(frozen=True, kw_only=True, slots=True)
class Report:
    """What an evaluation found.

    Attributes:
        rows: The measures, with targets where there are demands.
        weak_spots: The same answers cut finer, to see what to train more.
        duration_s: Wall-clock time of drawing, asking and scoring.

    """

    rows: tuple[Row, ...]
    weak_spots: tuple[Row, ...]
    duration_s: float


@dataclass(frozen=True, kw_only=True, slots=True)
class _Case:
    scene: Scene
    question: str
    expected: str


def evaluate(engine: Engine, *, scene_count: int = 300, seed: int = HELD_OUT_SEED) -> Report:
    """Ask about held-out scenes, crops and numbers, each kind `scene_count` times, and score the answers.

    Args:
        engine: Asked in batches, always for the likeliest answer.
        scene_count: How many scenes, crops and numbers each.
        seed: Root of all draws; the same seed asks the same questions about the same scenes.

    Returns:
        The report; equal for equal answers but for its duration.

    """
    started = time.monotonic()
    scenes = _draw(seed, 0, draw_scene, scene_count)
    crops = _draw(seed, 1, draw_crop, scene_count)
    numbers = _draw(seed, 2, draw_number, scene_count)
    parts = (
        _judge_counts_and_descriptions(engine, scenes, np.random.default_rng((seed, 3))),
        _judge_crops(engine, crops, np.random.default_rng((seed, 4))),
        _judge_numbers(engine, numbers),
        _judge_boxes(engine, scenes, np.random.default_rng((seed, 5))),
        _judge_classes(engine, scenes, np.random.default_rng((seed, 6))),
        _judge_untrained_questions(engine, scenes),
    )
    return Report(
        rows=tuple(row for rows, _ in parts for row in rows),
        weak_spots=tuple(row for _, weak_spots in parts for row in weak_spots),
        duration_s=time.monotonic() - started,
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Judge a checkpoint directory and print what was found."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--checkpoint", type=Path, default=CHECKPOINT_DIRECTORY)
    parser.add_argument("--scenes", type=int, default=300)
    parser.add_argument("--seed", type=int, default=HELD_OUT_SEED)
    parser.add_argument("--dtype", choices=get_args(Dtype), default="auto")
    options = parser.parse_args(arguments)
    settings = Settings(max_batch_size=_BATCH_SIZE, dtype=options.dtype, device="cpu")
    engine = load_engine(options.checkpoint, quantization="none", settings=settings)
    report = evaluate(engine, scene_count=options.scenes, seed=options.seed)
    console = Console()
    console.print(_table("Held-out scenes", report.rows), _table("Where it is weak", report.weak_spots))
    console.print(f"{report.duration_s:.0f} s", highlight=False)
    options_json = {"checkpoint": str(options.checkpoint), "scenes": options.scenes, "seed": options.seed}
    line = json.dumps({**options_json, "dtype": options.dtype, **asdict(report)})
    console.print(line, soft_wrap=True, highlight=False, markup=False)


def _draw(seed: int, stream: int, draw: Callable[[np.random.Generator], Scene], count: int) -> list[Scene]:
    rng = np.random.default_rng((seed, stream))
    scenes = [draw(rng) for _ in range(count)]
    return [replace(scene, image=wear(rng, scene.image, noise=4, jpeg_quality=80)) for scene in scenes]


def _judge_counts_and_descriptions(
    engine: Engine, scenes: Sequence[Scene], rng: np.random.Generator
) -> tuple[list[Row], list[Row]]:
    forms = ("all", "colour", "kind", "colour and kind")
    asked = {form: [_count_case(rng, scene, form) for scene in scenes] for form in forms}
    counts = {form: _ask(engine, cases, _SHORT_TOKENS) for form, cases in asked.items()}
    all_counts = [pair for pairs in counts.values() for pair in pairs]
    described = _ask(engine, [_describe_case(scene) for scene in scenes], _SENTENCE_TOKENS)
    french = [_describe_case(scene, "french") for scene in scenes]
    thought = _ask(engine, [_describe_case(scene) for scene in scenes], 2 * _SENTENCE_TOKENS, thinks=True)
    thought_counts = _ask(engine, asked["all"], _SENTENCE_TOKENS, thinks=True)
    presence = [_presence_case(rng, scene) for scene in scenes]
    count_row = score_exact("count", all_counts, 0.85)
    plain_count = score_exact("count all", counts["all"])
    describe_row = score_exact("describe", described, 0.75)
    rows = [
        count_row,
        describe_row,
        score_exact("describe while thinking", thought, describe_row.value - _THINKING_LOSS),
        score_exact("count all while thinking", thought_counts, plain_count.value - _THINKING_LOSS),
        score_exact(
            "describe in French",
            _ask(engine, french, _SENTENCE_TOKENS, system=dialogue.FRENCH_SYSTEM_PROMPTS[0]),
        ),
        score_exact("yes or no", _ask(engine, presence, _SHORT_TOKENS)),
    ]
    sizes = [f"{len(scene.shapes)} shapes" for scene in scenes]
    weak_spots = [
        *(score_exact(f"count, {form}", pairs) for form, pairs in counts.items()),
        *score_groups("count all", sizes, counts["all"]),
        *find_confusions("count all", counts["all"]),
        *score_groups("describe", sizes, described),
        *score_groups(
            "describe, has a small shape", [_has_small_shape(scene) for scene in scenes], described
        ),
    ]
    return rows, weak_spots


def _judge_crops(
    engine: Engine, crops: Sequence[Scene], rng: np.random.Generator
) -> tuple[list[Row], list[Row]]:
    shapes = [crop.shapes[0] for crop in crops]
    classes: dict[str, list[Pair]] = {}
    for name, truths, others in (
        ("colour", [shape.color for shape in shapes], COLORS),
        ("kind", [shape.kind for shape in shapes], SHAPE_KINDS),
        ("label", [shape.label for shape in shapes], dialogue.ALL_LABELS),
    ):
        cases = [_classify_case(rng, crop, truth, others) for crop, truth in zip(crops, truths, strict=True)]
        classes[name] = _ask(engine, cases, _SHORT_TOKENS)
    colors = [
        _Case(scene=crop, question="What color is the shape?", expected=crop.shapes[0].color)
        for crop in crops
    ]
    kinds = [_Case(scene=crop, question="What shape is it?", expected=crop.shapes[0].kind) for crop in crops]
    color_pairs, kind_pairs = _ask(engine, colors, _SHORT_TOKENS), _ask(engine, kinds, _SHORT_TOKENS)
    rows = [
        score_exact("classify", [pair for pairs in classes.values() for pair in pairs], 0.95),
        score_exact("name the colour", color_pairs, 0.95),
        score_exact("name the kind", kind_pairs, 0.95),
    ]
    weak_spots = [
        *(score_exact(f"classify, {name}", pairs) for name, pairs in classes.items()),
        *find_confusions("colour", color_pairs),
        *find_confusions("kind", kind_pairs),
    ]
    return rows, weak_spots


def _judge_numbers(engine: Engine, numbers: Sequence[Scene]) -> tuple[list[Row], list[Row]]:
    cases = [_Case(scene=scene, question="Read the number.", expected=str(scene.number)) for scene in numbers]
    pairs = _ask(engine, cases, _SHORT_TOKENS)
    lengths = [f"{len(scene.digits)} digits" for scene in numbers]
    heights = ["small" if _digit_height(scene) < 0.3 else "large" for scene in numbers]
    digits = [
        digit_pair for pair in pairs if len(pair[0]) == len(pair[1]) for digit_pair in zip(*pair, strict=True)
    ]
    weak_spots = [
        *score_groups("digits", lengths, pairs),
        *score_groups("digits", heights, pairs),
        *find_confusions("digit", digits, most=8),
    ]
    return [score_exact("digits", pairs, 0.85)], weak_spots


def _judge_boxes(
    engine: Engine, scenes: Sequence[Scene], rng: np.random.Generator
) -> tuple[list[Row], list[Row]]:
    cases = [
        _Case(scene=scene, question=object_detection.wording(_labels(rng, scene)), expected="")
        for scene in scenes
    ]
    answers = [given for _, given in _ask(engine, cases, _BOXES_TOKENS)]
    truths = [[_true_box(scene, shape) for shape in scene.shapes] for scene in scenes]
    score = score_boxes(answers, truths)
    rows = [
        Row(name="detect, F1 at IoU 0.5", value=score.f1, target=0.80, n=score.true_count),
        Row(name="detect, mean IoU", value=score.mean_iou, n=len(score.matches)),
    ]
    found = {id(true) for _, true in score.matches}
    boxes = [box for truth in truths for box in truth]
    shapes = [shape for scene in scenes for shape in scene.shapes]
    found_pairs = [("found", "found" if id(box) in found else "missed") for box in boxes]
    sizes = [
        "small shapes" if _diameter(scene, shape) < 0.22 else "large shapes"
        for scene in scenes
        for shape in scene.shapes
    ]
    weak_spots = [
        Row(name="detect, unreadable", value=score.unreadable_count / len(answers), n=len(answers)),
        Row(
            name="detect, wrong label",
            value=score.mislabelled_count / max(1, score.true_count),
            n=score.true_count,
        ),
        *score_groups("detect, found", sizes, found_pairs),
        *score_groups("detect, found", [shape.kind for shape in shapes], found_pairs),
        *score_groups(
            "detect, found",
            [f"of {len(scene.shapes)}" for scene in scenes for _ in scene.shapes],
            found_pairs,
        ),
        *score_box_errors(score.matches),
    ]
    return rows, weak_spots


def _judge_classes(
    engine: Engine, scenes: Sequence[Scene], rng: np.random.Generator
) -> tuple[list[Row], list[Row]]:
    presence, counts = [], []
    for scene in scenes:
        labels = _labels(rng, scene)
        true_counts = {label: sum(shape.label == label for shape in scene.shapes) for label in labels}
        presence.append(
            _Case(
                scene=scene,
                question=multi_label_classification.wording(labels),
                expected=json.dumps({label: count > 0 for label, count in true_counts.items()}),
            )
        )
        counts.append(_Case(scene=scene, question=counting.wording(labels), expected=json.dumps(true_counts)))
    presence_pairs, count_pairs = _ask(engine, presence, _JSON_TOKENS), _ask(engine, counts, _JSON_TOKENS)
    sizes = [f"{len(scene.shapes)} shapes" for scene in scenes]
    rows = [score_exact("multi-label", presence_pairs), score_exact("count per class", count_pairs)]
    weak_spots = [
        *score_groups("multi-label", sizes, presence_pairs),
        *score_groups("count per class", sizes, count_pairs),
    ]
    return rows, weak_spots


def _judge_untrained_questions(engine: Engine, scenes: Sequence[Scene]) -> tuple[list[Row], list[Row]]:
    cases = [
        replace(_describe_case(scene), question=UNTRAINED_QUESTIONS[index % len(UNTRAINED_QUESTIONS)])
        for index, scene in enumerate(scenes)
    ]
    pairs = _ask(engine, cases, _SENTENCE_TOKENS)
    return (
        [score_exact("untrained question described", pairs)],
        score_groups("untrained question", [case.question for case in cases], pairs),
    )


def _ask(
    engine: Engine,
    cases: Sequence[_Case],
    max_new_tokens: int,
    *,
    system: str | None = None,
    thinks: bool = False,
) -> list[Pair]:
    """Return the expected and the given answer of every case."""
    prompts = [Prompt(text=case.question, images=(case.scene.image,), system=system) for case in cases]
    generation = GenerationConfig(max_new_tokens=max_new_tokens, enable_thinking=thinks)
    pairs = []
    for case, answer in zip(cases, engine.answer(prompts, generation), strict=True):
        if not isinstance(answer, Answer):
            raise answer
        pairs.append((case.expected, answer.text))
    return pairs


def _describe_case(scene: Scene, language: dialogue.Language = "english") -> _Case:
    return _Case(scene=scene, question=_DESCRIBE, expected=dialogue.describe(scene, language))


def _count_case(rng: np.random.Generator, scene: Scene, form: str) -> _Case:
    picked = _likely_shape(rng, scene)
    noun, counted = {
        "all": ("shapes", len(scene.shapes)),
        "colour": (f"{picked.color} shapes", sum(one.color == picked.color for one in scene.shapes)),
        "kind": (f"{picked.kind}s", sum(one.kind == picked.kind for one in scene.shapes)),
        "colour and kind": (f"{picked.label}s", sum(one.label == picked.label for one in scene.shapes)),
    }[form]
    return _Case(scene=scene, question=f"How many {noun} are there?", expected=str(counted))


def _presence_case(rng: np.random.Generator, scene: Scene) -> _Case:
    label = _likely_shape(rng, scene).label
    is_there = any(shape.label == label for shape in scene.shapes)
    return _Case(
        scene=scene, question=f"Is there a {label} in the image?", expected="yes" if is_there else "no"
    )


def _classify_case(rng: np.random.Generator, crop: Scene, truth: str, others: Sequence[str]) -> _Case:
    wrong = [name for name in others if name != truth]
    count = int(rng.integers(1, min(5, len(wrong)) + 1))
    classes = [truth, *(wrong[index] for index in rng.permutation(len(wrong))[:count])]
    rng.shuffle(classes)
    return _Case(
        scene=crop, question=classification.wording(classes), expected=json.dumps({"class_name": truth})
    )


def _likely_shape(rng: np.random.Generator, scene: Scene) -> Shape:
    """Pick a colour and a kind; two in three times they are those of a shape in the scene."""
    if scene.shapes and rng.random() < 2 / 3:
        return scene.shapes[int(rng.integers(len(scene.shapes)))]
    color, kind = COLORS[int(rng.integers(len(COLORS)))], SHAPE_KINDS[int(rng.integers(len(SHAPE_KINDS)))]
    return Shape(kind=kind, color=color, box_xyxy_px=(0, 0, 0, 0))


def _labels(rng: np.random.Generator, scene: Scene) -> list[str]:
    """Return the labels that are in the scene and two that are not, shuffled."""
    present = sorted({shape.label for shape in scene.shapes})
    absent = [label for label in dialogue.ALL_LABELS if label not in present]
    labels = [*present, *(absent[index] for index in rng.permutation(len(absent))[:2])]
    rng.shuffle(labels)
    return labels


def _true_box(scene: Scene, shape: Shape) -> LabelledBox:
    height, width = scene.image.shape[:2]
    x1, y1, x2, y2 = shape.box_xyxy_px
    box = (1000 * y1 / height, 1000 * x1 / width, 1000 * y2 / height, 1000 * x2 / width)
    return LabelledBox(label=shape.label, box_yxyx_1000=box)


def _diameter(scene: Scene, shape: Shape) -> float:
    """Width of a shape over the square root of the image's area."""
    height, width = scene.image.shape[:2]
    return float((shape.box_xyxy_px[2] - shape.box_xyxy_px[0]) / np.sqrt(height * width))


def _has_small_shape(scene: Scene) -> str:
    return "yes" if any(_diameter(scene, shape) < 0.22 for shape in scene.shapes) else "no"


def _digit_height(scene: Scene) -> float:
    """Height of the digits over the square root of the image's area."""
    height, width = scene.image.shape[:2]
    _, y1, _, y2 = scene.digits[0].box_xyxy_px
    return float((y2 - y1) / np.sqrt(height * width))


def _table(title: str, rows: Sequence[Row]) -> Table:
    table = Table("measure", "value", "target", "n", title=title)
    for row in rows:
        target = "" if row.target is None else f"{row.target:.3f}"
        style = None if row.is_met else "red"
        table.add_row(row.name, f"{row.value:.3f}", target, str(row.n), style=style)
    return table


if __name__ == "__main__":
    main()
