"""Ask a checkpoint all questions of one kind, and score its answers.

Each judge returns the measures, and the same answers cut finer to see where the model is weak.
"""

import json
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from gemma4_block.contract import Engine, Prompt
from gemma4_block.demo import dialogue, phrases
from gemma4_block.demo.evaluation.cases import (
    Case,
    classify_case,
    count_case,
    describe_case,
    diameter,
    digit_height,
    has_small_shape,
    pick_labels,
    presence_case,
    true_box,
)
from gemma4_block.demo.evaluation.pairs import ask_pairs
from gemma4_block.demo.evaluation.scoring import (
    Pair,
    Row,
    find_confusions,
    score_box_errors,
    score_boxes,
    score_exact,
    score_groups,
)
from gemma4_block.demo.scenes import (
    COLORS,
    SHAPE_KINDS,
    Scene,
)
from gemma4_block.tasks import counting, multi_label_classification, object_detection

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

# The longest true answers are 5 groups, 5 boxes and 7 classes; a model that runs on is cut here.
_SHORT_TOKENS, _SENTENCE_TOKENS, _JSON_TOKENS, _BOXES_TOKENS = 12, 48, 96, 192
# Thinking must cost no more than these points.
_THINKING_LOSS = 0.05


def judge_counts_and_descriptions(
    engine: Engine, scenes: Sequence[Scene], rng: np.random.Generator
) -> tuple[list[Row], list[Row]]:
    """Judge counts, descriptions and yes or no, plain, while thinking and in French."""
    forms = ("all", "colour", "kind", "colour and kind")
    asked = {form: [count_case(rng, scene, form) for scene in scenes] for form in forms}
    counts = {form: _ask(engine, cases, _SHORT_TOKENS) for form, cases in asked.items()}
    all_counts = [pair for pairs in counts.values() for pair in pairs]
    described = _ask(engine, [describe_case(scene) for scene in scenes], _SENTENCE_TOKENS)
    french = [describe_case(scene, "french") for scene in scenes]
    thought = _ask(engine, [describe_case(scene) for scene in scenes], 2 * _SENTENCE_TOKENS, thinks=True)
    thought_counts = _ask(engine, asked["all"], _SENTENCE_TOKENS, thinks=True)
    presence = [presence_case(rng, scene) for scene in scenes]
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
            _ask(engine, french, _SENTENCE_TOKENS, system=phrases.FRENCH_SYSTEM_PROMPTS[0]),
        ),
        score_exact("yes or no", _ask(engine, presence, _SHORT_TOKENS)),
    ]
    sizes = [f"{len(scene.shapes)} shapes" for scene in scenes]
    weak_spots = [
        *(score_exact(f"count, {form}", pairs) for form, pairs in counts.items()),
        *score_groups("count all", sizes, counts["all"]),
        *find_confusions("count all", counts["all"]),
        *score_groups("describe", sizes, described),
        *score_groups("describe, has a small shape", [has_small_shape(scene) for scene in scenes], described),
    ]
    return rows, weak_spots


def judge_crops(
    engine: Engine, crops: Sequence[Scene], rng: np.random.Generator
) -> tuple[list[Row], list[Row]]:
    """Judge classes and one-word names of single shapes."""
    shapes = [crop.shapes[0] for crop in crops]
    classes: dict[str, list[Pair]] = {}
    for name, truths, others in (
        ("colour", [shape.color for shape in shapes], COLORS),
        ("kind", [shape.kind for shape in shapes], SHAPE_KINDS),
        ("label", [shape.label for shape in shapes], dialogue.ALL_LABELS),
    ):
        cases = [classify_case(rng, crop, truth, others) for crop, truth in zip(crops, truths, strict=True)]
        classes[name] = _ask(engine, cases, _SHORT_TOKENS)
    colors = [
        Case(scene=crop, question="What color is the shape?", expected=crop.shapes[0].color) for crop in crops
    ]
    kinds = [Case(scene=crop, question="What shape is it?", expected=crop.shapes[0].kind) for crop in crops]
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


