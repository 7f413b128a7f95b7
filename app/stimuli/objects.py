"""Sixty everyday objects, each a few parametric parts: turned profiles, limbs, wheels, stripes.

Every function draws one exemplar of the category that it is named after, upright, in about
[-1, 1]²; the random generator decides its proportions and its greys.
"""

from collections.abc import Callable

import numpy as np

from app.stimuli.drawing import (
    Figure,
    arc,
    blob,
    box,
    ellipse,
    lathe,
    polygon,
    stroke,
    tapered,
)
from app.stimuli.places import house

PI = np.pi
Draw = Callable[[np.random.Generator], Figure]


def _tones(rng: np.random.Generator) -> tuple[float, float, float]:
    """Choose a grey for the object, one clearly darker and one clearly lighter."""
    main = rng.uniform(0.25, 0.85)
    return main, main * rng.uniform(0.3, 0.55), main + (1 - main) * rng.uniform(0.5, 0.9)


def _bands(rng: np.random.Generator, half: float, low: float, high: float, grey: float) -> Figure:
    """None to three level stripes across a body of half width `half`."""
    heights = low + (high - low) * rng.random(rng.integers(0, 4))
    return [stroke([(-half, y), (half, y)], grey, 0.07) for y in heights]


def _wheel(x: float, y: float, r: float, rim: float) -> Figure:
    return [ellipse(x, y, r, r, 0.08), ellipse(x, y, r * 0.55, r * 0.55, rim, 0.3, 0.04)]


# Vessels


def cup(rng: np.random.Generator) -> Figure:
    u, (main, dark, light) = rng.uniform, _tones(rng)
    w, foot, h = u(0.5, 0.65), u(0.3, 0.55), u(0.5, 0.75)
    return [
        stroke(arc(w * 0.85, 0, u(0.28, 0.4), h * 0.55, -1.4, 1.4), dark, 0.13),
        lathe([(foot, -h), (w, h)], main, dark),
        *_bands(rng, w * 0.78, -h * 0.5, h * 0.5, light),
        ellipse(0, h, w, u(0.08, 0.18), light, dark),
    ]


def bottle(rng: np.random.Generator) -> Figure:
    u, (main, dark, light) = rng.uniform, _tones(rng)
    w, neck, shoulder = u(0.26, 0.38), u(0.09, 0.13), u(0.1, 0.35)
    return [
        lathe([(w, -1), (w, shoulder), (neck, shoulder + u(0.2, 0.4)), (neck, 0.9)], main, dark),
        box(-neck * 1.3, 0.82, neck * 1.3, 1, dark),
        box(-w, u(-0.8, -0.6), w, u(-0.2, 0.05), light, dark),
    ]


def wineglass(rng: np.random.Generator) -> Figure:
    u, (main, dark, light) = rng.uniform, _tones(rng)
    w, belly = u(0.35, 0.5), u(0.15, 0.3)
    return [
        ellipse(0, -0.92, u(0.35, 0.48), 0.09, main, dark),
        box(-0.05, -0.92, 0.05, 0.0, main),
        blob([(0, -0.1), (w * 0.8, belly), (w, 0.6), (w * 0.85, 1), (-w * 0.85, 1), (-w, 0.6),
              (-w * 0.8, belly)], light, dark),
        blob([(0, -0.02), (w * 0.8, belly), (w * 0.9, 0.55), (-w * 0.9, 0.55), (-w * 0.8, belly)],
             dark),
    ]  # fmt: skip


def vase(rng: np.random.Generator) -> Figure:
    u, (main, dark, light) = rng.uniform, _tones(rng)
    w, neck, lip = u(0.5, 0.7), u(0.14, 0.24), u(0.28, 0.42)
    body = [(u(0.2, 0.35), -1), (w, u(-0.5, -0.1)), (neck, 0.5), (lip, 0.98)]
    return [
        lathe(body, main, dark, smooth=True),
        *_bands(rng, w * 0.7, -0.5, 0.0, light),
        ellipse(0, 0.97, lip, 0.08, dark, light),
    ]


def teapot(rng: np.random.Generator) -> Figure:
    u, (main, dark, light) = rng.uniform, _tones(rng)
    h = u(0.4, 0.55)
    return [
        stroke(arc(-0.55, 0, 0.38, h * 0.7, PI / 2, 3 * PI / 2), dark, 0.12),
        tapered([(0.4, -0.2), (0.75, 0.0), (0.98, h * 0.9)], [0.18, 0.1, 0.06], dark),
        ellipse(0, -0.05, 0.62, h, main, dark),
        ellipse(0, h - 0.07, u(0.25, 0.35), 0.09, light, dark),
        ellipse(0, h + 0.08, 0.09, 0.09, dark),
        *_bands(rng, 0.5, -0.25, 0.1, light),
    ]


# Light and fire


def bulb(rng: np.random.Generator) -> Figure:
    u, (_, dark, light) = rng.uniform, _tones(rng)
    r = u(0.55, 0.66)
    return [
        lathe([(0.2, -0.5), (0.25, -0.3), (r, 0.3), (r * 0.75, 0.8), (0, 1)], light, dark,
              smooth=True),
        stroke([(-0.12, -0.4), (-0.2, 0.3), (0, 0.15), (0.2, 0.3), (0.12, -0.4)], 0.1, 0.04),
        box(-0.25, -0.85, 0.25, -0.4, dark),
        *[stroke([(-0.25, y), (0.25, y + 0.06)], 0.9, 0.04) for y in (-0.75, -0.63, -0.5)],
        ellipse(0, -0.88, 0.13, 0.1, 0.1),
    ]  # fmt: skip


def lamp(rng: np.random.Generator) -> Figure:
    u, (main, dark, light) = rng.uniform, _tones(rng)
    low, high, rim = u(0.55, 0.75), u(0.25, 0.4), u(0.0, 0.2)
    body = [(0.35, -0.98), (u(0.08, 0.3), -0.6), (0.06, 0.2)]
    return [
        lathe(body, dark, main),
        box(-0.45, -1, 0.45, -0.9, dark),
        lathe([(low, rim), (high, 0.95)], light, dark),
        *_bands(rng, high, rim + 0.15, 0.85, main),
    ]


def bell(rng: np.random.Generator) -> Figure:
    u, (main, dark, light) = rng.uniform, _tones(rng)
    w = u(0.65, 0.8)
    return [
        ellipse(0, -0.78, 0.17, 0.17, dark),
        ellipse(0, 0.85, 0.15, 0.15, None, dark, 0.08),
        lathe([(w, -0.7), (w * 0.68, -0.35), (w * 0.6, 0.2), (w * 0.38, 0.65), (0, 0.78)],
              main, dark),
        box(-w * 1.05, -0.75, w * 1.05, -0.6, light, dark),
        *_bands(rng, w * 0.6, -0.3, 0.3, light),
    ]  # fmt: skip


