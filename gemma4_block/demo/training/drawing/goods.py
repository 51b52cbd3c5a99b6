"""Pictograms of goods: each way to draw one takes a source of chance, so that no two are the same."""

import numpy as np

from gemma4_block.demo.training.drawing.outlines import Drawing, arc, box, ellipse, line, polygon

Rng = np.random.Generator


def backpack_front(rng: Rng) -> Drawing:
    """From the front: a rounded bag with a handle, a flap or lid, a pocket and straps at the sides."""
    width, top = rng.uniform(0.55, 0.75), rng.uniform(-0.7, -0.55)
    pocket = rng.uniform(0.2, 0.45)
    parts = [
        arc(0, top, rng.uniform(0.16, 0.28), rng.uniform(0.18, 0.3), 0.1, "second", start=180, end=360),
        box(-width - 0.13, -0.1, -width + 0.1, 0.75, "second", radius=0.1),
        box(width - 0.1, -0.1, width + 0.13, 0.75, "second", radius=0.1),
        box(-width, top, width, 0.95, radius=rng.uniform(0.25, 0.55)),
        box(-width * 0.72, pocket - 0.1, width * 0.72, 0.82, "second", radius=rng.uniform(0.05, 0.2)),
        line(-width * 0.72, pocket + 0.08, width * 0.72, pocket + 0.08, 0.06, "dark"),
    ]
    if rng.random() < 0.6:
        parts.append(line(-width * 0.85, -0.2, width * 0.85, -0.2, 0.06, "dark"))
    if rng.random() < 0.4:
        parts.append(box(-0.09, pocket - 0.02, 0.09, pocket + 0.2, "light", radius=0.03))
    return parts


def backpack_flap(rng: Rng) -> Drawing:
    """A hiking pack: a lid over a barrel, two belts with buckles and a rolled mat."""
    width = rng.uniform(0.5, 0.7)
    lid = rng.uniform(-0.35, -0.1)
    parts = [
        box(-width, -0.6, width, 0.95, radius=0.2),
        box(-width - 0.06, -0.85, width + 0.06, lid, "second", radius=0.25),
        line(-width / 2, lid - 0.2, -width / 2, 0.7, 0.1, "dark"),
        line(width / 2, lid - 0.2, width / 2, 0.7, 0.1, "dark"),
        box(-width / 2 - 0.1, lid + 0.05, -width / 2 + 0.1, lid + 0.2, "light"),
        box(width / 2 - 0.1, lid + 0.05, width / 2 + 0.1, lid + 0.2, "light"),
        arc(0, -0.85, 0.18, 0.13, 0.09, "second", start=180, end=360),
    ]
    if rng.random() < 0.4:
        parts.insert(0, box(-width - 0.25, 0.62, width + 0.25, 0.98, "second", radius=0.18))
    return parts


def backpack_side(rng: Rng) -> Drawing:
    """From the side: a bent bag, a bulging pocket in front and a strap at the back."""
    bulge = rng.uniform(0.2, 0.4)
    return [
        arc(-0.45, 0.1, rng.uniform(0.3, 0.45), 0.6, 0.12, "second", start=95, end=265),
        arc(-0.1, -0.8, 0.17, 0.16, 0.09, "second", start=180, end=360),
        polygon(
            (-0.5, -0.6),
            (-0.3, -0.82),
            (0.1, -0.82),
            (0.35, -0.55),
            (0.45, 0.7),
            (0.3, 0.92),
            (-0.4, 0.92),
            (-0.52, 0.7),
        ),
        box(0.3, 0.05, 0.45 + bulge, 0.85, "second", radius=0.18),
        line(-0.2, -0.45, 0.3, -0.45, 0.06, "dark"),
    ]


def cup_mug(rng: Rng) -> Drawing:
    """A mug from the side, its handle right or left once it is mirrored."""
    low, high = rng.uniform(0.4, 0.6), rng.uniform(0.55, 0.65)
    return [
        arc(0.55, rng.uniform(-0.05, 0.15), 0.3, 0.33, 0.14, start=-100, end=100),
        polygon((-high, -0.65), (high, -0.65), (low, 0.75), (-low, 0.75)),
        ellipse(0, -0.65, high, rng.uniform(0.08, 0.17), "second"),
    ]


def cup_tea(rng: Rng) -> Drawing:
    """A round tea cup on a saucer, sometimes with steam."""
    parts = [
        ellipse(0, 0.72, 0.95, 0.16, "second"),
        arc(0.68, 0.0, 0.22, 0.22, 0.1, start=-110, end=110),
        ellipse(0, -0.3, 0.72, rng.uniform(0.85, 1.0), start=0, end=180),
    ]
    if rng.random() < 0.5:
        parts += [arc(x, -0.65, 0.1, 0.22, 0.07, "second", start=90, end=270) for x in (-0.2, 0.15)]
    return parts


