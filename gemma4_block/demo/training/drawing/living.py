"""Pictograms of people, animals and plants."""

import numpy as np

from gemma4_block.demo.training.drawing.outlines import Drawing, arc, box, ellipse, line, polygon

Rng = np.random.Generator


def person_sign(rng: Rng) -> Drawing:
    """The figure of a sign: a round head over arms, trunk and legs."""
    hip = rng.uniform(0.2, 0.28)
    return [
        ellipse(0, -0.82, 0.18, 0.18),
        box(-0.3, -0.6, 0.3, 0.15, radius=0.12),
        box(-0.46, -0.58, -0.32, 0.1, radius=0.06),
        box(0.32, -0.58, 0.46, 0.1, radius=0.06),
        box(-hip, 0.0, -0.03, 1, radius=0.05),
        box(0.03, 0.0, hip, 1, radius=0.05),
    ]


def person_clothed(rng: Rng) -> Drawing:
    """A person with hair, shirt, trousers and arms that hang, wave or stretch out."""
    left, right = rng.uniform(-0.9, 0.2, size=2)
    parts = [
        line(-0.25, -0.45, -0.62, left, 0.14, "light"),
        line(0.25, -0.45, 0.62, right, 0.14, "light"),
        box(-0.26, 0.1, -0.03, 0.98, "second", radius=0.04),
        box(0.03, 0.1, 0.26, 0.98, "second", radius=0.04),
        polygon((-0.32, -0.52), (0.32, -0.52), (0.27, 0.2), (-0.27, 0.2)),
        ellipse(0, -0.76, 0.21, 0.23, "light"),
        ellipse(0, -0.8, 0.22, 0.21, "dark", start=180, end=360),
    ]
    if rng.random() < 0.4:
        parts[4] = polygon((-0.26, -0.52), (0.26, -0.52), (0.5, 0.5), (-0.5, 0.5))
    return parts


def person_stick(rng: Rng) -> Drawing:
    """A stick figure."""
    lift, step, width = rng.uniform(-0.4, 0.3), rng.uniform(0.2, 0.45), rng.uniform(0.08, 0.14)
    return [
        arc(0, -0.72, 0.2, 0.2, width) if rng.random() < 0.5 else ellipse(0, -0.72, 0.24, 0.24),
        line(0, -0.52, 0, 0.25, width),
        line(0, -0.3, -0.5, lift, width),
        line(0, -0.3, 0.5, lift, width),
        line(0, 0.2, -step, 0.98, width),
        line(0, 0.2, step, 0.98, width),
    ]


def person_bust(rng: Rng) -> Drawing:
    """A head over shoulders."""
    return [
        ellipse(0, 1.0, rng.uniform(0.75, 0.9), rng.uniform(0.75, 0.95), start=180, end=360),
        ellipse(0, -0.35, rng.uniform(0.38, 0.46), 0.5, "light" if rng.random() < 0.4 else "body"),
    ]


def dog_side(rng: Rng) -> Drawing:
    """A dog from the side: a long body on four legs, a snout, a hanging ear and a tail that stands up."""
    tail = rng.uniform(-0.75, -0.35)
    return [
        line(-0.72, -0.12, -0.98, tail, 0.12),
        box(-0.8, -0.25, 0.5, 0.3, radius=0.22),
        *(box(x, 0.1, x + 0.16, 0.95, radius=0.05) for x in (-0.78, -0.52, 0.12, 0.34)),
        polygon((0.3, 0.0), (0.3, -0.5), (0.6, -0.75), (0.6, 0.0)),
        box(0.3, -0.82, 0.74, -0.3, radius=0.18),
        box(0.6, -0.6, 1.0, -0.32, radius=0.1),
        ellipse(0.4, -0.55, 0.11, rng.uniform(0.24, 0.32), "second"),
        ellipse(0.62, -0.62, 0.05, 0.05, "dark"),
        ellipse(0.97, -0.53, 0.07, 0.07, "dark"),
    ]


def dog_face(rng: Rng) -> Drawing:
    """The face of a dog with ears that hang at the sides and a light snout."""
    drop = rng.uniform(0.35, 0.6)
    return [
        ellipse(0, 0, 0.66, 0.75),
        ellipse(-0.72, 0.0, 0.22, drop, "second"),
        ellipse(0.72, 0.0, 0.22, drop, "second"),
        ellipse(0, 0.38, 0.38, 0.33, "light"),
        ellipse(0, 0.22, 0.15, 0.11, "dark"),
        ellipse(-0.27, -0.18, 0.1, 0.12, "dark"),
        ellipse(0.27, -0.18, 0.1, 0.12, "dark"),
        line(0, 0.3, 0, 0.5, 0.05, "dark"),
    ]