def lighthouse(rng: np.random.Generator) -> Figure:
    u, (_, dark, light) = rng.uniform, _tones(rng)
    w, top, n = u(0.35, 0.5), u(0.35, 0.5), int(rng.integers(3, 6))
    levels = np.linspace(-0.95, top, n + 1)
    widths = np.linspace(w, w * 0.55, n + 1)
    tower = [
        lathe([(widths[k], levels[k]), (widths[k + 1], levels[k + 1])], (light, dark)[k % 2], dark)
        for k in range(n)
    ]
    lantern = w * 0.45
    return [
        *tower,
        box(-lantern, top, lantern, top + 0.28, 1.0, 0.1, 0.05),
        box(-w * 0.75, top - 0.03, w * 0.75, top + 0.06, 0.15),
        polygon([(-w * 0.6, top + 0.28), (w * 0.6, top + 0.28), (0, top + 0.52)], dark, 0.1),
        *[ellipse(0, y, 0.07, 0.09, 0.1) for y in (-0.6, -0.1)],
    ]


# Tools


def key(rng: np.random.Generator) -> Figure:
    u, (main, dark, _) = rng.uniform, _tones(rng)
    r, hole = u(0.32, 0.42), u(0.12, 0.18)
    teeth = [box(x, -u(0.25, 0.42), x + 0.13, 0, main, dark) for x in (0.45, 0.66, 0.85)]
    return [
        *teeth[: rng.integers(2, 4)],
        box(-0.4, -0.1, 1, 0.1, main, dark),
        ellipse(-0.6, 0, r, r * u(0.85, 1.2), main, dark),
        ellipse(-0.65, 0, hole, hole, 0.05),
    ]


def hammer(rng: np.random.Generator) -> Figure:
    u, (main, dark, light) = rng.uniform, _tones(rng)
    h = u(0.16, 0.24)
    return [
        tapered([(0, -1), (0, -0.4), (0, 0.6)], [0.13, 0.11, 0.09], light, main),
        polygon([(-0.55, 0.55 - h), (-0.55, 0.55 + h), (-0.3, 0.55 + h * 0.7),
                 (0.25, 0.55 + h * 0.8), (0.7, 0.55 + u(-0.1, 0.15)), (0.25, 0.55 - h * 0.6),
                 (-0.3, 0.55 - h * 0.7)], dark, 0.05),
    ]  # fmt: skip


def knife(rng: np.random.Generator) -> Figure:
    u, (_, dark, light) = rng.uniform, _tones(rng)
    w = u(0.2, 0.32)
    return [
        blob([(-0.1, -w * 0.4), (-0.1, w * 0.5), (0.6, w * 0.5), (1.1, w * u(-0.2, 0.5)),
              (0.6, -w * 0.6)], light, 0.2),
        tapered([(-1, -0.04), (-0.5, 0.02), (-0.05, 0)], [0.14, 0.11, 0.13], dark * 0.7),
        *[ellipse(x, 0, 0.035, 0.035, light) for x in (-0.75, -0.45, -0.2)],
    ]  # fmt: skip


def fork(rng: np.random.Generator) -> Figure:
    u, (main, dark, light) = rng.uniform, _tones(rng)
    w, n = u(0.25, 0.36), int(rng.integers(3, 5))
    return [
        tapered([(0, -1), (0, -0.5), (0, 0.2)], [0.13, 0.09, 0.06], main, dark),
        blob([(-w, 0.5), (-w * 0.7, 0.15), (0, 0.05), (w * 0.7, 0.15), (w, 0.5)], main, dark),
        *[tapered([(x, 0.35), (x, 1)], [0.07, 0.05], light, dark)
          for x in np.linspace(-w, w, n)],
    ]  # fmt: skip


def spoon(rng: np.random.Generator) -> Figure:
    u, (main, dark, light) = rng.uniform, _tones(rng)
    w, h = u(0.26, 0.36), u(0.38, 0.48)
    return [
        tapered([(0, -1), (0, -0.5), (0, 0.3)], [0.14, 0.09, 0.07], main, dark),
        ellipse(0, 0.55, w, h, main, dark),
        ellipse(0.02, 0.55, w * 0.7, h * 0.75, light),
    ]


def pencil(rng: np.random.Generator) -> Figure:
    u, (main, dark, light) = rng.uniform, _tones(rng)
    w = u(0.13, 0.2)
    return [
        box(-0.75, -w, 0.6, w, main, dark),
        box(-0.75, -w * 0.3, 0.6, w * 0.3, light),
        polygon([(0.6, -w), (0.6, w), (1, 0)], 0.85, dark),
        polygon([(0.86, -w * 0.35), (0.86, w * 0.35), (1, 0)], 0.05),
        box(-0.85, -w, -0.68, w, 0.9, 0.3),
        ellipse(-0.88, 0, 0.12, w, dark),
    ]


def scissors(rng: np.random.Generator) -> Figure:
    u, (main, dark, light) = rng.uniform, _tones(rng)
    spread, r = u(0.12, 0.4), u(0.22, 0.3)
    figure: Figure = []
    for s in (-1, 1):
        sin, cos = s * np.sin(spread), np.cos(spread)
        tip, back = (sin * 1.05, 0.95 * cos), (-sin * 0.5 - s * 0.12, -0.55)
        figure.append(tapered([back, (0, -0.05), tip], [0.08, 0.13, 0.02], light, dark))
        figure.append(ellipse(-s * (r + 0.08), -0.72, r, r * 1.1, None, main, 0.14))
    return [*figure, ellipse(0, -0.05, 0.06, 0.06, 0.05)]


def saw(rng: np.random.Generator) -> Figure:
    u, (main, dark, light) = rng.uniform, _tones(rng)
    low, n = u(-0.32, -0.2), int(rng.integers(8, 13))
    x = np.linspace(1.05, -0.4, 2 * n + 1)
    y = np.where(np.arange(2 * n + 1) % 2, low - 0.12, np.linspace(low + 0.2, low, 2 * n + 1))
    return [
        polygon([(-0.4, 0.25), (1.05, 0.2), *zip(x, y, strict=True)], light, dark),
        blob([(-1.05, 0.35), (-0.3, 0.35), (-0.35, -0.35), (-1.0, -0.4)], main, dark, 0.04),
        blob([(-0.85, 0.15), (-0.55, 0.15), (-0.6, -0.15), (-0.85, -0.18)], 0.05),
    ]


def ladder(rng: np.random.Generator) -> Figure:
    u, (main, dark, light) = rng.uniform, _tones(rng)
    low, high, n = u(0.42, 0.55), u(0.28, 0.42), int(rng.integers(5, 8))
    rungs = [(y, low + (high - low) * (y + 1) / 2) for y in np.linspace(-0.8, 0.85, n)]
    return [
        *[box(-w, y - 0.06, w, y + 0.06, light, dark) for y, w in rungs],
        *[polygon([(s * low - 0.09, -1), (s * low + 0.09, -1), (s * high + 0.09, 1),
                   (s * high - 0.09, 1)], main, dark) for s in (-1, 1)],
    ]  # fmt: skip