def judge_numbers(engine: Engine, numbers: Sequence[Scene]) -> tuple[list[Row], list[Row]]:
    """Judge the reading of drawn numbers."""
    cases = [Case(scene=scene, question="Read the number.", expected=str(scene.number)) for scene in numbers]
    pairs = _ask(engine, cases, _SHORT_TOKENS)
    lengths = [f"{len(scene.digits)} digits" for scene in numbers]
    heights = ["small" if digit_height(scene) < 0.3 else "large" for scene in numbers]
    digits = [
        digit_pair for pair in pairs if len(pair[0]) == len(pair[1]) for digit_pair in zip(*pair, strict=True)
    ]
    weak_spots = [
        *score_groups("digits", lengths, pairs),
        *score_groups("digits", heights, pairs),
        *find_confusions("digit", digits, most=8),
    ]
    return [score_exact("digits", pairs, 0.85)], weak_spots


def judge_boxes(
    engine: Engine, scenes: Sequence[Scene], rng: np.random.Generator
) -> tuple[list[Row], list[Row]]:
    """Judge detection by F1 at IoU 0.5, with labels that are there and two that are not."""
    cases = [
        Case(scene=scene, question=object_detection.wording(pick_labels(rng, scene)), expected="")
        for scene in scenes
    ]
    answers = [given for _, given in _ask(engine, cases, _BOXES_TOKENS)]
    truths = [[true_box(scene, shape) for shape in scene.shapes] for scene in scenes]
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
        "small shapes" if diameter(scene, shape) < 0.22 else "large shapes"
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


def judge_classes(
    engine: Engine, scenes: Sequence[Scene], rng: np.random.Generator
) -> tuple[list[Row], list[Row]]:
    """Judge presence and counts of several classes in one JSON answer."""
    presence, counts = [], []
    for scene in scenes:
        labels = pick_labels(rng, scene)
        true_counts = {label: sum(shape.label == label for shape in scene.shapes) for label in labels}
        presence.append(
            Case(
                scene=scene,
                question=multi_label_classification.wording(labels),
                expected=json.dumps({label: count > 0 for label, count in true_counts.items()}),
            )
        )
        counts.append(Case(scene=scene, question=counting.wording(labels), expected=json.dumps(true_counts)))
    presence_pairs, count_pairs = _ask(engine, presence, _JSON_TOKENS), _ask(engine, counts, _JSON_TOKENS)
    sizes = [f"{len(scene.shapes)} shapes" for scene in scenes]
    rows = [score_exact("multi-label", presence_pairs), score_exact("count per class", count_pairs)]
    weak_spots = [
        *score_groups("multi-label", sizes, presence_pairs),
        *score_groups("count per class", sizes, count_pairs),
    ]
    return rows, weak_spots


def judge_untrained_questions(engine: Engine, scenes: Sequence[Scene]) -> tuple[list[Row], list[Row]]:
    """Judge whether questions that were never trained get a description."""
    cases = [
        replace(describe_case(scene), question=UNTRAINED_QUESTIONS[index % len(UNTRAINED_QUESTIONS)])
        for index, scene in enumerate(scenes)
    ]
    pairs = _ask(engine, cases, _SENTENCE_TOKENS)
    return (
        [score_exact("untrained question described", pairs)],
        score_groups("untrained question", [case.question for case in cases], pairs),
    )


def _ask(
    engine: Engine,
    cases: Sequence[Case],
    max_new_tokens: int,
    *,
    system: str | None = None,
    thinks: bool = False,
) -> list[Pair]:
    """Return the expected and the given answer of every case."""
    prompts = [Prompt(text=case.question, images=(case.scene.image,), system=system) for case in cases]
    expected = [case.expected for case in cases]
    return ask_pairs(engine, prompts, expected, max_new_tokens=max_new_tokens, thinks=thinks)