def cat_face(rng: Rng) -> Drawing:
    """The face of a cat with pointed ears and whiskers."""
    parts = [
        polygon((-0.75, -0.95), (-0.15, -0.5), (-0.7, 0.0)),
        polygon((0.75, -0.95), (0.15, -0.5), (0.7, 0.0)),
        ellipse(0, 0.12, 0.78, 0.68),
        ellipse(-0.3, 0.0, 0.11, rng.uniform(0.1, 0.17), "light"),
        ellipse(0.3, 0.0, 0.11, rng.uniform(0.1, 0.17), "light"),
        polygon((-0.1, 0.22), (0.1, 0.22), (0, 0.34), role="dark"),
    ]
    for y in (0.25, 0.4):
        parts += [line(-0.2, 0.32, -0.98, y, 0.04, "dark"), line(0.2, 0.32, 0.98, y, 0.04, "dark")]
    return parts


def cat_sitting(rng: Rng) -> Drawing:
    """A cat that sits, seen from behind or the front, its tail around it."""
    return [
        arc(0.5, 0.55, 0.4, 0.38, 0.14, start=-40, end=140),
        ellipse(0, 0.45, rng.uniform(0.42, 0.52), 0.55),
        ellipse(0, -0.4, 0.36, 0.32),
        polygon((-0.36, -0.98), (-0.05, -0.62), (-0.35, -0.4)),
        polygon((0.36, -0.98), (0.05, -0.62), (0.35, -0.4)),
        ellipse(-0.13, -0.42, 0.05, 0.07, "light"),
        ellipse(0.13, -0.42, 0.05, 0.07, "light"),
    ]


def fish_oval(rng: Rng) -> Drawing:
    """A fish with a forked tail, a fin and an eye."""
    height = rng.uniform(0.38, 0.52)
    return [
        polygon((-0.4, 0), (-1, -0.48), (-0.82, 0), (-1, 0.48)),
        polygon((-0.2, -height + 0.1), (0.1, -height - 0.25), (0.4, -height + 0.15), role="second"),
        ellipse(0.2, 0, 0.78, height),
        ellipse(0.62, -0.1, 0.09, 0.09, "light"),
        arc(0.2, 0, 0.2, height * 0.8, 0.06, "second", start=-60, end=60),
    ]


def fish_pointed(rng: Rng) -> Drawing:
    """A long fish drawn with corners."""
    return [
        polygon(
            (1, 0),
            (0.45, -0.35),
            (-0.3, -0.3),
            (-0.62, -0.05),
            (-1, -0.4),
            (-0.9, 0),
            (-1, 0.4),
            (-0.62, 0.05),
            (-0.3, 0.3),
            (0.45, 0.35),
        ),
        polygon((0.1, -0.3), (-0.15, -rng.uniform(0.5, 0.7)), (-0.3, -0.28), role="second"),
        ellipse(0.65, -0.08, 0.08, 0.08, "light"),
        line(0.42, -0.25, 0.42, 0.25, 0.06, "second"),
    ]


def bird_standing(rng: Rng) -> Drawing:
    """A bird that stands: a round body, head, beak, wing and thin legs."""
    return [
        line(-0.1, 0.4, -0.15, 0.95, 0.07, "dark"),
        line(0.12, 0.4, 0.12, 0.95, 0.07, "dark"),
        polygon((-0.35, 0.0), (-1, rng.uniform(-0.2, 0.2)), (-0.85, 0.3), (-0.3, 0.35)),
        ellipse(0, 0.08, 0.58, 0.45),
        ellipse(0.45, -0.4, 0.3, 0.3),
        polygon((0.7, -0.5), (1, -0.36), (0.7, -0.25), role="second"),
        ellipse(-0.1, 0.08, 0.33, 0.2, "second"),
        ellipse(0.52, -0.46, 0.06, 0.06, "light"),
    ]


def bird_flying(rng: Rng) -> Drawing:
    """A bird in flight with both wings spread."""
    lift = rng.uniform(0.6, 0.9)
    return [
        polygon((-0.15, 0.0), (-0.55, -lift), (0.2, -0.15)),
        polygon((0.2, 0.0), (0.35, -lift * 0.9), (0.45, -0.05), role="second"),
        polygon((-0.95, 0.05), (-0.2, -0.15), (0.55, -0.2), (0.65, 0.12), (0.1, 0.35), (-0.4, 0.25)),
        ellipse(0.65, -0.08, 0.2, 0.18),
        polygon((0.8, -0.15), (1, -0.04), (0.8, 0.04), role="second"),
        ellipse(0.69, -0.12, 0.04, 0.04, "light"),
    ]