# Furniture and things of the house


def chair(rng: np.random.Generator) -> Figure:
    u, (main, dark, light) = rng.uniform, _tones(rng)
    seat, top, w = u(-0.2, 0.0), u(0.85, 1.0), u(0.4, 0.5)
    depth = u(0.15, 0.3)
    legs = [box(x - 0.05, -1 + lift, x + 0.05, seat, dark) for x, lift in
            ((-w, 0.0), (w * 0.6, 0.0), (-w + depth, 0.15), (w * 0.6 + depth, 0.15))]  # fmt: skip
    back = w * 0.6 + depth
    slats = [box(-w + depth, y, back, y + 0.12, main, dark) for y in
             np.linspace(seat + 0.3, top - 0.12, int(rng.integers(2, 5)))]  # fmt: skip
    posts = [box(x - 0.06, seat, x + 0.06, top, main, dark) for x in (-w + depth, back)]
    return [
        *legs, *slats, *posts,
        polygon([(-w - 0.06, seat), (w * 0.6 + 0.06, seat), (back + 0.06, seat + 0.2),
                 (-w + depth - 0.06, seat + 0.2)], light, dark),
        box(-w - 0.06, seat - 0.12, w * 0.6 + 0.06, seat, main, dark),
    ]  # fmt: skip


def table(rng: np.random.Generator) -> Figure:
    u, (main, dark, light) = rng.uniform, _tones(rng)
    top, depth, low = u(0.1, 0.3), u(0.2, 0.4), u(-0.75, -0.55)
    return [
        *[box(x - 0.06, low + 0.18, x + 0.06, top, dark) for x in (-0.6, 0.75)],
        *[box(x - 0.08, low, x + 0.08, top, main, dark) for x in (-0.88, 0.62)],
        polygon([(-1, top), (0.75, top), (1, top + depth), (-0.72, top + depth)], light, dark),
        box(-1, top - 0.14, 0.75, top, main, dark),
    ]


def bed(rng: np.random.Generator) -> Figure:
    u, (main, dark, light) = rng.uniform, _tones(rng)
    head, foot = u(0.45, 0.7), u(-0.05, 0.2)
    return [
        box(-1, -0.65, -0.85, head, dark), box(0.85, -0.65, 1, foot, dark),
        box(-0.9, -0.45, 0.9, -0.1, main, dark),
        blob([(-0.85, -0.1), (-0.85, 0.12), (-0.6, 0.22), (-0.35, 0.1), (-0.35, -0.08)], 1.0, 0.4),
        blob([(-0.3, -0.35), (-0.32, 0.0), (0, 0.08), (0.6, 0.05), (0.9, -0.02), (0.9, -0.4)],
             light, dark),
        *[stroke([(x, -0.3), (x + 0.05, 0.02)], main, 0.05)
          for x in np.linspace(-0.15, 0.75, int(rng.integers(0, 6)))],
    ]  # fmt: skip


def sofa(rng: np.random.Generator) -> Figure:
    u, (main, dark, light) = rng.uniform, _tones(rng)
    top, arm, n = u(0.4, 0.6), u(0.0, 0.15), int(rng.integers(2, 4))
    edges = np.linspace(-0.78, 0.78, n + 1)
    return [
        *[box(x, -0.75, x + 0.1, -0.5, 0.08) for x in (-0.85, 0.75)],
        blob([(-0.85, -0.5), (-0.85, top), (0, top + 0.04), (0.85, top), (0.85, -0.5)], main, dark),
        *[box(a, -0.2, b, top - 0.1, main * 0.9, dark)
          for a, b in zip(edges, edges[1:], strict=False)],
        *[box(a, -0.35, b, -0.12, light, dark) for a, b in zip(edges, edges[1:], strict=False)],
        box(-0.9, -0.6, 0.9, -0.35, main, dark),
        *[blob([(s * 1, -0.6), (s * 1.02, arm), (s * 0.87, arm + 0.12), (s * 0.72, arm),
                (s * 0.74, -0.6)], main, dark) for s in (-1, 1)],
    ]  # fmt: skip


def clock(rng: np.random.Generator) -> Figure:
    u, (main, dark, light) = rng.uniform, _tones(rng)
    r = u(0.75, 0.92)
    hands = zip(u(0, 2 * PI, 2), (0.45, 0.68), (0.11, 0.07), strict=True)
    return [
        ellipse(0, 0, r, r, light, dark, u(0.08, 0.2)),
        *[ellipse(r * 0.78 * np.cos(a), r * 0.78 * np.sin(a), 0.05, 0.05, 0.05)
          for a in np.arange(12) * PI / 6],
        *[stroke([(0, 0), (r * n * np.cos(a), r * n * np.sin(a))], 0.05, w) for a, n, w in hands],
        ellipse(0, 0, 0.07, 0.07, main),
    ]  # fmt: skip


def television(rng: np.random.Generator) -> Figure:
    u, (main, dark, light) = rng.uniform, _tones(rng)
    h, y = u(0.5, 0.62), u(-0.1, 0.2)
    aerial = [stroke([(0, h), (s * u(0.2, 0.5), 1)], dark, 0.05) for s in (-1, 1)]
    return [
        *(aerial if rng.random() < 0.5 else []),
        polygon([(-0.45, -h - 0.25), (0.45, -h - 0.25), (0.25, -h), (-0.25, -h)], dark),
        box(-0.98, -h, 0.98, h, main, dark, 0.05),
        box(-0.85, -h + 0.13, 0.85, h - 0.13, 0.12, light, 0.04),
        polygon([(-0.7, y), (-0.3, h - 0.2), (0.0, h - 0.2), (-0.5, y - 0.15)], 0.45),
    ]


def book(rng: np.random.Generator) -> Figure:
    u, (main, dark, light) = rng.uniform, _tones(rng)
    sag, h = u(0.08, 0.2), u(0.5, 0.7)
    figure: Figure = []
    for s in (-1, 1):
        page = [(0, -h), (s * 0.5, -h + sag), (s * 0.98, -h), (s * 0.98, h), (s * 0.5, h + sag),
                (0, h)]  # fmt: skip
        figure.append(polygon(np.array(page) * (1.03, 1) + (0, -0.07), dark))
        figure.append(polygon(page, light, main))
        for y in np.linspace(-h + 0.25, h - 0.12, int(rng.integers(4, 7))):
            figure.append(stroke([(s * 0.15, y), (s * 0.5, y + sag * 0.6), (s * 0.85, y)], dark,
                                 0.05))  # fmt: skip
    return [*figure, stroke([(0, -h), (0, h)], dark, 0.04)]