def cup_to_go(rng: Rng) -> Drawing:
    """A paper cup with a lid and a sleeve."""
    top, bottom = rng.uniform(0.5, 0.6), rng.uniform(0.36, 0.46)
    return [
        polygon((-top, -0.65), (top, -0.65), (bottom, 0.95), (-bottom, 0.95)),
        box(-top - 0.07, -0.8, top + 0.07, -0.62, "second", radius=0.05),
        box(-top + 0.06, -0.95, top - 0.06, -0.8, "second", radius=0.05),
        polygon(
            (-top + 0.06, -0.15),
            (top - 0.06, -0.15),
            (bottom + 0.04, 0.5),
            (-bottom - 0.04, 0.5),
            role="light",
        ),
    ]


def bottle_wine(rng: Rng) -> Drawing:
    """A slim bottle with a long neck and a label."""
    width, neck = rng.uniform(0.27, 0.36), rng.uniform(0.09, 0.13)
    return [
        polygon(
            (-neck, -0.9),
            (neck, -0.9),
            (neck, -0.4),
            (width, -0.1),
            (width, 0.95),
            (-width, 0.95),
            (-width, -0.1),
            (-neck, -0.4),
        ),
        box(-neck - 0.04, -1.0, neck + 0.04, -0.85, "dark"),
        box(-width, 0.2, width, rng.uniform(0.55, 0.75), "light"),
    ]


def bottle_water(rng: Rng) -> Drawing:
    """A water bottle with a wide cap and waves around its body."""
    width = rng.uniform(0.32, 0.42)
    return [
        box(-width, -0.55, width, 0.97, radius=0.18),
        polygon((-0.16, -0.8), (0.16, -0.8), (width, -0.42), (-width, -0.42)),
        box(-0.2, -1.0, 0.2, -0.78, "second", radius=0.04),
        line(-width, -0.05, width, -0.05, 0.07, "light"),
        line(-width, 0.45, width, 0.45, 0.07, "light"),
    ]


def book_closed(rng: Rng) -> Drawing:
    """A closed book with its spine and a plate on its cover."""
    width = rng.uniform(0.6, 0.72)
    return [
        box(-width, -0.9, width, 0.9, radius=0.06),
        box(-width, -0.9, -width + 0.2, 0.9, "dark"),
        box(-0.25, -0.6, width - 0.2, -0.25, "light"),
        line(-width + 0.22, 0.8, width, 0.8, 0.08, "light"),
    ]


def book_open(rng: Rng) -> Drawing:
    """An open book with lines on both pages."""
    drop = rng.uniform(0.1, 0.25)
    parts = [
        polygon((-1, -0.5), (0, -0.5 + drop), (1, -0.5), (1, 0.6), (0, 0.6 + drop), (-1, 0.6)),
        polygon((-0.9, -0.6), (-0.05, -0.5 + drop), (-0.05, 0.5 + drop), (-0.9, 0.48), role="light"),
        polygon((0.9, -0.6), (0.05, -0.5 + drop), (0.05, 0.5 + drop), (0.9, 0.48), role="light"),
    ]
    for y in (-0.2, 0.05, 0.3):
        parts += [
            line(-0.75, y - 0.05, -0.2, y + 0.02, 0.06, "dark"),
            line(0.2, y + 0.02, 0.75, y - 0.05, 0.06, "dark"),
        ]
    return parts


def phone_smart(rng: Rng) -> Drawing:
    """A telephone that is all screen."""
    width = rng.uniform(0.45, 0.55)
    return [
        box(-width, -1, width, 1, radius=0.14),
        box(-width + 0.08, -0.8, width - 0.08, 0.75, "light"),
        ellipse(0, 0.88, 0.07, 0.07, "light"),
        line(-0.14, -0.9, 0.14, -0.9, 0.05, "light"),
    ]


def phone_keys(rng: Rng) -> Drawing:
    """A telephone with a small screen, keys and an aerial."""
    parts = [
        box(0.18, -1, 0.32, -0.6, "second", radius=0.05),
        box(-0.42, -0.8, 0.42, 1, radius=rng.uniform(0.08, 0.2)),
        box(-0.3, -0.65, 0.3, -0.1, "light"),
    ]
    return parts + [
        box(x - 0.08, y - 0.06, x + 0.08, y + 0.06, "light")
        for y in (0.12, 0.4, 0.68)
        for x in (-0.24, 0, 0.24)
    ]