def tree_round(rng: Rng) -> Drawing:
    """A tree with a crown of one or three rounds."""
    trunk = box(-0.13, 0.2, 0.13, 1, "dark")
    if rng.random() < 0.5:
        return [trunk, ellipse(0, -0.3, rng.uniform(0.6, 0.75), 0.7)]
    return [
        trunk,
        ellipse(-0.35, -0.1, 0.42, 0.42),
        ellipse(0.35, -0.1, 0.42, 0.42),
        ellipse(0, -0.5, 0.48, 0.48),
    ]


def tree_fir(rng: Rng) -> Drawing:
    """A fir of two to four tiers."""
    tiers = int(rng.integers(2, 5))
    parts = [box(-0.11, 0.6, 0.11, 1, "dark")]
    for tier in range(tiers):
        y = 0.7 - tier * 1.25 / tiers
        half = 0.7 - 0.4 * tier / tiers
        parts.append(polygon((-half, y), (0, y - 1.0 * (1.6 / tiers) * 0.8), (half, y)))
    return parts


def flower_petals(rng: Rng) -> Drawing:
    """A flower with petals around a centre, a stem and leaves."""
    count = int(rng.integers(5, 9))
    parts = [line(0, -0.3, 0, 1, 0.1, "dark"), ellipse(0.22, 0.55, 0.22, 0.1, "dark")]
    if rng.random() < 0.6:
        parts.append(ellipse(-0.22, 0.68, 0.22, 0.1, "dark"))
    size = 1.25 / count
    petals = [
        ellipse(0.34 * np.cos(angle), -0.45 + 0.34 * np.sin(angle), size + 0.03, size + 0.03)
        for angle in 2 * np.pi * np.arange(count) / count
    ]
    return [*parts, *petals, ellipse(0, -0.45, 0.2, 0.2, "second")]


def flower_tulip(rng: Rng) -> Drawing:
    """A tulip with two long leaves."""
    return [
        line(0, -0.2, 0, 1, 0.09, "dark"),
        polygon((0, 0.95), (-0.5, rng.uniform(-0.05, 0.2)), (-0.3, 0.7), role="dark"),
        polygon((0, 0.95), (0.5, rng.uniform(-0.05, 0.2)), (0.3, 0.7), role="dark"),
        polygon(
            (-0.42, -0.95),
            (-0.2, -0.65),
            (0, -1),
            (0.2, -0.65),
            (0.42, -0.95),
            (0.4, -0.35),
            (0.15, -0.08),
            (-0.15, -0.08),
            (-0.4, -0.35),
        ),
    ]


def apple_whole(rng: Rng) -> Drawing:
    """An apple with a stalk and a leaf."""
    return [
        line(0, -0.5, rng.uniform(-0.05, 0.15), -0.98, 0.1, "dark"),
        ellipse(0.3, -0.78, 0.26, 0.12, "second"),
        ellipse(-0.3, 0.1, 0.52, rng.uniform(0.6, 0.7)),
        ellipse(0.3, 0.1, 0.52, rng.uniform(0.6, 0.7)),
        polygon((-0.5, 0.5), (0.5, 0.5), (0.22, 0.85), (-0.22, 0.85)),
    ]


def apple_cut(rng: Rng) -> Drawing:
    """Half an apple with its core and pips."""
    return [
        line(0, -0.5, 0, -0.98, 0.09, "dark"),
        ellipse(0, 0.1, rng.uniform(0.68, 0.8), 0.75),
        ellipse(0, 0.12, 0.58, 0.6, "light"),
        ellipse(-0.1, 0.12, 0.06, 0.13, "dark"),
        ellipse(0.1, 0.12, 0.06, 0.13, "dark"),
        polygon((-0.18, -0.7), (0.18, -0.7), (0, -0.45), role="light"),
    ]


WAYS = {
    "person": (person_sign, person_clothed, person_clothed, person_stick, person_bust),
    "dog": (dog_side, dog_face),
    "cat": (cat_face, cat_sitting),
    "fish": (fish_oval, fish_pointed),
    "bird": (bird_standing, bird_flying),
    "tree": (tree_round, tree_fir),
    "flower": (flower_petals, flower_tulip),
    "apple": (apple_whole, apple_cut),
}
"""The ways to draw each of these things."""