def umbrella(rng: np.random.Generator) -> Figure:
    u, (main, dark, light) = rng.uniform, _tones(rng)
    n, h = int(rng.integers(4, 7)), u(0.6, 0.8)
    rim = np.linspace(0.95, -0.95, n + 1)
    scallop = [p for a, b in zip(rim, rim[1:], strict=False)
               for p in ((a, 0.05), ((a + b) / 2, 0.17))] + [(-0.95, 0.05)]  # fmt: skip
    return [
        stroke([(0, 0.2), (0, -0.75), (0.12, -0.92), (0.27, -0.8)], 0.1, 0.07),
        polygon(np.vstack([arc(0, 0.05, 0.95, h, 0, PI, 13), scallop[::-1]]), main, dark),
        *[stroke([(x, 0.08), (x * 0.65, 0.05 + h * 0.6), (0, 0.05 + h)], light, 0.05)
          for x in rim[1:-1]],
        stroke([(0, h), (0, h + 0.18)], 0.1, 0.06),
    ]  # fmt: skip


# On the road, on water and in the air


def car(rng: np.random.Generator) -> Figure:
    u, (main, dark, light) = rng.uniform, _tones(rng)
    style = rng.integers(5)  # saloon, hatchback, van, pick-up, coupé
    hood, roof = u(0.02, 0.14), (0.5, 0.55, 0.72, 0.52, 0.42)[style] + u(-0.05, 0.05)
    front, top_front = 0.5 + u(-0.08, 0.05), 0.2 + u(-0.08, 0.05)
    top_back, back = (
        (-0.35, -0.68), (-0.65, -0.88), (-0.85, -0.95), (-0.12, -0.2), (-0.2, -0.8)
    )[style]  # fmt: skip
    if style == 2:
        front, top_front = 0.75, 0.5
    body = [(-1, -0.3), (-1.0, 0.05), (back, hood + 0.05), (top_back, roof), (top_front, roof),
            (front, hood + 0.05), (0.88, hood - 0.06), (1.0, -0.1), (1, -0.3)]  # fmt: skip
    pane = np.array([(back + 0.1, hood + 0.06), (top_back + 0.05, roof - 0.09),
                     (top_front - 0.04, roof - 0.09), (front - 0.1, hood + 0.06)])  # fmt: skip
    r, middle = u(0.19, 0.24), (top_back + top_front) / 2
    return [
        polygon(body, main, dark, 0.05),
        polygon(pane, u(0.03, 0.2), light, 0.04),
        box(middle - 0.04, hood, middle + 0.03, roof - 0.05, main),
        stroke([(-0.95, hood - 0.12), (0.92, hood - 0.14)], dark, 0.03),
        box(0.9, -0.12, 1.0, 0.02, 1.0), box(-1, -0.08, -0.93, 0.04, dark),
        stroke([(middle - 0.2, hood - 0.04), (middle - 0.1, hood - 0.04)], dark, 0.04),
        *_wheel(-0.58, -0.32, r, light), *_wheel(0.58, -0.32, r, light),
    ]  # fmt: skip


def truck(rng: np.random.Generator) -> Figure:
    u, (main, dark, light) = rng.uniform, _tones(rng)
    split, top, cab = u(0.2, 0.4), u(0.5, 0.7), u(0.15, 0.4)
    return [
        box(-1, -0.35, 1, -0.25, 0.1),
        box(-1, -0.28, split, top, light, dark, 0.04),
        *[stroke([(x, -0.2), (x, top - 0.08)], main, 0.05)
          for x in np.linspace(-0.85, split - 0.15, int(rng.integers(2, 7)))],
        polygon([(split + 0.06, -0.3), (split + 0.06, cab), (0.85, cab), (1, 0), (1, -0.3)],
                main, dark),
        polygon([(0.62, 0.0), (0.62, cab - 0.08), (0.82, cab - 0.08), (0.93, 0)], 0.1),
        *[w for x in (-0.72, -0.3, 0.7) for w in _wheel(x, -0.4, 0.2, light)],
    ]  # fmt: skip


def bicycle(rng: np.random.Generator) -> Figure:
    u, (main, dark, light) = rng.uniform, _tones(rng)
    r, grey = u(0.38, 0.45), min(dark, 0.3)
    figure: Figure = []
    for x in (-0.58, 0.58):
        figure.append(ellipse(x, -0.3, r, r, light, 0.05, 0.12))
        figure += [stroke([(x - r * np.cos(a), -0.3 - r * np.sin(a)),
                           (x + r * np.cos(a), -0.3 + r * np.sin(a))], 0.4, 0.025)
                   for a in np.arange(4) * PI / 4 + u(0, 1)]  # fmt: skip
    seat, bar = (-0.25, u(0.3, 0.42)), (0.4, u(0.35, 0.5))
    for line in ([(-0.58, -0.3), (-0.02, -0.3), bar], [(-0.02, -0.3), seat], [(-0.22, 0.22), bar],
                 [(-0.58, -0.3), (-0.22, 0.22)], [(0.58, -0.3), bar]):  # fmt: skip
        figure += [stroke([a, b], grey, 0.1) for a, b in zip(line, line[1:], strict=False)]
    return [
        *figure,
        tapered([(-0.42, seat[1] + 0.06), (-0.08, seat[1] + 0.04)], [0.09, 0.05], 0.05),
        stroke([(0.25, bar[1] + 0.12), (0.4, bar[1] + 0.02), (0.55, bar[1] + 0.12)], 0.05, 0.1),
        ellipse(-0.02, -0.3, 0.1, 0.1, main, 0.05),
    ]


def train(rng: np.random.Generator) -> Figure:
    u, (main, dark, light) = rng.uniform, _tones(rng)
    cab, boiler = u(0.55, 0.75), u(0.1, 0.25)
    return [
        box(0.5, boiler, 0.68, boiler + u(0.3, 0.5), dark, 0.05),
        box(-0.2, -0.35, 0.85, boiler, main, dark, 0.04),
        ellipse(0.85, (boiler - 0.35) / 2, 0.12, (boiler + 0.35) / 2, light, dark),
        *[stroke([(x, -0.3), (x, boiler - 0.03)], light, 0.05) for x in (0.1, 0.4)],
        ellipse(0.2, boiler + 0.03, 0.12, 0.14, dark),
        box(-0.95, -0.35, -0.2, cab, main, dark, 0.04),
        box(-1.03, cab - 0.05, -0.12, cab + 0.08, dark),
        box(-0.75, 0.05, -0.38, cab - 0.15, u(0.8, 1.0), dark, 0.05),
        polygon([(0.8, -0.4), (1.05, -0.68), (0.8, -0.68)], dark),
        *[w for x, r in ((-0.65, 0.26), (-0.1, 0.2), (0.3, 0.2), (0.68, 0.2))
          for w in _wheel(x, -0.68 + r - 0.18, r, light)],
    ]  # fmt: skip


