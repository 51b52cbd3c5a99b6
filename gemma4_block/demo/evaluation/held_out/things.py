"""Everyday things by another hand than the training's: other proportions, other parts, other inks."""

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

import numpy as np

from gemma4_block.demo.evaluation.held_out.fields import Field, cut, disc, hull, join, ring, rod, slab

Rng = np.random.Generator
Layer = tuple[Field, float]
"""A part, and how light its ink is: 0 black, 1 the thing's own ink, 2 white."""
Layers = Sequence[Layer]


def _backpack(rng: Rng) -> Layers:
    wide = rng.uniform(0.5, 0.62)
    body = join(slab(0, 0.15, wide, 0.78, soft=0.35))
    return [
        (ring(0, -0.66, 0.2, 0.09), 0.6),
        (rod(-wide, -0.1, -wide - 0.12, 0.6, 0.16), 0.6),
        (rod(wide, -0.1, wide + 0.12, 0.6, 0.16), 0.6),
        (body, 1.0),
        (slab(0, 0.5, wide * 0.7, 0.28, soft=0.12), 0.75),
        (rod(-wide * 0.6, 0.32, wide * 0.6, 0.32, 0.05), 0.2),
        (rod(-wide * 0.75, -0.12, wide * 0.75, -0.12, 0.05), 0.2),
    ]


def _cup(rng: Rng) -> Layers:
    body = slab(-0.12, 0.05, 0.55, rng.uniform(0.5, 0.62), soft=0.14)
    return [(ring(0.5, 0.0, 0.28, 0.13), 1.0), (body, 1.0), (rod(-0.55, -0.38, 0.3, -0.38, 0.06), 0.5)]


def _car(rng: Rng) -> Layers:
    cabin = hull((-0.5, -0.45), (0.25, -0.45), (0.6, 0.0), (-0.7, 0.0))
    return [
        (cabin, 1.0),
        (hull((-0.4, -0.36), (-0.12, -0.36), (-0.12, -0.04), (-0.52, -0.04)), 1.8),
        (hull((-0.02, -0.36), (0.2, -0.36), (0.42, -0.04), (-0.02, -0.04)), 1.8),
        (slab(0, 0.15, 0.97, 0.2, soft=0.12), 1.0),
        *((disc(x, 0.35, 0.22), 0.15) for x in (-0.52, 0.55)),
        *((disc(x, 0.35, rng.uniform(0.08, 0.12)), 1.7) for x in (-0.52, 0.55)),
    ]


def _person(rng: Rng) -> Layers:
    reach = rng.uniform(0.35, 0.6)
    return [
        (join(rod(-0.2, -0.35, -reach, 0.2, 0.15), rod(0.2, -0.35, reach, 0.2, 0.15)), 1.0),
        (join(rod(-0.12, 0.2, -0.2, 0.9, 0.19), rod(0.12, 0.2, 0.2, 0.9, 0.19)), 0.5),
        (slab(0, -0.12, 0.27, 0.38, soft=0.12), 1.0),
        (disc(0, -0.76, 0.2), 1.5),
    ]


def _dog(rng: Rng) -> Layers:
    return [
        (join(*(rod(x, 0.2, x, 0.82, 0.15) for x in (-0.62, -0.4, 0.2, 0.42))), 1.0),
        (rod(-0.65, 0.0, -0.92, rng.uniform(-0.6, -0.3), 0.1), 1.0),
        (slab(-0.1, 0.08, 0.62, 0.25, soft=0.22), 1.0),
        (
            join(
                disc(0.55, -0.38, 0.27),
                slab(0.78, -0.28, 0.2, 0.13, soft=0.1),
                rod(0.4, -0.2, 0.4, 0.05, 0.3),
            ),
            1.0,
        ),
        (rod(0.42, -0.55, 0.36, -0.2, 0.16), 0.5),
        (join(disc(0.64, -0.43, 0.045), disc(0.95, -0.33, 0.065)), 0.1),
    ]


def _bottle(rng: Rng) -> Layers:
    wide = rng.uniform(0.26, 0.34)
    return [
        (join(slab(0, 0.32, wide, 0.63, soft=0.1), slab(0, -0.5, 0.11, 0.35), disc(0, -0.25, wide)), 1.0),
        (slab(0, -0.88, 0.14, 0.09), 0.3),
        (slab(0, 0.4, wide * 0.98, 0.2), 1.7),
    ]