def umbrella_open(rng: Rng) -> Drawing:
    """An open umbrella with a hooked handle."""
    parts = [
        line(0, -0.9, 0, 0.75, 0.08, "dark"),
        arc(-0.16, 0.75, 0.16, 0.17, 0.09, "dark", start=0, end=180),
        ellipse(0, 0.05, 0.98, rng.uniform(0.75, 0.95), start=180, end=360),
    ]
    if rng.random() < 0.7:
        parts += [ellipse(x, 0.06, 0.33, 0.16, "second", start=180, end=360) for x in (-0.65, 0, 0.65)]
    return parts


def umbrella_panels(rng: Rng) -> Drawing:
    """An open umbrella whose panels have two colours and hang in tips."""
    depth = rng.uniform(0.05, 0.2)
    return [
        line(0, -0.8, 0, 0.95, 0.07, "dark"),
        line(0, 0.95, rng.uniform(0.15, 0.28), 0.9, 0.09, "dark"),
        polygon(
            (0, -0.9),
            (0.6, -0.65),
            (0.98, 0.05),
            (0.65, -depth),
            (0.33, 0.05),
            (0, -depth),
            (-0.33, 0.05),
            (-0.65, -depth),
            (-0.98, 0.05),
            (-0.6, -0.65),
        ),
        polygon((0, -0.88), (0.33, 0.03), (0, -depth), (-0.33, 0.03), role="second"),
    ]


def key_round(rng: Rng) -> Drawing:
    """A key with a ring, a straight shaft and a bit."""
    parts = [
        arc(-0.6, 0, 0.3, 0.3, 0.17),
        line(-0.32, 0, 0.95, 0, 0.15),
        box(0.75, 0, 0.92, rng.uniform(0.3, 0.42)),
        box(0.48, 0, 0.62, rng.uniform(0.22, 0.36)),
    ]
    if rng.random() < 0.3:
        parts.append(box(0.25, 0, 0.36, 0.25))
    return parts


def key_plate(rng: Rng) -> Drawing:
    """A key with a plate for a head and a saw edge."""
    return [
        box(-0.98, -0.36, -0.3, 0.36, radius=rng.uniform(0.1, 0.3)),
        ellipse(-0.78, 0, 0.1, 0.1, "light"),
        polygon(
            (-0.32, -0.14),
            (0.98, -0.14),
            (1.0, 0.02),
            (0.85, 0.18),
            (0.7, 0.04),
            (0.55, 0.2),
            (0.4, 0.05),
            (0.25, 0.18),
            (0.1, 0.06),
            (-0.05, 0.16),
            (-0.32, 0.16),
        ),
    ]


def clock_round(rng: Rng) -> Drawing:
    """A round dial with two hands and marks."""
    parts = [ellipse(0, 0, 1, 1), ellipse(0, 0, 0.82, 0.82, "light")]
    for angle in np.arange(0, 2 * np.pi, np.pi / 6 if rng.random() < 0.5 else np.pi / 2):
        x, y = np.cos(angle), np.sin(angle)
        parts.append(line(0.62 * x, 0.62 * y, 0.76 * x, 0.76 * y, 0.07, "dark"))
    return [*parts, *_hands(rng)]


def clock_alarm(rng: Rng) -> Drawing:
    """An alarm clock with two bells and feet."""
    return [
        ellipse(-0.6, -0.7, 0.3, 0.26, "second"),
        ellipse(0.6, -0.7, 0.3, 0.26, "second"),
        line(-0.4, 0.6, -0.65, 0.98, 0.14, "dark"),
        line(0.4, 0.6, 0.65, 0.98, 0.14, "dark"),
        ellipse(0, 0.08, 0.82, 0.82),
        ellipse(0, 0.08, 0.64, 0.64, "light"),
        *_hands(rng, y=0.08, reach=0.5),
    ]


def _hands(rng: Rng, *, y: float = 0.0, reach: float = 0.66) -> Drawing:
    parts = []
    for length, width in ((reach * 0.62, 0.11), (reach, 0.08)):
        angle = rng.uniform(0, 2 * np.pi)
        parts.append(line(0, y, length * np.cos(angle), y + length * np.sin(angle), width, "dark"))
    return parts


WAYS = {
    "backpack": (backpack_front, backpack_front, backpack_flap, backpack_side),
    "cup": (cup_mug, cup_tea, cup_to_go),
    "bottle": (bottle_wine, bottle_water),
    "book": (book_closed, book_open),
    "phone": (phone_smart, phone_keys),
    "umbrella": (umbrella_open, umbrella_panels),
    "key": (key_round, key_plate),
    "clock": (clock_round, clock_alarm),
}
"""The ways to draw each of these things."""