def sailboat(rng: np.random.Generator) -> Figure:
    u, (main, dark, light) = rng.uniform, _tones(rng)
    mast, boom = u(-0.15, 0.1), u(0.6, 0.85)
    return [
        polygon([(-0.95, -0.5), (0.95, -0.5), (0.6, -0.92), (-0.65, -0.92)], main, dark, 0.04),
        stroke([(-0.85, -0.62), (0.85, -0.62)], light, 0.06),
        stroke([(mast, -0.5), (mast, 1)], 0.1, 0.06),
        blob([(mast + 0.06, -0.36), (mast + boom, -0.38), (mast + boom * 0.45, 0.3),
              (mast + 0.06, 0.95)], light, dark),
        polygon([(mast - 0.06, -0.38), (mast - u(0.45, 0.7), -0.38), (mast - 0.06, u(0.5, 0.8))],
                light * 0.85, dark),
    ]  # fmt: skip


def aeroplane(rng: np.random.Generator) -> Figure:
    u, (main, dark, light) = rng.uniform, _tones(rng)
    sweep, root, tail = u(0.1, 0.5), u(0.2, 0.32), u(0.3, 0.4)
    figure: Figure = []
    for s in (-1, 1):
        figure.append(polygon([(0, 0.3), (s * 0.98, 0.12 - sweep), (s * 0.98, -0.05 - sweep),
                               (0, 0.3 - root * 1.6)], main, dark))  # fmt: skip
        figure.append(polygon([(0, -0.65), (s * tail, -0.8), (s * tail, -0.95), (0, -0.9)],
                              main, dark))  # fmt: skip
        if rng.random() < 0.7:
            figure.append(ellipse(s * 0.45, 0.12 - sweep * 0.4, 0.07, 0.17, dark))
    return [
        *figure,
        lathe([(0, -1), (0.1, -0.8), (0.16, 0.0), (0.15, 0.7), (0, 1)], light, dark, smooth=True),
        ellipse(0, 0.72, 0.08, 0.1, 0.05),
        polygon([(-0.03, -0.6), (0.03, -0.6), (0.03, -1), (-0.03, -1)], dark),
    ]


def balloon(rng: np.random.Generator) -> Figure:
    u, (main, dark, light) = rng.uniform, _tones(rng)
    w = u(0.6, 0.72)
    hull = np.array([(0.14, -0.45), (0.9, 0.15), (0.97, 0.5), (0.6, 0.9), (0.0, 1.0)])
    return [
        *[stroke([(x, -0.4), (x, -0.8)], 0.1, 0.04) for x in (-0.12, 0.12)],
        box(-0.17, -1, 0.17, -0.72, dark, 0.1),
        *[lathe([(float(x) * w * k, float(y)) for x, y in hull], grey, dark, smooth=True)
          for k, grey in ((1.0, main), (0.66, light), (0.33, main))],
    ]  # fmt: skip


def rocket(rng: np.random.Generator) -> Figure:
    u, (main, dark, light) = rng.uniform, _tones(rng)
    w, y = u(0.26, 0.36), u(0.1, 0.3)
    return [
        blob([(-w * 0.6, -0.6), (0, -1.05), (w * 0.6, -0.6)], 1.0, 0.5),
        *[polygon([(s * w * 0.8, -0.05), (s * (w + 0.35), -0.55), (s * (w + 0.35), -0.8),
                   (s * w * 0.7, -0.55)], dark, 0.1) for s in (-1, 1)],
        lathe([(w * 0.75, -0.65), (w, -0.1), (w * 0.9, 0.4), (0, 1.02)], light, dark, smooth=True),
        lathe([(w * 0.62, 0.6), (0.3 * w, 0.86), (0, 1.0)], main),
        ellipse(0, y, w * 0.45, w * 0.45, 0.1, main, 0.06),
        *_bands(rng, w * 0.9, -0.4, -0.1, main),
    ]  # fmt: skip


# Plants and food


def tree(rng: np.random.Generator) -> Figure:
    u, (main, dark, light) = rng.uniform, _tones(rng)
    n, w = int(rng.integers(6, 10)), u(0.5, 0.65)
    crown = arc(0, 0.35, w, 0.42, 0, 2 * PI, n + 1)[:-1]
    return [
        tapered([(0, -1), (u(-0.08, 0.08), -0.4), (0, 0.2)], [0.19, 0.12, 0.1], dark * 0.8),
        *[ellipse(x, y, u(0.22, 0.34), u(0.22, 0.34), main) for x, y in crown],
        ellipse(0, 0.35, w, 0.45, main),
        *[ellipse(x * 0.7, y - 0.02, 0.1, 0.08, light) for x, y in crown[:5] * 0.8],
    ]


def fir(rng: np.random.Generator) -> Figure:
    u, (main, dark, light) = rng.uniform, _tones(rng)
    n, w = int(rng.integers(3, 6)), u(0.5, 0.75)
    figure = [box(-0.1, -1, 0.1, -0.6, dark * 0.7)]
    for k, y in enumerate(np.linspace(-0.75, 0.45, n)):
        half = w * (1 - 0.6 * k / n)
        figure.append(polygon([(-half, y), (0, y + 0.1), (half, y), (0, y + 0.65)], main, dark))
    return [*figure, ellipse(0, 1.02, 0.07, 0.07, light)]


def cactus(rng: np.random.Generator) -> Figure:
    u, (main, dark, light) = rng.uniform, _tones(rng)
    w = u(0.18, 0.26)
    figure: Figure = []
    for s in (-1, 1):
        y, x = u(-0.2, 0.2), s * u(0.5, 0.65)
        figure.append(tapered([(0, y), (x * 0.9, y + 0.02), (x, y + 0.12), (x, y + u(0.35, 0.55))],
                              [0.1, 0.12, 0.13, 0.1], main, dark))  # fmt: skip
    return [
        *figure,
        tapered([(0, -0.7), (0, 0), (0, 0.85)], [w, w * 1.1, w * 0.8], main, dark),
        *[stroke([(x * w, -0.6), (x * w, 0.8)], light, 0.035) for x in (-0.5, 0, 0.5)],
        lathe([(0.28, -1), (0.4, -0.6)], dark, 0.1),
    ]


def flower(rng: np.random.Generator) -> Figure:
    u, (main, dark, light) = rng.uniform, _tones(rng)
    n, r = int(rng.integers(5, 9)), u(0.3, 0.38)
    angles = np.arange(n) * 2 * PI / n + u(0, 1)
    return [
        stroke([(0, 0.3), (u(-0.1, 0.1), -0.3), (0, -1)], dark, 0.09),
        *[blob([(0, -0.7), (s * 0.3, -0.5), (s * 0.5, -0.3), (s * 0.25, -0.65)], dark)
          for s in (-1, 1)],
        *[ellipse(r * np.cos(a), 0.42 + r * np.sin(a), 0.27, 3.5 * r / n, light, main, 0.04, a)
          for a in angles],
        ellipse(0, 0.42, 0.19, 0.19, main * 0.5),
    ]  # fmt: skip