def _cat(rng: Rng) -> Layers:
    ears = join(
        hull((-0.62, -0.85), (-0.12, -0.4), (-0.6, 0.0)), hull((0.62, -0.85), (0.6, 0.0), (0.12, -0.4))
    )
    whiskers = [
        rod(side * 0.25, 0.3, side * 0.9, 0.3 + tilt, 0.03) for side in (-1, 1) for tilt in (-0.1, 0.1)
    ]
    return [
        (join(ears, disc(0, 0.12, 0.68, flatness=rng.uniform(0.85, 0.98))), 1.0),
        (join(disc(-0.27, 0.0, 0.1), disc(0.27, 0.0, 0.1)), 1.9),
        (join(disc(-0.27, 0.0, 0.05), disc(0.27, 0.0, 0.05), disc(0, 0.24, 0.07), *whiskers), 0.1),
    ]


def _house(rng: Rng) -> Layers:
    return [
        (slab(0, 0.38, 0.66, 0.5), 1.0),
        (hull((0, rng.uniform(-0.9, -0.75)), (0.92, -0.08), (-0.92, -0.08)), 0.55),
        (slab(-0.28, 0.55, 0.14, 0.33), 0.3),
        (cut(slab(0.28, 0.3, 0.19, 0.19), rod(0.28, 0, 0.28, 0.6, 0.04), rod(0, 0.3, 0.6, 0.3, 0.04)), 1.8),
    ]


def _tree(rng: Rng) -> Layers:
    if rng.random() < 0.5:
        crown = join(*(disc(x, y, 0.36) for x, y in ((-0.3, -0.2), (0.3, -0.2), (0, -0.55), (0, 0.0))))
    else:
        crown = join(
            hull((0, -0.95), (0.45, -0.3), (-0.45, -0.3)), hull((0, -0.6), (0.62, 0.4), (-0.62, 0.4))
        )
    return [(slab(0, 0.6, 0.1, 0.36), 0.35), (crown, 1.0)]


def _chair(rng: Rng) -> Layers:
    seat = rng.uniform(0.05, 0.18)
    return [
        (join(rod(-0.42, -0.9, -0.38, seat, 0.15), rod(-0.38, seat, 0.42, seat, 0.17)), 1.0),
        (join(rod(-0.36, seat, -0.42, 0.9, 0.11), rod(0.4, seat, 0.46, 0.9, 0.11)), 0.7),
    ]


def _book(rng: Rng) -> Layers:
    return [
        (slab(0, 0, 0.6, 0.82, soft=0.05), 1.0),
        (slab(-0.5, 0, 0.08, 0.82), 0.5),
        (slab(0.08, -0.35, rng.uniform(0.28, 0.36), 0.14), 1.8),
        (rod(-0.2, 0.05, 0.36, 0.05, 0.05), 1.8),
    ]


def _phone(rng: Rng) -> Layers:
    return [
        (slab(0, 0, rng.uniform(0.42, 0.5), 0.92, soft=0.12), 0.5),
        (slab(0, -0.03, 0.35, 0.7, soft=0.03), 1.75),
        (disc(0, 0.8, 0.06), 1.7),
    ]


def _fish(rng: Rng) -> Layers:
    flat = rng.uniform(0.5, 0.62)
    return [
        (hull((-0.45, 0.0), (-0.82, 0.0), (-0.95, -0.4)), 0.8),
        (hull((-0.45, 0.0), (-0.95, 0.4), (-0.82, 0.0)), 0.8),
        (disc(0.15, 0, 0.72, flatness=flat), 1.0),
        (hull((-0.1, -0.25), (0.2, -0.62), (0.4, -0.25)), 0.8),
        (disc(0.58, -0.08, 0.08), 1.9),
        (disc(0.58, -0.08, 0.04), 0.1),
    ]


def _bird(rng: Rng) -> Layers:
    return [
        (join(rod(-0.05, 0.4, -0.05, 0.85, 0.05), rod(0.15, 0.4, 0.15, 0.85, 0.05)), 0.3),
        (hull((-0.3, -0.05), (-0.3, 0.35), (-0.95, rng.uniform(-0.1, 0.15))), 0.8),
        (join(disc(0, 0.12, 0.5, flatness=0.8), disc(0.42, -0.35, 0.27)), 1.0),
        (hull((0.62, -0.46), (0.95, -0.33), (0.62, -0.24)), 0.4),
        (disc(-0.08, 0.12, 0.28, flatness=0.6), 0.7),
        (disc(0.47, -0.4, 0.05), 0.1),
    ]