def leaf(rng: np.random.Generator) -> Figure:
    u, (main, dark, light) = rng.uniform, _tones(rng)
    w, low = u(0.4, 0.6), u(-0.35, 0.1)
    veins = np.linspace(-0.5, 0.5, int(rng.integers(4, 7)))
    return [
        stroke([(0, -0.7), (u(-0.1, 0.1), -1.05)], dark, 0.08),
        lathe([(0, -0.8), (w, low), (w * 0.5, 0.6), (0, 1)], main, dark, smooth=True),
        *[stroke([(0, y - 0.1), (s * w * 0.7 * (1 - abs(y - low) * 0.6), y + 0.14)], light, 0.045)
          for y in veins for s in (-1, 1)],
        stroke([(0, -0.75), (0, 0.85)], light, 0.06),
    ]  # fmt: skip


def apple(rng: np.random.Generator) -> Figure:
    u, (main, dark, light) = rng.uniform, _tones(rng)
    w, dip = u(0.72, 0.88), u(0.42, 0.5)
    half = [(0, -0.72), (w * 0.45, -0.8), (w, 0.05), (w * 0.7, 0.58), (0.12, dip)]
    return [
        blob([(0, dip - 0.05), *half[-2:0:-1], *[(-x, y) for x, y in half[:-1]]], main, dark),
        stroke([(0, dip - 0.08), (u(-0.1, 0.15), 0.9)], dark * 0.7, 0.09),
        blob([(0.06, 0.62), (0.25, 0.85), (0.55, 0.85), (0.3, 0.65)], dark),
        ellipse(-w * 0.45, 0.2, 0.12, 0.22, light, angle=-0.4),
    ]


def banana(rng: np.random.Generator) -> Figure:
    u, (main, dark, light) = rng.uniform, _tones(rng)
    bend, w = u(0.45, 0.7), u(0.18, 0.26)
    spine = arc(0, 0.45, 0.9, bend + 0.4, PI + 0.15, 2 * PI - 0.25, 6)
    return [
        tapered(spine, np.array([0.06, 0.8 * w, w, w, 0.8 * w, 0.06]), main, dark),
        tapered([spine[-1], spine[-1] + (0.1, 0.22)], [0.07, 0.08], dark),
        stroke(spine[1:-1] + (0, 0.04), light, 0.06),
        ellipse(spine[0, 0], spine[0, 1], 0.06, 0.06, 0.1),
    ]


def mushroom(rng: np.random.Generator) -> Figure:
    u, (main, dark, light) = rng.uniform, _tones(rng)
    w, h = u(0.75, 0.95), u(0.6, 0.9)
    spots = zip(np.linspace(-0.5, 0.5, 4), (0.25, 0.5, 0.45, 0.2), strict=True)
    return [
        tapered([(0, -0.9), (0, -0.4), (0, 0.15)], [0.3, 0.2, 0.18], light, dark),
        blob(np.vstack([arc(0, 0, w, h, 0, PI, 9), [(-w * 0.5, -0.12), (w * 0.5, -0.12)]]), main,
             dark),
        *([ellipse(x * w, y * h + 0.08, u(0.07, 0.14), u(0.07, 0.14), light) for x, y in spots]
          if rng.random() < 0.7 else []),
    ]  # fmt: skip


def cone(rng: np.random.Generator) -> Figure:
    """Draw an ice-cream cone."""
    u, (main, dark, light) = rng.uniform, _tones(rng)
    r, n = u(0.36, 0.46), int(rng.integers(1, 4))
    balls: list[list[tuple[float, float]]] = [
        [(0, 0.25)],
        [(-0.26, 0.22), (0.26, 0.22)],
        [(-0.28, 0.2), (0.28, 0.2), (0, 0.6)],
    ]
    lines = [stroke([(s * 0.42, 0.1 - 0.3 * k), (-s * 0.1, -0.5 - 0.22 * k)], dark, 0.04)
             for k in range(2) for s in (-1, 1)]  # fmt: skip
    return [
        polygon([(-0.47, 0.1), (0.47, 0.1), (0, -1)], main, dark),
        *lines,
        *[ellipse(x, y + 0.1, r, r, grey, dark)
          for (x, y), grey in zip(balls[n - 1], (light, 0.95, main * 0.8), strict=False)],
    ]  # fmt: skip


# Animals and what people wear


def fish(rng: np.random.Generator) -> Figure:
    u, (main, dark, light) = rng.uniform, _tones(rng)
    h, tail = u(0.32, 0.5), u(0.3, 0.45)
    stripes = np.linspace(-0.35, 0.3, int(rng.integers(1, 5)))
    return [
        polygon([(-0.5, 0), (-1, tail), (-0.85, 0), (-1, -tail)], dark, 0.1),
        polygon([(-0.3, h * 0.6), (0.0, h + 0.25), (0.3, h * 0.7)], dark, 0.1),
        blob([(-0.65, 0), (-0.2, h * 0.85), (0.4, h), (0.98, 0.02), (0.4, -h), (-0.2, -h * 0.85)],
             main, dark),
        *[stroke(arc(x - 0.2, 0, 0.25, h * 0.75, -1.1, 1.1, 5), light, 0.07) for x in stripes],
        ellipse(0.66, 0.1, 0.1, 0.1, 1.0, 0.1), ellipse(0.68, 0.1, 0.05, 0.05, 0.0),
    ]  # fmt: skip


def bird(rng: np.random.Generator) -> Figure:
    u, (main, dark, light) = rng.uniform, _tones(rng)
    r, wing = u(0.24, 0.31), u(-0.25, 0.25)
    return [
        *[stroke([(x, -0.4), (x + 0.04, -0.92), (x + 0.2, -0.94)], 0.1, 0.06) for x in (-0.1, 0.1)],
        polygon([(-0.4, -0.05), (-1.02, u(0.0, 0.3)), (-0.95, -0.2), (-0.4, -0.3)], dark),
        blob([(-0.6, -0.05), (-0.1, 0.2), (0.4, 0.3), (0.5, -0.1), (0.1, -0.5), (-0.35, -0.4)],
             main, dark),
        polygon([(0.6, 0.55), (1.02, 0.42), (0.62, 0.35)], 0.15),
        ellipse(0.45, 0.45, r, r, main, dark),
        blob([(0.2, 0.1), (-0.2, 0.1), (-0.6, wing), (-0.2, -0.25), (0.15, -0.15)], light, dark),
        ellipse(0.53, 0.52, 0.06, 0.06, 0.0, 1.0, 0.03),
    ]  # fmt: skip


def snail(rng: np.random.Generator) -> Figure:
    u, (main, dark, light) = rng.uniform, _tones(rng)
    r, t = u(0.48, 0.6), np.linspace(0, u(3.5, 5) * PI, 26)
    spiral = np.stack([np.cos(t), np.sin(t)], 1) * (r * 0.85 * (1 - t / t[-1]))[:, None]
    return [
        *[stroke([(0.75, -0.05), (x, 0.35)], light, 0.06) for x in (0.7, 0.95)],
        tapered([(-1, -0.72), (-0.2, -0.66), (0.55, -0.6), (0.82, 0.0)], [0.04, 0.17, 0.2, 0.14],
                light, dark),
        ellipse(-0.1, -0.05, r, r, main, dark),
        stroke(spiral + (-0.1, -0.05), dark, 0.08),
    ]  # fmt: skip


def butterfly(rng: np.random.Generator) -> Figure:
    u, (main, dark, light) = rng.uniform, _tones(rng)
    up, low, tip = u(0.75, 0.98), u(0.5, 0.75), u(0.6, 0.95)
    spot = u(0.1, 0.18)
    figure: Figure = []
    for s in (-1, 1):
        figure.append(blob([(0, 0), (s * low * 0.7, -0.1), (s * low, -0.55), (s * low * 0.5, -0.85),
                            (s * 0.1, -0.4)], main * 0.8, dark, 0.05))  # fmt: skip
        figure.append(blob([(0, 0.05), (s * 0.3, 0.55), (s * up, tip), (s * up, 0.25),
                            (s * 0.4, -0.08)], main, dark, 0.05))  # fmt: skip
        figure.append(ellipse(s * up * 0.68, tip * 0.6, spot, spot, light))
        figure.append(ellipse(s * low * 0.6, -0.45, spot * 0.8, spot * 0.8, light))
        figure.append(stroke([(0, 0.35), (s * 0.2, 0.85)], 0.05, 0.04))
    return [*figure, tapered([(0, -0.6), (0, 0), (0, 0.4)], [0.05, 0.1, 0.08], 0.05)]


def shoe(rng: np.random.Generator) -> Figure:
    u, (main, dark, light) = rng.uniform, _tones(rng)
    top, sole = u(0.25, 0.6), u(0.08, 0.16)
    return [
        polygon([(-0.95, -0.4), (-0.9, top), (-0.3, top), (-0.1, 0.08), (0.5, -0.08), (0.95, -0.25),
                 (0.98, -0.45)], main, dark),
        box(-0.98, -0.4 - sole, 1.0, -0.38, light, 0.1),
        *[stroke([(x, 0.14 - x * 0.3), (x + 0.22, 0.2 - x * 0.3)], light, 0.06)
          for x in (-0.25, -0.08, 0.1, 0.27)],
        polygon([(-0.95, -0.4), (-0.93, 0.1), (-0.7, 0.0), (-0.65, -0.4)], dark),
    ]  # fmt: skip


def hat(rng: np.random.Generator) -> Figure:
    u, (main, dark, _) = rng.uniform, _tones(rng)
    w, h, brim = u(0.42, 0.58), u(0.4, 0.8), u(0.1, 0.18)
    return [
        ellipse(0, -0.35, 0.98, brim, main, dark),
        blob([(-w, -0.35), (-w * 0.95, h * 0.6), (-w * 0.5, h), (0, h - u(0.02, 0.14)),
              (w * 0.5, h), (w * 0.95, h * 0.6), (w, -0.35)], main, dark),
        polygon([(-w * 1.05, -0.33), (-w * 1.05, -0.1), (w * 1.05, -0.1), (w * 1.05, -0.33)],
                dark * 0.6),
    ]  # fmt: skip


def shirt(rng: np.random.Generator) -> Figure:
    u, (main, dark, light) = rng.uniform, _tones(rng)
    sleeve, w = u(-0.1, 0.3), u(0.45, 0.55)
    half = [(0.2, 0.8), (w, 0.7), (0.98, sleeve + 0.2), (0.78, sleeve - 0.12), (w, 0.3), (w, -0.9)]
    return [
        polygon([*half, *[(-x, y) for x, y in half[::-1]]], main, dark, 0.05),
        *_bands(rng, w * 0.95, -0.8, 0.2, light),
        blob([(-0.2, 0.8), (0, u(0.4, 0.65)), (0.2, 0.8)], dark),
        *[ellipse(0, y, 0.04, 0.04, light) for y in (0.3, 0.0, -0.3, -0.6)],
    ]


def trousers(rng: np.random.Generator) -> Figure:
    u, (main, dark, light) = rng.uniform, _tones(rng)
    w, flare, gap, low = u(0.4, 0.5), u(0.45, 0.65), u(0.05, 0.15), u(-1, -0.6)
    return [
        polygon([(-w, 0.98), (w, 0.98), (flare, low), (gap, low), (0, 0.35), (-gap, low),
                 (-flare, low)], main, dark, 0.05),
        box(-w * 1.02, 0.85, w * 1.02, 1.0, dark),
        *[stroke([(s * (w + flare) / 4, 0.4), (s * (flare + gap) / 2, low + 0.05)], light, 0.04)
          for s in (-1, 1)],
        *[stroke([(s * w, 0.6), (s * w * 0.6, 0.8)], dark, 0.05) for s in (-1, 1)],
    ]  # fmt: skip


def spectacles(rng: np.random.Generator) -> Figure:
    u, (_, dark, light) = rng.uniform, _tones(rng)
    rx, ry, grey = u(0.34, 0.42), u(0.24, 0.42), u(0.0, 0.25)
    frame = light if rng.random() < 0.5 else grey
    figure = [stroke(arc(0, 0.08, 0.18, 0.12, 0.2, PI - 0.2, 5), grey, 0.1)]
    for s in (-1, 1):
        figure.append(ellipse(s * 0.53, 0, rx, ry, dark, frame, 0.12))
        figure.append(stroke([(s * 0.42, -ry * 0.3), (s * 0.62, ry * 0.4)], light, 0.06))
        figure.append(stroke([(s * 0.9, 0.1), (s * 1.1, u(0.2, 0.5))], frame, 0.1))
    return figure


# Music and play


def guitar(rng: np.random.Generator) -> Figure:
    u, (main, dark, light) = rng.uniform, _tones(rng)
    low, waist, top = u(0.42, 0.52), u(0.24, 0.32), u(0.32, 0.4)
    return [
        lathe([(0, -1), (low, -0.85), (low, -0.5), (waist, -0.25), (top, 0.0), (0.1, 0.16)],
              main, dark, smooth=True),
        box(-0.08, -0.2, 0.08, 0.8, dark * 0.7),
        box(-0.13, 0.75, 0.13, 1.02, dark, light),
        *[stroke([(-0.08, y), (0.08, y)], light, 0.03) for y in np.arange(0.1, 0.75, 0.12)],
        ellipse(0, -0.3, u(0.13, 0.17), 0.15, 0.05, light),
        box(-0.2, -0.75, 0.2, -0.67, 0.1),
    ]  # fmt: skip