def _bicycle(rng: Rng) -> Layers:
    rim = rng.uniform(0.34, 0.39)
    frame = [
        (-0.55, 0.3, -0.2, -0.25),
        (-0.2, -0.25, 0.35, -0.28),
        (-0.55, 0.3, 0.0, 0.3),
        (0.0, 0.3, 0.35, -0.28),
        (0.0, 0.3, -0.24, -0.4),
        (0.55, 0.3, 0.32, -0.5),
    ]
    return [
        (join(ring(-0.55, 0.3, rim, 0.08), ring(0.55, 0.3, rim, 0.08)), 0.3),
        (join(*(rod(*ends, 0.075) for ends in frame)), 1.0),
        (join(rod(-0.36, -0.42, -0.12, -0.42, 0.1), rod(0.32, -0.5, 0.52, -0.55, 0.08)), 0.3),
    ]


def _umbrella(rng: Rng) -> Layers:
    dome = cut(disc(0, 0.1, 0.95, flatness=rng.uniform(0.85, 1.0)), slab(0, 1.1, 2, 1.0))
    scallops = [disc(x, 0.12, 0.24) for x in (-0.63, -0.21, 0.21, 0.63)]
    return [
        (rod(0, -0.85, 0, 0.7, 0.06), 0.3),
        (cut(ring(-0.13, 0.7, 0.13, 0.07), slab(-0.13, 0.5, 0.4, 0.2)), 0.3),
        (cut(dome, *scallops), 1.0),
    ]


def _key(rng: Rng) -> Layers:
    return [
        (cut(disc(-0.55, 0, 0.38), disc(-0.55, 0, rng.uniform(0.15, 0.2))), 1.0),
        (join(rod(-0.2, 0, 0.88, 0, 0.13), slab(0.8, 0.17, 0.07, 0.17), slab(0.55, 0.14, 0.06, 0.14)), 1.0),
    ]


def _clock(rng: Rng) -> Layers:
    first, second = rng.uniform(0, 2 * np.pi, size=2)
    marks = [disc(0.66 * np.cos(angle), 0.66 * np.sin(angle), 0.05) for angle in np.arange(12) * np.pi / 6]
    hands = [
        rod(0, 0, 0.38 * np.cos(first), 0.38 * np.sin(first), 0.1),
        rod(0, 0, 0.58 * np.cos(second), 0.58 * np.sin(second), 0.07),
    ]
    return [(disc(0, 0, 0.92), 0.7), (disc(0, 0, 0.78), 1.9), (join(*marks, *hands, disc(0, 0, 0.07)), 0.1)]


def _flower(rng: Rng) -> Layers:
    count = int(rng.integers(5, 8))
    petals = [
        disc(0.36 * np.sin(angle), -0.38 - 0.36 * np.cos(angle), 1.1 / count)
        for angle in np.arange(count) * 2 * np.pi / count
    ]
    return [
        (join(rod(0, -0.2, 0, 0.92, 0.08), disc(0.2, 0.5, 0.2, flatness=0.4)), 0.4),
        (join(*petals), 1.0),
        (disc(0, -0.38, 0.2), 1.7),
    ]


def _apple(rng: Rng) -> Layers:
    body = join(disc(-0.24, 0.12, 0.5, flatness=1.15), disc(0.24, 0.12, 0.5, flatness=1.15))
    return [
        (rod(0, -0.35, rng.uniform(0.0, 0.15), -0.85, 0.08), 0.3),
        (disc(0.26, -0.62, 0.2, flatness=0.5), 0.6),
        (body, 1.0),
    ]


HELD_OUT_WAYS: Mapping[str, Callable[[Rng], Layers]] = MappingProxyType(
    {
        "apple": _apple,
        "backpack": _backpack,
        "bicycle": _bicycle,
        "bird": _bird,
        "book": _book,
        "bottle": _bottle,
        "car": _car,
        "cat": _cat,
        "chair": _chair,
        "clock": _clock,
        "cup": _cup,
        "dog": _dog,
        "fish": _fish,
        "flower": _flower,
        "house": _house,
        "key": _key,
        "person": _person,
        "phone": _phone,
        "tree": _tree,
        "umbrella": _umbrella,
    }
)
"""How each everyday thing is drawn here."""