def violin(rng: np.random.Generator) -> Figure:
    u, (main, dark, light) = rng.uniform, _tones(rng)
    low, top = u(0.38, 0.44), u(0.3, 0.36)
    return [
        blob([(0, -1), (low, -0.8), (low * 0.95, -0.5), (low * 0.6, -0.38), (top * 0.6, -0.18),
              (top * 1.05, -0.05), (top, 0.2), (0, 0.3), (-top, 0.2), (-top * 1.05, -0.05),
              (-top * 0.6, -0.18), (-low * 0.6, -0.38), (-low * 0.95, -0.5), (-low, -0.8)],
             main, dark),
        box(-0.06, -0.35, 0.06, 0.85, 0.1),
        ellipse(0, 0.92, 0.11, 0.11, dark), polygon([(-0.05, -0.9), (0.05, -0.9), (0.09, -0.6),
                                                     (-0.09, -0.6)], 0.05),
        *[stroke([(s * 0.14, -0.2), (s * 0.2, -0.35), (s * 0.16, -0.5)], 0.05, 0.05)
          for s in (-1, 1)],
        box(-0.15, -0.5, 0.15, -0.44, light),
        stroke([(0.62, -0.95), (0.5, 0.95)], light, 0.07),
    ]  # fmt: skip


def drum(rng: np.random.Generator) -> Figure:
    u, (main, dark, light) = rng.uniform, _tones(rng)
    w, h, n = u(0.7, 0.88), u(0.3, 0.55), int(rng.integers(4, 7))
    x = np.linspace(-w, w, n + 1)
    zigzag = [((x[k // 2] if k % 2 == 0 else (x[k // 2] + x[k // 2 + 1]) / 2),
               (-h if k % 2 else h * 0.75)) for k in range(2 * n + 1)]  # fmt: skip
    sticks = [[(-0.6, 1), (0.05, h + 0.05)], [(0.8, 0.95), (0.25, h + 0.05)]]
    return [
        ellipse(0, -h, w, 0.22, dark),
        box(-w, -h, w, h, main, dark),
        *[stroke([a, b], light, 0.05) for a, b in zip(zigzag, zigzag[1:], strict=False)],
        ellipse(0, h, w, 0.24, light, dark, 0.09),
        *[tapered(line, [0.04, 0.06], dark * 0.7) for line in sticks[: rng.integers(1, 3)]],
    ]


def trumpet(rng: np.random.Generator) -> Figure:
    u, (main, dark, light) = rng.uniform, _tones(rng)
    r, drop = u(0.3, 0.4), u(0.3, 0.4)
    loop = np.vstack([arc(-0.3, -drop / 2, 0.22, drop / 2, PI / 2, 3 * PI / 2),
                      arc(0.35, -drop / 2, 0.22, drop / 2, -PI / 2, PI / 2)])  # fmt: skip
    return [
        stroke(np.vstack([loop, loop[:1]]), main, 0.13),
        box(-1, -0.06, 0.6, 0.06, main, dark, 0.02),
        polygon([(0.45, -0.06), (0.75, -0.1), (0.98, -r), (1.02, 0), (0.98, r), (0.75, 0.1),
                 (0.45, 0.06)], main, dark),
        ellipse(0.99, 0, 0.06, r, light, dark),
        *[box(x - 0.06, -drop, x + 0.06, 0.3, light, dark, 0.03) for x in (-0.15, 0.03, 0.21)],
        polygon([(-1.05, -0.13), (-1.05, 0.13), (-0.9, 0.04), (-0.9, -0.04)], dark),
    ]  # fmt: skip


def ball(rng: np.random.Generator) -> Figure:
    u, (_, dark, light) = rng.uniform, _tones(rng)
    r, turn = u(0.75, 0.92), u(0, PI)
    edge = np.array([(np.cos(turn + k * 2 * PI / 5), np.sin(turn + k * 2 * PI / 5))
                     for k in range(5)])  # fmt: skip
    return [
        ellipse(0, 0, r, r, light, dark, 0.05),
        polygon(edge * r * 0.36, dark * 0.6),
        *[stroke([p * r * 0.36, p * r * 0.7], dark, 0.06) for p in edge],
        *[polygon([p * r * 0.66 + q * r * 0.2, p * r * 0.95 + q * r * 0.22,
                   p * r * 0.95 - q * r * 0.22, p * r * 0.66 - q * r * 0.2], dark * 0.6)
          for p, q in zip(edge, edge[:, ::-1] * (-1, 1), strict=True)],
    ]  # fmt: skip


def castle(rng: np.random.Generator) -> Figure:
    u, (main, dark, light) = rng.uniform, _tones(rng)
    wall, tower, r = u(-0.05, 0.2), u(0.45, 0.7), u(0.2, 0.28)
    figure = [box(-0.8, -0.8, 0.8, wall, main, dark)]
    figure += [box(x - 0.08, wall, x + 0.08, wall + 0.14, main, dark)
               for x in np.linspace(-0.45, 0.45, 4)]  # fmt: skip
    pointed = rng.random() < 0.5
    for s in (-1, 1):
        x = s * 0.75
        figure.append(box(x - r, -0.85, x + r, tower, light, dark))
        if pointed:
            figure.append(polygon([(x - r * 1.2, tower), (x + r * 1.2, tower), (x, 1.05)], dark))
        else:
            figure += [box(x + k * r * 0.8 - 0.07, tower, x + k * r * 0.8 + 0.07, tower + 0.15,
                           light, dark) for k in (-1, 0, 1)]  # fmt: skip
        figure.append(box(x - 0.05, 0.05, x + 0.05, 0.3, 0.05))
    gate = np.vstack([arc(0, -0.4, 0.25, 0.25, 0, PI), [(-0.25, -0.8), (0.25, -0.8)]])
    return [*figure, polygon(gate, 0.08, dark)]


def anchor(rng: np.random.Generator) -> Figure:
    u, (main, dark, _) = rng.uniform, _tones(rng)
    w, r = u(0.65, 0.8), u(0.17, 0.24)
    hook = arc(0, -0.15, w, 0.7, PI + 0.2, 2 * PI - 0.2, 9)
    return [
        ellipse(0, 0.75, r, r, None, main, 0.13),
        box(-0.1, -0.8, 0.1, 0.6, main, dark),
        box(-0.42, 0.33, 0.42, 0.5, main, dark),
        stroke(hook, main, 0.2),
        *[polygon([(s * w * 1.3, -0.38), (s * w * 0.68, -0.3), (s * w * 1.02, 0.08)], main, dark)
          for s in (-1, 1)],
    ]  # fmt: skip


DRAWINGS: dict[str, Draw] = {
    draw.__name__: draw
    for draw in (
        cup, bottle, wineglass, vase, teapot, bulb, lamp, bell,
        lighthouse, key, hammer, knife, fork, spoon, pencil, scissors, saw,
        ladder, chair, table, bed, sofa, clock, television, book, 
        umbrella, car, truck, bicycle, train, sailboat, aeroplane, balloon, rocket, tree,
        fir, cactus, flower, leaf, apple, banana, mushroom, cone, fish, bird, snail,
        butterfly, shoe, hat, shirt, trousers, spectacles, guitar, violin, drum, trumpet, ball,
        castle, anchor, house,
    )
}  # fmt: skip


def instrument(rng: np.random.Generator) -> Figure:
    """Draw a musical instrument of any kind."""
    return (guitar, violin, drum, trumpet)[rng.integers(4)](rng)
