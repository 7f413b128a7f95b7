"""Sixty everyday objects, each a few parametric parts: turned profiles, limbs, wheels, stripes.

Every function draws one exemplar of the category that it is named after, upright, in about
[-1, 1]²: `u` decides its proportions, and `main`, `dark` and `light` are its greys.
"""

from collections.abc import Callable, Iterable
from itertools import pairwise

import numpy as np

from app.stimuli.drawing import (
    Figure,
    arc,
    blob,
    box,
    circle,
    ellipse,
    lathe,
    pair,
    polygon,
    stroke,
    symmetric,
    tapered,
)
from app.stimuli.places import house

PI = np.pi
Rng = np.random.Generator
Uniform = Callable[[float, float], float]
Draw = Callable[[Rng], Figure]


def _greyed(draw: Callable[[Rng, Uniform, float, float, float], Figure]) -> Draw:
    """Choose a grey for the object, one clearly darker and one clearly lighter; then draw it."""

    def drawn(rng: Rng) -> Figure:
        main = rng.uniform(0.25, 0.85)
        dark, light = main * rng.uniform(0.3, 0.55), main + (1 - main) * rng.uniform(0.5, 0.9)
        return draw(rng, rng.uniform, main, dark, light)

    return drawn


def _bands(rng: Rng, half: float, low: float, high: float, grey: float) -> Figure:
    """None to three level stripes across a body of half width `half`."""
    for y in low + (high - low) * rng.random(rng.integers(0, 4)):
        yield stroke([(-half, y), (half, y)], grey, 0.07)


def _wheels(xs: Iterable[float], y: float, r: float, rim: float) -> Figure:
    for x in xs:
        yield circle((x, y), r, 0.08)
        yield circle((x, y), r * 0.55, rim, 0.3, 0.04)


def cup(rng: Rng, u: Uniform, main: float, dark: float, light: float) -> Figure:
    w, foot, h = u(0.5, 0.65), u(0.3, 0.55), u(0.5, 0.75)
    yield stroke(arc((w * 0.85, 0), (u(0.28, 0.4), h * 0.55), -1.4, 1.4), dark, 0.13)
    yield lathe([(foot, -h), (w, h)], main, dark)
    yield from _bands(rng, w * 0.78, -h * 0.5, h * 0.5, light)
    yield ellipse((0, h), (w, u(0.08, 0.18)), light, dark)


def bottle(rng: Rng, u: Uniform, main: float, dark: float, light: float) -> Figure:
    w, neck, shoulder = u(0.26, 0.38), u(0.09, 0.13), u(0.1, 0.35)
    yield lathe([(w, -1), (w, shoulder), (neck, shoulder + u(0.2, 0.4)), (neck, 0.9)], main, dark)
    yield box((-neck * 1.3, 0.82), (neck * 1.3, 1), dark)
    yield box((-w, u(-0.8, -0.6)), (w, u(-0.2, 0.05)), light, dark)


def wineglass(rng: Rng, u: Uniform, main: float, dark: float, light: float) -> Figure:
    w, belly = u(0.35, 0.5), u(0.15, 0.3)
    yield ellipse((0, -0.92), (u(0.35, 0.48), 0.09), main, dark)
    yield box((-0.05, -0.92), (0.05, 0), main)
    yield blob(symmetric([(0, -0.1), (w * 0.8, belly), (w, 0.6), (w * 0.85, 1)]), light, dark)
    yield blob(symmetric([(0, -0.02), (w * 0.8, belly), (w * 0.9, 0.55)]), dark)


def vase(rng: Rng, u: Uniform, main: float, dark: float, light: float) -> Figure:
    w, neck, lip = u(0.5, 0.7), u(0.14, 0.24), u(0.28, 0.42)
    body = [(u(0.2, 0.35), -1), (w, u(-0.5, -0.1)), (neck, 0.5), (lip, 0.98)]
    yield lathe(body, main, dark, smooth=True)
    yield from _bands(rng, w * 0.7, -0.5, 0.0, light)
    yield ellipse((0, 0.97), (lip, 0.08), dark, light)


def teapot(rng: Rng, u: Uniform, main: float, dark: float, light: float) -> Figure:
    h = u(0.4, 0.55)
    yield stroke(arc((-0.55, 0), (0.38, h * 0.7), PI / 2, 3 * PI / 2), dark, 0.12)
    yield tapered([(0.4, -0.2), (0.75, 0.0), (0.98, h * 0.9)], [0.18, 0.1, 0.06], dark)
    yield ellipse((0, -0.05), (0.62, h), main, dark)
    yield ellipse((0, h - 0.07), (u(0.25, 0.35), 0.09), light, dark)
    yield circle((0, h + 0.08), 0.09, dark)
    yield from _bands(rng, 0.5, -0.25, 0.1, light)


def bulb(rng: Rng, u: Uniform, main: float, dark: float, light: float) -> Figure:
    r = u(0.55, 0.66)
    glass = [(0.2, -0.5), (0.25, -0.3), (r, 0.3), (r * 0.75, 0.8), (0, 1)]
    yield lathe(glass, light, dark, smooth=True)
    yield stroke([(-0.12, -0.4), (-0.2, 0.3), (0, 0.15), (0.2, 0.3), (0.12, -0.4)], 0.1, 0.04)
    yield box((-0.25, -0.85), (0.25, -0.4), dark)
    yield from (stroke([(-0.25, y), (0.25, y + 0.06)], 0.9, 0.04) for y in (-0.75, -0.63, -0.5))
    yield ellipse((0, -0.88), (0.13, 0.1), 0.1)


def lamp(rng: Rng, u: Uniform, main: float, dark: float, light: float) -> Figure:
    low, high, rim = u(0.55, 0.75), u(0.25, 0.4), u(0.0, 0.2)
    yield lathe([(0.35, -0.98), (u(0.08, 0.3), -0.6), (0.06, 0.2)], dark, main)
    yield box((-0.45, -1), (0.45, -0.9), dark)
    yield lathe([(low, rim), (high, 0.95)], light, dark)
    yield from _bands(rng, high, rim + 0.15, 0.85, main)


def bell(rng: Rng, u: Uniform, main: float, dark: float, light: float) -> Figure:
    w = u(0.65, 0.8)
    yield circle((0, -0.78), 0.17, dark)
    yield circle((0, 0.85), 0.15, None, dark, 0.08)
    body = [(w, -0.7), (w * 0.68, -0.35), (w * 0.6, 0.2), (w * 0.38, 0.65), (0, 0.78)]
    yield lathe(body, main, dark)
    yield box((-w * 1.05, -0.75), (w * 1.05, -0.6), light, dark)
    yield from _bands(rng, w * 0.6, -0.3, 0.3, light)


def lighthouse(rng: Rng, u: Uniform, main: float, dark: float, light: float) -> Figure:
    w, top, n = u(0.35, 0.5), u(0.35, 0.5), int(rng.integers(3, 6))
    tower = np.stack([np.linspace(w, w * 0.55, n + 1), np.linspace(-0.95, top, n + 1)], axis=1)
    yield from (lathe(tower[k : k + 2], (light, dark)[k % 2], dark) for k in range(n))
    yield box((-w * 0.45, top), (w * 0.45, top + 0.28), 1.0, 0.1, 0.05)
    yield box((-w * 0.75, top - 0.03), (w * 0.75, top + 0.06), 0.15)
    yield polygon([(-w * 0.6, top + 0.28), (w * 0.6, top + 0.28), (0, top + 0.52)], dark, 0.1)
    yield from (ellipse((0, y), (0.07, 0.09), 0.1) for y in (-0.6, -0.1))


def key(rng: Rng, u: Uniform, main: float, dark: float, light: float) -> Figure:
    r, hole = u(0.32, 0.42), u(0.12, 0.18)
    teeth = [box((x, -u(0.25, 0.42)), (x + 0.13, 0), main, dark) for x in (0.45, 0.66, 0.85)]
    yield from teeth[: rng.integers(2, 4)]
    yield box((-0.4, -0.1), (1, 0.1), main, dark)
    yield ellipse((-0.6, 0), (r, r * u(0.85, 1.2)), main, dark)
    yield circle((-0.65, 0), hole, 0.05)


def hammer(rng: Rng, u: Uniform, main: float, dark: float, light: float) -> Figure:
    h = u(0.16, 0.24)
    yield tapered([(0, -1), (0, -0.4), (0, 0.6)], [0.13, 0.11, 0.09], light, main)
    yield polygon([(-0.55, 0.55 - h), (-0.55, 0.55 + h), (-0.3, 0.55 + h * 0.7),
                   (0.25, 0.55 + h * 0.8), (0.7, 0.55 + u(-0.1, 0.15)), (0.25, 0.55 - h * 0.6),
                   (-0.3, 0.55 - h * 0.7)], dark, 0.05)  # fmt: skip


def knife(rng: Rng, u: Uniform, main: float, dark: float, light: float) -> Figure:
    w = u(0.2, 0.32)
    yield blob([(-0.1, -w * 0.4), (-0.1, w * 0.5), (0.6, w * 0.5), (1.1, w * u(-0.2, 0.5)),
                (0.6, -w * 0.6)], light, 0.2)  # fmt: skip
    yield tapered([(-1, -0.04), (-0.5, 0.02), (-0.05, 0)], [0.14, 0.11, 0.13], dark * 0.7)
    yield from (circle((x, 0), 0.035, light) for x in (-0.75, -0.45, -0.2))


def fork(rng: Rng, u: Uniform, main: float, dark: float, light: float) -> Figure:
    w, n = u(0.25, 0.36), int(rng.integers(3, 5))
    yield tapered([(0, -1), (0, -0.5), (0, 0.2)], [0.13, 0.09, 0.06], main, dark)
    yield blob([(-w, 0.5), (-w * 0.7, 0.15), (0, 0.05), (w * 0.7, 0.15), (w, 0.5)], main, dark)
    for x in np.linspace(-w, w, n):
        yield tapered([(x, 0.35), (x, 1)], [0.07, 0.05], light, dark)


def spoon(rng: Rng, u: Uniform, main: float, dark: float, light: float) -> Figure:
    w, h = u(0.26, 0.36), u(0.38, 0.48)
    yield tapered([(0, -1), (0, -0.5), (0, 0.3)], [0.14, 0.09, 0.07], main, dark)
    yield ellipse((0, 0.55), (w, h), main, dark)
    yield ellipse((0.02, 0.55), (w * 0.7, h * 0.75), light)


def pencil(rng: Rng, u: Uniform, main: float, dark: float, light: float) -> Figure:
    w = u(0.13, 0.2)
    yield box((-0.75, -w), (0.6, w), main, dark)
    yield box((-0.75, -w * 0.3), (0.6, w * 0.3), light)
    yield polygon([(0.6, -w), (0.6, w), (1, 0)], 0.85, dark)
    yield polygon([(0.86, -w * 0.35), (0.86, w * 0.35), (1, 0)], 0.05)
    yield box((-0.85, -w), (-0.68, w), 0.9, 0.3)
    yield ellipse((-0.88, 0), (0.12, w), dark)


def scissors(rng: Rng, u: Uniform, main: float, dark: float, light: float) -> Figure:
    spread, r = u(0.12, 0.4), u(0.22, 0.3)
    for s in (-1, 1):
        sin, cos = s * np.sin(spread), np.cos(spread)
        tip, back = (sin * 1.05, 0.95 * cos), (-sin * 0.5 - s * 0.12, -0.55)
        yield tapered([back, (0, -0.05), tip], [0.08, 0.13, 0.02], light, dark)
        yield ellipse((-s * (r + 0.08), -0.72), (r, r * 1.1), None, main, 0.14)
    yield circle((0, -0.05), 0.06, 0.05)


def saw(rng: Rng, u: Uniform, main: float, dark: float, light: float) -> Figure:
    low, n = u(-0.32, -0.2), int(rng.integers(8, 13))
    x = np.linspace(1.05, -0.4, 2 * n + 1)
    y = np.where(np.arange(2 * n + 1) % 2, low - 0.12, np.linspace(low + 0.2, low, 2 * n + 1))
    yield polygon([(-0.4, 0.25), (1.05, 0.2), *zip(x, y, strict=True)], light, dark)
    yield blob([(-1.05, 0.35), (-0.3, 0.35), (-0.35, -0.35), (-1.0, -0.4)], main, dark, 0.04)
    yield blob([(-0.85, 0.15), (-0.55, 0.15), (-0.6, -0.15), (-0.85, -0.18)], 0.05)


def ladder(rng: Rng, u: Uniform, main: float, dark: float, light: float) -> Figure:
    low, high, n = u(0.42, 0.55), u(0.28, 0.42), int(rng.integers(5, 8))
    for y in np.linspace(-0.8, 0.85, n):
        w = low + (high - low) * (y + 1) / 2
        yield box((-w, y - 0.06), (w, y + 0.06), light, dark)
    for a, b in ((-low, -high), (low, high)):
        yield polygon([(a - 0.09, -1), (a + 0.09, -1), (b + 0.09, 1), (b - 0.09, 1)], main, dark)


def chair(rng: Rng, u: Uniform, main: float, dark: float, light: float) -> Figure:
    seat, top, left, depth = u(-0.2, 0.0), u(0.85, 1.0), -u(0.4, 0.5), u(0.15, 0.3)
    right = -left * 0.6
    for x, lift in ((left, 0), (right, 0), (left + depth, 0.15), (right + depth, 0.15)):
        yield box((x - 0.05, -1 + lift), (x + 0.05, seat), dark)
    for y in np.linspace(seat + 0.3, top - 0.12, int(rng.integers(2, 5))):
        yield box((left + depth, y), (right + depth, y + 0.12), main, dark)
    for x in (left + depth, right + depth):
        yield box((x - 0.06, seat), (x + 0.06, top), main, dark)
    yield polygon([(left - 0.06, seat), (right + 0.06, seat), (right + depth + 0.06, seat + 0.2),
                   (left + depth - 0.06, seat + 0.2)], light, dark)  # fmt: skip
    yield box((left - 0.06, seat - 0.12), (right + 0.06, seat), main, dark)


def table(rng: Rng, u: Uniform, main: float, dark: float, light: float) -> Figure:
    top, depth, low = u(0.1, 0.3), u(0.2, 0.4), u(-0.75, -0.55)
    yield from (box((x - 0.06, low + 0.18), (x + 0.06, top), dark) for x in (-0.6, 0.75))
    yield from (box((x - 0.08, low), (x + 0.08, top), main, dark) for x in (-0.88, 0.62))
    yield polygon([(-1, top), (0.75, top), (1, top + depth), (-0.72, top + depth)], light, dark)
    yield box((-1, top - 0.14), (0.75, top), main, dark)


def bed(rng: Rng, u: Uniform, main: float, dark: float, light: float) -> Figure:
    head, foot = u(0.45, 0.7), u(-0.05, 0.2)
    yield from (box((-1, -0.65), (-0.85, head), dark), box((0.85, -0.65), (1, foot), dark))
    yield box((-0.9, -0.45), (0.9, -0.1), main, dark)
    yield blob([(-0.85, -0.1), (-0.85, 0.12), (-0.6, 0.22), (-0.35, 0.1), (-0.35, -0.08)], 1, 0.4)
    yield blob([(-0.3, -0.35), (-0.32, 0.0), (0, 0.08), (0.6, 0.05), (0.9, -0.02), (0.9, -0.4)],
               light, dark)  # fmt: skip
    for x in np.linspace(-0.15, 0.75, int(rng.integers(0, 6))):
        yield stroke([(x, -0.3), (x + 0.05, 0.02)], main, 0.05)


def sofa(rng: Rng, u: Uniform, main: float, dark: float, light: float) -> Figure:
    top, arm, n = u(0.4, 0.6), u(0.0, 0.15), int(rng.integers(2, 4))
    edges = np.linspace(-0.78, 0.78, n + 1)
    yield from (box((x, -0.75), (x + 0.1, -0.5), 0.08) for x in (-0.85, 0.75))
    yield blob(symmetric([(-0.85, -0.5), (-0.85, top), (0, top + 0.04)]), main, dark)
    yield from (box((a, -0.2), (b, top - 0.1), main * 0.9, dark) for a, b in pairwise(edges))
    yield from (box((a, -0.35), (b, -0.12), light, dark) for a, b in pairwise(edges))
    yield box((-0.9, -0.6), (0.9, -0.35), main, dark)
    yield from pair(blob([(1, -0.6), (1.02, arm), (0.87, arm + 0.12), (0.72, arm), (0.74, -0.6)],
                         main, dark))  # fmt: skip


def clock(rng: Rng, u: Uniform, main: float, dark: float, light: float) -> Figure:
    r = u(0.75, 0.92)
    hands = zip(rng.uniform(0, 2 * PI, 2), (0.45, 0.68), (0.11, 0.07), strict=True)
    yield circle((0, 0), r, light, dark, u(0.08, 0.2))
    for a in np.arange(12) * PI / 6:
        yield circle((r * 0.78 * np.cos(a), r * 0.78 * np.sin(a)), 0.05, 0.05)
    for a, length, w in hands:
        yield stroke([(0, 0), (r * length * np.cos(a), r * length * np.sin(a))], 0.05, w)
    yield circle((0, 0), 0.07, main)


def television(rng: Rng, u: Uniform, main: float, dark: float, light: float) -> Figure:
    h, y = u(0.5, 0.62), u(-0.1, 0.2)
    aerial = [stroke([(0, h), (s * u(0.2, 0.5), 1)], dark, 0.05) for s in (-1, 1)]
    if rng.random() < 0.5:
        yield from aerial
    yield polygon([(-0.45, -h - 0.25), (0.45, -h - 0.25), (0.25, -h), (-0.25, -h)], dark)
    yield box((-0.98, -h), (0.98, h), main, dark, 0.05)
    yield box((-0.85, -h + 0.13), (0.85, h - 0.13), 0.12, light, 0.04)
    yield polygon([(-0.7, y), (-0.3, h - 0.2), (0.0, h - 0.2), (-0.5, y - 0.15)], 0.45)


def book(rng: Rng, u: Uniform, main: float, dark: float, light: float) -> Figure:
    sag, h = u(0.08, 0.2), u(0.5, 0.7)
    for s in (-1, 1):
        page = np.array([(0, -h), (s * 0.5, -h + sag), (s * 0.98, -h), (s * 0.98, h),
                         (s * 0.5, h + sag), (0, h)])  # fmt: skip
        yield polygon(page * (1.03, 1) + (0, -0.07), dark)
        yield polygon(page, light, main)
        for y in np.linspace(-h + 0.25, h - 0.12, int(rng.integers(4, 7))):
            yield stroke([(s * 0.15, y), (s * 0.5, y + sag * 0.6), (s * 0.85, y)], dark, 0.05)
    yield stroke([(0, -h), (0, h)], dark, 0.04)


def umbrella(rng: Rng, u: Uniform, main: float, dark: float, light: float) -> Figure:
    n, h = int(rng.integers(4, 7)), u(0.6, 0.8)
    rim = np.linspace(0.95, -0.95, n + 1)
    scallops = np.insert([(x, 0.05) for x in rim], range(1, n + 1),
                         [(x, 0.17) for x in (rim[1:] + rim[:-1]) / 2], axis=0)  # fmt: skip
    yield stroke([(0, 0.2), (0, -0.75), (0.12, -0.92), (0.27, -0.8)], 0.1, 0.07)
    yield polygon([*arc((0, 0.05), (0.95, h), 0, PI, 13), *scallops[::-1]], main, dark)
    for x in rim[1:-1]:
        yield stroke([(x, 0.08), (x * 0.65, 0.05 + h * 0.6), (0, 0.05 + h)], light, 0.05)
    yield stroke([(0, h), (0, h + 0.18)], 0.1, 0.06)


def car(rng: Rng, u: Uniform, main: float, dark: float, light: float) -> Figure:
    style = rng.integers(5)  # saloon, hatchback, van, pick-up, coupé
    hood, roof = u(0.02, 0.14), (0.5, 0.55, 0.72, 0.52, 0.42)[style] + u(-0.05, 0.05)
    front, top_front = 0.5 + u(-0.08, 0.05), 0.2 + u(-0.08, 0.05)
    top_back = (-0.35, -0.65, -0.85, -0.12, -0.2)[style]
    back = (-0.68, -0.88, -0.95, -0.2, -0.8)[style]
    if style == 2:
        front, top_front = 0.75, 0.5
    r, middle = u(0.19, 0.24), (top_back + top_front) / 2
    yield polygon([(-1, -0.3), (-1, 0.05), (back, hood + 0.05), (top_back, roof),
                   (top_front, roof), (front, hood + 0.05), (0.88, hood - 0.06), (1, -0.1),
                   (1, -0.3)], main, dark, 0.05)  # fmt: skip
    yield polygon([(back + 0.1, hood + 0.06), (top_back + 0.05, roof - 0.09),
                   (top_front - 0.04, roof - 0.09), (front - 0.1, hood + 0.06)],
                  u(0.03, 0.2), light, 0.04)  # fmt: skip
    yield box((middle - 0.04, hood), (middle + 0.03, roof - 0.05), main)
    yield stroke([(-0.95, hood - 0.12), (0.92, hood - 0.14)], dark, 0.03)
    yield from (box((0.9, -0.12), (1, 0.02), 1), box((-1, -0.08), (-0.93, 0.04), dark))
    yield stroke([(middle - 0.2, hood - 0.04), (middle - 0.1, hood - 0.04)], dark, 0.04)
    yield from _wheels((-0.58, 0.58), -0.32, r, light)


def truck(rng: Rng, u: Uniform, main: float, dark: float, light: float) -> Figure:
    split, top, cab = u(0.2, 0.4), u(0.5, 0.7), u(0.15, 0.4)
    yield box((-1, -0.35), (1, -0.25), 0.1)
    yield box((-1, -0.28), (split, top), light, dark, 0.04)
    for x in np.linspace(-0.85, split - 0.15, int(rng.integers(2, 7))):
        yield stroke([(x, -0.2), (x, top - 0.08)], main, 0.05)
    door = split + 0.06
    yield polygon([(door, -0.3), (door, cab), (0.85, cab), (1, 0), (1, -0.3)], main, dark)
    yield polygon([(0.62, 0.0), (0.62, cab - 0.08), (0.82, cab - 0.08), (0.93, 0)], 0.1)
    yield from _wheels((-0.72, -0.3, 0.7), -0.4, 0.2, light)


def bicycle(rng: Rng, u: Uniform, main: float, dark: float, light: float) -> Figure:
    r, grey = u(0.38, 0.45), min(dark, 0.3)
    for x in (-0.58, 0.58):
        yield circle((x, -0.3), r, light, 0.05, 0.12)
        for a in np.arange(4) * PI / 4 + u(0, 1):
            dx, dy = r * np.cos(a), r * np.sin(a)
            yield stroke([(x - dx, -0.3 - dy), (x + dx, -0.3 + dy)], 0.4, 0.025)
    seat, bar = u(0.3, 0.42), (0.4, u(0.35, 0.5))
    back, pedals, front, joint = (-0.58, -0.3), (-0.02, -0.3), (0.58, -0.3), (-0.22, 0.22)
    for tube in ([back, pedals], [pedals, bar], [pedals, (-0.25, seat)], [joint, bar],
                 [back, joint], [front, bar]):  # fmt: skip
        yield stroke(tube, grey, 0.1)
    yield tapered([(-0.42, seat + 0.06), (-0.08, seat + 0.04)], [0.09, 0.05], 0.05)
    y = bar[1]
    yield stroke([(0.25, y + 0.12), (0.4, y + 0.02), (0.55, y + 0.12)], 0.05, 0.1)
    yield circle(pedals, 0.1, main, 0.05)


def train(rng: Rng, u: Uniform, main: float, dark: float, light: float) -> Figure:
    cab, boiler = u(0.55, 0.75), u(0.1, 0.25)
    yield box((0.5, boiler), (0.68, boiler + u(0.3, 0.5)), dark, 0.05)
    yield box((-0.2, -0.35), (0.85, boiler), main, dark, 0.04)
    yield ellipse((0.85, (boiler - 0.35) / 2), (0.12, (boiler + 0.35) / 2), light, dark)
    yield from (stroke([(x, -0.3), (x, boiler - 0.03)], light, 0.05) for x in (0.1, 0.4))
    yield ellipse((0.2, boiler + 0.03), (0.12, 0.14), dark)
    yield box((-0.95, -0.35), (-0.2, cab), main, dark, 0.04)
    yield box((-1.03, cab - 0.05), (-0.12, cab + 0.08), dark)
    yield box((-0.75, 0.05), (-0.38, cab - 0.15), u(0.8, 1.0), dark, 0.05)
    yield polygon([(0.8, -0.4), (1.05, -0.68), (0.8, -0.68)], dark)
    yield from _wheels((-0.65,), -0.68 + 0.26 - 0.18, 0.26, light)
    yield from _wheels((-0.1, 0.3, 0.68), -0.68 + 0.2 - 0.18, 0.2, light)


def sailboat(rng: Rng, u: Uniform, main: float, dark: float, light: float) -> Figure:
    mast, boom = u(-0.15, 0.1), u(0.6, 0.85)
    yield polygon([(-0.95, -0.5), (0.95, -0.5), (0.6, -0.92), (-0.65, -0.92)], main, dark, 0.04)
    yield stroke([(-0.85, -0.62), (0.85, -0.62)], light, 0.06)
    yield stroke([(mast, -0.5), (mast, 1)], 0.1, 0.06)
    yield blob([(mast + 0.06, -0.36), (mast + boom, -0.38), (mast + boom * 0.45, 0.3),
                (mast + 0.06, 0.95)], light, dark)  # fmt: skip
    jib = [(mast - 0.06, -0.38), (mast - u(0.45, 0.7), -0.38), (mast - 0.06, u(0.5, 0.8))]
    yield polygon(jib, light * 0.85, dark)


def aeroplane(rng: Rng, u: Uniform, main: float, dark: float, light: float) -> Figure:
    sweep, root, tail = u(0.1, 0.5), u(0.2, 0.32), u(0.3, 0.4)
    for s in (-1, 1):
        yield polygon([(0, 0.3), (s * 0.98, 0.12 - sweep), (s * 0.98, -0.05 - sweep),
                       (0, 0.3 - root * 1.6)], main, dark)  # fmt: skip
        yield polygon([(0, -0.65), (s * tail, -0.8), (s * tail, -0.95), (0, -0.9)], main, dark)
        if rng.random() < 0.7:
            yield ellipse((s * 0.45, 0.12 - sweep * 0.4), (0.07, 0.17), dark)
    yield lathe([(0, -1), (0.1, -0.8), (0.16, 0), (0.15, 0.7), (0, 1)], light, dark, smooth=True)
    yield ellipse((0, 0.72), (0.08, 0.1), 0.05)
    yield polygon([(-0.03, -0.6), (0.03, -0.6), (0.03, -1), (-0.03, -1)], dark)


def balloon(rng: Rng, u: Uniform, main: float, dark: float, light: float) -> Figure:
    w = u(0.6, 0.72)
    hull = np.array([(0.14, -0.45), (0.9, 0.15), (0.97, 0.5), (0.6, 0.9), (0.0, 1.0)])
    yield from (stroke([(x, -0.4), (x, -0.8)], 0.1, 0.04) for x in (-0.12, 0.12))
    yield box((-0.17, -1), (0.17, -0.72), dark, 0.1)
    for narrower, grey in ((1.0, main), (0.66, light), (0.33, main)):
        yield lathe(hull * (w, 1) * (narrower, 1), grey, dark, smooth=True)


def rocket(rng: Rng, u: Uniform, main: float, dark: float, light: float) -> Figure:
    w, y = u(0.26, 0.36), u(0.1, 0.3)
    yield blob([(-w * 0.6, -0.6), (0, -1.05), (w * 0.6, -0.6)], 1.0, 0.5)
    yield from pair(polygon([(w * 0.8, -0.05), (w + 0.35, -0.55), (w + 0.35, -0.8),
                             (w * 0.7, -0.55)], dark, 0.1))  # fmt: skip
    yield lathe([(w * 0.75, -0.65), (w, -0.1), (w * 0.9, 0.4), (0, 1.02)], light, dark, smooth=True)
    yield lathe([(w * 0.62, 0.6), (0.3 * w, 0.86), (0, 1.0)], main)
    yield circle((0, y), w * 0.45, 0.1, main, 0.06)
    yield from _bands(rng, w * 0.9, -0.4, -0.1, main)


def tree(rng: Rng, u: Uniform, main: float, dark: float, light: float) -> Figure:
    n, w = int(rng.integers(6, 10)), u(0.5, 0.65)
    crown = arc((0, 0.35), (w, 0.42), 0, 2 * PI, n + 1)[:-1]
    yield tapered([(0, -1), (u(-0.08, 0.08), -0.4), (0, 0.2)], [0.19, 0.12, 0.1], dark * 0.8)
    yield from (ellipse(middle, (u(0.22, 0.34), u(0.22, 0.34)), main) for middle in crown)
    yield ellipse((0, 0.35), (w, 0.45), main)
    yield from (ellipse((x * 0.7, y - 0.02), (0.1, 0.08), light) for x, y in crown[:5] * 0.8)


def fir(rng: Rng, u: Uniform, main: float, dark: float, light: float) -> Figure:
    n, w = int(rng.integers(3, 6)), u(0.5, 0.75)
    yield box((-0.1, -1), (0.1, -0.6), dark * 0.7)
    for k, y in enumerate(np.linspace(-0.75, 0.45, n)):
        half = w * (1 - 0.6 * k / n)
        yield polygon([(-half, y), (0, y + 0.1), (half, y), (0, y + 0.65)], main, dark)
    yield circle((0, 1.02), 0.07, light)


def cactus(rng: Rng, u: Uniform, main: float, dark: float, light: float) -> Figure:
    w = u(0.18, 0.26)
    for s in (-1, 1):
        y, x = u(-0.2, 0.2), s * u(0.5, 0.65)
        arm = [(0, y), (x * 0.9, y + 0.02), (x, y + 0.12), (x, y + u(0.35, 0.55))]
        yield tapered(arm, [0.1, 0.12, 0.13, 0.1], main, dark)
    yield tapered([(0, -0.7), (0, 0), (0, 0.85)], [w, w * 1.1, w * 0.8], main, dark)
    yield from (stroke([(x * w, -0.6), (x * w, 0.8)], light, 0.035) for x in (-0.5, 0, 0.5))
    yield lathe([(0.28, -1), (0.4, -0.6)], dark, 0.1)


def flower(rng: Rng, u: Uniform, main: float, dark: float, light: float) -> Figure:
    n, r, turn = int(rng.integers(5, 9)), u(0.3, 0.38), u(0, 1)
    yield stroke([(0, 0.3), (u(-0.1, 0.1), -0.3), (0, -1)], dark, 0.09)
    yield from pair(blob([(0, -0.7), (0.3, -0.5), (0.5, -0.3), (0.25, -0.65)], dark))
    for a in np.arange(n) * 2 * PI / n + turn:
        middle = (r * np.cos(a), 0.42 + r * np.sin(a))
        yield ellipse(middle, (0.27, 3.5 * r / n), light, main, 0.04, angle=a)
    yield circle((0, 0.42), 0.19, main * 0.5)


def leaf(rng: Rng, u: Uniform, main: float, dark: float, light: float) -> Figure:
    w, low = u(0.4, 0.6), u(-0.35, 0.1)
    veins = np.linspace(-0.5, 0.5, int(rng.integers(4, 7)))
    yield stroke([(0, -0.7), (u(-0.1, 0.1), -1.05)], dark, 0.08)
    yield lathe([(0, -0.8), (w, low), (w * 0.5, 0.6), (0, 1)], main, dark, smooth=True)
    for y in veins:
        end = (w * 0.7 * (1 - abs(y - low) * 0.6), y + 0.14)
        yield from pair(stroke([(0, y - 0.1), end], light, 0.045))
    yield stroke([(0, -0.75), (0, 0.85)], light, 0.06)


def apple(rng: Rng, u: Uniform, main: float, dark: float, light: float) -> Figure:
    w, dip = u(0.72, 0.88), u(0.42, 0.5)
    half = [(0, dip - 0.05), (w * 0.7, 0.58), (w, 0.05), (w * 0.45, -0.8), (0, -0.72)]
    yield blob(symmetric(half), main, dark)
    yield stroke([(0, dip - 0.08), (u(-0.1, 0.15), 0.9)], dark * 0.7, 0.09)
    yield blob([(0.06, 0.62), (0.25, 0.85), (0.55, 0.85), (0.3, 0.65)], dark)
    yield ellipse((-w * 0.45, 0.2), (0.12, 0.22), light, angle=-0.4)


def banana(rng: Rng, u: Uniform, main: float, dark: float, light: float) -> Figure:
    bend, w = u(0.45, 0.7), u(0.18, 0.26)
    spine = arc((0, 0.45), (0.9, bend + 0.4), PI + 0.15, 2 * PI - 0.25, 6)
    yield tapered(spine, np.array([0.06, 0.8 * w, w, w, 0.8 * w, 0.06]), main, dark)
    yield tapered([spine[-1], spine[-1] + (0.1, 0.22)], [0.07, 0.08], dark)
    yield stroke(spine[1:-1] + (0, 0.04), light, 0.06)
    yield circle(spine[0], 0.06, 0.1)


def mushroom(rng: Rng, u: Uniform, main: float, dark: float, light: float) -> Figure:
    w, h = u(0.75, 0.95), u(0.6, 0.9)
    yield tapered([(0, -0.9), (0, -0.4), (0, 0.15)], [0.3, 0.2, 0.18], light, dark)
    cap = [*arc((0, 0), (w, h), 0, PI, 9), (-w * 0.5, -0.12), (w * 0.5, -0.12)]
    yield blob(cap, main, dark)
    if rng.random() < 0.7:
        for x, y in zip(np.linspace(-0.5, 0.5, 4), (0.25, 0.5, 0.45, 0.2), strict=True):
            yield ellipse((x * w, y * h + 0.08), (u(0.07, 0.14), u(0.07, 0.14)), light)


def cone(rng: Rng, u: Uniform, main: float, dark: float, light: float) -> Figure:
    """Draw an ice-cream cone."""
    r, n = u(0.36, 0.46), int(rng.integers(1, 4))
    yield polygon([(-0.47, 0.1), (0.47, 0.1), (0, -1)], main, dark)
    for k in range(2):
        yield from pair(stroke([(0.42, 0.1 - 0.3 * k), (-0.1, -0.5 - 0.22 * k)], dark, 0.04))
    balls = ([(0.0, 0.25)], [(-0.26, 0.22), (0.26, 0.22)],
             [(-0.28, 0.2), (0.28, 0.2), (0.0, 0.6)])[n - 1]  # fmt: skip
    for (x, y), grey in zip(balls, (light, 0.95, main * 0.8), strict=False):
        yield circle((x, y + 0.1), r, grey, dark)


def fish(rng: Rng, u: Uniform, main: float, dark: float, light: float) -> Figure:
    h, tail = u(0.32, 0.5), u(0.3, 0.45)
    stripes = np.linspace(-0.35, 0.3, int(rng.integers(1, 5)))
    yield polygon([(-0.5, 0), (-1, tail), (-0.85, 0), (-1, -tail)], dark, 0.1)
    yield polygon([(-0.3, h * 0.6), (0.0, h + 0.25), (0.3, h * 0.7)], dark, 0.1)
    yield blob([(-0.65, 0), (-0.2, h * 0.85), (0.4, h), (0.98, 0.02), (0.4, -h),
                (-0.2, -h * 0.85)], main, dark)  # fmt: skip
    for x in stripes:
        yield stroke(arc((x - 0.2, 0), (0.25, h * 0.75), -1.1, 1.1, 5), light, 0.07)
    yield from (circle((0.66, 0.1), 0.1, 1.0, 0.1), circle((0.68, 0.1), 0.05, 0.0))


def bird(rng: Rng, u: Uniform, main: float, dark: float, light: float) -> Figure:
    r, wing = u(0.24, 0.31), u(-0.25, 0.25)
    for x in (-0.1, 0.1):
        yield stroke([(x, -0.4), (x + 0.04, -0.92), (x + 0.2, -0.94)], 0.1, 0.06)
    yield polygon([(-0.4, -0.05), (-1.02, u(0.0, 0.3)), (-0.95, -0.2), (-0.4, -0.3)], dark)
    yield blob([(-0.6, -0.05), (-0.1, 0.2), (0.4, 0.3), (0.5, -0.1), (0.1, -0.5), (-0.35, -0.4)],
               main, dark)  # fmt: skip
    yield polygon([(0.6, 0.55), (1.02, 0.42), (0.62, 0.35)], 0.15)
    yield circle((0.45, 0.45), r, main, dark)
    yield blob([(0.2, 0.1), (-0.2, 0.1), (-0.6, wing), (-0.2, -0.25), (0.15, -0.15)], light, dark)
    yield circle((0.53, 0.52), 0.06, 0.0, 1.0, 0.03)


def snail(rng: Rng, u: Uniform, main: float, dark: float, light: float) -> Figure:
    r, t = u(0.48, 0.6), np.linspace(0, u(3.5, 5) * PI, 26)
    spiral = np.stack([np.cos(t), np.sin(t)], 1) * (r * 0.85 * (1 - t / t[-1]))[:, None]
    yield from (stroke([(0.75, -0.05), (x, 0.35)], light, 0.06) for x in (0.7, 0.95))
    body = [(-1, -0.72), (-0.2, -0.66), (0.55, -0.6), (0.82, 0.0)]
    yield tapered(body, [0.04, 0.17, 0.2, 0.14], light, dark)
    yield circle((-0.1, -0.05), r, main, dark)
    yield stroke(spiral + (-0.1, -0.05), dark, 0.08)


def butterfly(rng: Rng, u: Uniform, main: float, dark: float, light: float) -> Figure:
    up, low, tip, spot = u(0.75, 0.98), u(0.5, 0.75), u(0.6, 0.95), u(0.1, 0.18)
    for s in (-1, 1):
        yield blob([(0, 0), (s * low * 0.7, -0.1), (s * low, -0.55), (s * low * 0.5, -0.85),
                    (s * 0.1, -0.4)], main * 0.8, dark, 0.05)  # fmt: skip
        yield blob([(0, 0.05), (s * 0.3, 0.55), (s * up, tip), (s * up, 0.25), (s * 0.4, -0.08)],
                   main, dark, 0.05)  # fmt: skip
        yield circle((s * up * 0.68, tip * 0.6), spot, light)
        yield circle((s * low * 0.6, -0.45), spot * 0.8, light)
        yield stroke([(0, 0.35), (s * 0.2, 0.85)], 0.05, 0.04)
    yield tapered([(0, -0.6), (0, 0), (0, 0.4)], [0.05, 0.1, 0.08], 0.05)


def shoe(rng: Rng, u: Uniform, main: float, dark: float, light: float) -> Figure:
    top, sole = u(0.25, 0.6), u(0.08, 0.16)
    yield polygon([(-0.95, -0.4), (-0.9, top), (-0.3, top), (-0.1, 0.08), (0.5, -0.08),
                   (0.95, -0.25), (0.98, -0.45)], main, dark)  # fmt: skip
    yield box((-0.98, -0.4 - sole), (1.0, -0.38), light, 0.1)
    for x in (-0.25, -0.08, 0.1, 0.27):
        yield stroke([(x, 0.14 - x * 0.3), (x + 0.22, 0.2 - x * 0.3)], light, 0.06)
    yield polygon([(-0.95, -0.4), (-0.93, 0.1), (-0.7, 0.0), (-0.65, -0.4)], dark)


def hat(rng: Rng, u: Uniform, main: float, dark: float, light: float) -> Figure:
    w, h, brim = u(0.42, 0.58), u(0.4, 0.8), u(0.1, 0.18)
    yield ellipse((0, -0.35), (0.98, brim), main, dark)
    half = [(-w, -0.35), (-w * 0.95, h * 0.6), (-w * 0.5, h), (0, h - u(0.02, 0.14))]
    yield blob(symmetric(half), main, dark)
    yield polygon(symmetric([(-w * 1.05, -0.33), (-w * 1.05, -0.1)]), dark * 0.6)


def shirt(rng: Rng, u: Uniform, main: float, dark: float, light: float) -> Figure:
    sleeve, w = u(-0.1, 0.3), u(0.45, 0.55)
    half = [(0.2, 0.8), (w, 0.7), (0.98, sleeve + 0.2), (0.78, sleeve - 0.12), (w, 0.3), (w, -0.9)]
    yield polygon(symmetric(half), main, dark, 0.05)
    yield from _bands(rng, w * 0.95, -0.8, 0.2, light)
    yield blob([(-0.2, 0.8), (0, u(0.4, 0.65)), (0.2, 0.8)], dark)
    yield from (circle((0, y), 0.04, light) for y in (0.3, 0.0, -0.3, -0.6))


def trousers(rng: Rng, u: Uniform, main: float, dark: float, light: float) -> Figure:
    w, flare, gap, low = u(0.4, 0.5), u(0.45, 0.65), u(0.05, 0.15), u(-1, -0.6)
    yield polygon([(-w, 0.98), (w, 0.98), (flare, low), (gap, low), (0, 0.35), (-gap, low),
                   (-flare, low)], main, dark, 0.05)  # fmt: skip
    yield box((-w * 1.02, 0.85), (w * 1.02, 1.0), dark)
    yield from pair(stroke([((w + flare) / 4, 0.4), ((flare + gap) / 2, low + 0.05)], light, 0.04))
    yield from pair(stroke([(w, 0.6), (w * 0.6, 0.8)], dark, 0.05))


def spectacles(rng: Rng, u: Uniform, main: float, dark: float, light: float) -> Figure:
    rx, ry, grey = u(0.34, 0.42), u(0.24, 0.42), u(0.0, 0.25)
    frame = light if rng.random() < 0.5 else grey
    yield stroke(arc((0, 0.08), (0.18, 0.12), 0.2, PI - 0.2, 5), grey, 0.1)
    for s in (-1, 1):
        yield ellipse((s * 0.53, 0), (rx, ry), dark, frame, 0.12)
        yield stroke([(s * 0.42, -ry * 0.3), (s * 0.62, ry * 0.4)], light, 0.06)
        yield stroke([(s * 0.9, 0.1), (s * 1.1, u(0.2, 0.5))], frame, 0.1)


def guitar(rng: Rng, u: Uniform, main: float, dark: float, light: float) -> Figure:
    low, waist, top = u(0.42, 0.52), u(0.24, 0.32), u(0.32, 0.4)
    body = [(0, -1), (low, -0.85), (low, -0.5), (waist, -0.25), (top, 0.0), (0.1, 0.16)]
    yield lathe(body, main, dark, smooth=True)
    yield box((-0.08, -0.2), (0.08, 0.8), dark * 0.7)
    yield box((-0.13, 0.75), (0.13, 1.02), dark, light)
    yield from (stroke([(-0.08, y), (0.08, y)], light, 0.03) for y in np.arange(0.1, 0.75, 0.12))
    yield ellipse((0, -0.3), (u(0.13, 0.17), 0.15), 0.05, light)
    yield box((-0.2, -0.75), (0.2, -0.67), 0.1)


def violin(rng: Rng, u: Uniform, main: float, dark: float, light: float) -> Figure:
    low, top = u(0.38, 0.44), u(0.3, 0.36)
    half = [(0, -1), (low, -0.8), (low * 0.95, -0.5), (low * 0.6, -0.38), (top * 0.6, -0.18),
            (top * 1.05, -0.05), (top, 0.2), (0, 0.3)]  # fmt: skip
    yield blob(symmetric(half), main, dark)
    yield box((-0.06, -0.35), (0.06, 0.85), 0.1)
    yield circle((0, 0.92), 0.11, dark)
    yield polygon([(-0.05, -0.9), (0.05, -0.9), (0.09, -0.6), (-0.09, -0.6)], 0.05)
    yield from pair(stroke([(0.14, -0.2), (0.2, -0.35), (0.16, -0.5)], 0.05, 0.05))
    yield box((-0.15, -0.5), (0.15, -0.44), light)
    yield stroke([(0.62, -0.95), (0.5, 0.95)], light, 0.07)


def drum(rng: Rng, u: Uniform, main: float, dark: float, light: float) -> Figure:
    w, h, n = u(0.7, 0.88), u(0.3, 0.55), int(rng.integers(4, 7))
    x = np.linspace(-w, w, n + 1)
    yield ellipse((0, -h), (w, 0.22), dark)
    yield box((-w, -h), (w, h), main, dark)
    for a, b in pairwise(x):
        yield stroke([(a, h * 0.75), ((a + b) / 2, -h)], light, 0.05)
        yield stroke([((a + b) / 2, -h), (b, h * 0.75)], light, 0.05)
    yield ellipse((0, h), (w, 0.24), light, dark, 0.09)
    sticks = [[(-0.6, 1), (0.05, h + 0.05)], [(0.8, 0.95), (0.25, h + 0.05)]]
    yield from (tapered(stick, [0.04, 0.06], dark * 0.7) for stick in sticks[: rng.integers(1, 3)])


def trumpet(rng: Rng, u: Uniform, main: float, dark: float, light: float) -> Figure:
    r, drop = u(0.3, 0.4), u(0.3, 0.4)
    ends = [arc((-0.3, -drop / 2), (0.22, drop / 2), PI / 2, 3 * PI / 2),
            arc((0.35, -drop / 2), (0.22, drop / 2), -PI / 2, PI / 2)]  # fmt: skip
    yield stroke(np.vstack([*ends, ends[0][:1]]), main, 0.13)
    yield box((-1, -0.06), (0.6, 0.06), main, dark, 0.02)
    yield polygon([(0.45, -0.06), (0.75, -0.1), (0.98, -r), (1.02, 0), (0.98, r), (0.75, 0.1),
                   (0.45, 0.06)], main, dark)  # fmt: skip
    yield ellipse((0.99, 0), (0.06, r), light, dark)
    for x in (-0.15, 0.03, 0.21):
        yield box((x - 0.06, -drop), (x + 0.06, 0.3), light, dark, 0.03)
    yield polygon([(-1.05, -0.13), (-1.05, 0.13), (-0.9, 0.04), (-0.9, -0.04)], dark)


def ball(rng: Rng, u: Uniform, main: float, dark: float, light: float) -> Figure:
    r, turn = u(0.75, 0.92), u(0, PI)
    angles = turn + np.arange(5) * 2 * PI / 5
    yield circle((0, 0), r, light, dark, 0.05)
    outward = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    yield polygon(outward * r * 0.36, dark * 0.6)
    yield from (stroke([p * r * 0.36, p * r * 0.7], dark, 0.06) for p in outward)
    for p, q in zip(outward, outward[:, ::-1] * (-1, 1), strict=True):
        yield polygon([p * r * 0.66 + q * r * 0.2, p * r * 0.95 + q * r * 0.22,
                       p * r * 0.95 - q * r * 0.22, p * r * 0.66 - q * r * 0.2],
                      dark * 0.6)  # fmt: skip


def castle(rng: Rng, u: Uniform, main: float, dark: float, light: float) -> Figure:
    wall, tower, r = u(-0.05, 0.2), u(0.45, 0.7), u(0.2, 0.28)
    yield box((-0.8, -0.8), (0.8, wall), main, dark)
    for x in np.linspace(-0.45, 0.45, 4):
        yield box((x - 0.08, wall), (x + 0.08, wall + 0.14), main, dark)
    pointed = rng.random() < 0.5
    for x in (-0.75, 0.75):
        yield box((x - r, -0.85), (x + r, tower), light, dark)
        if pointed:
            yield polygon([(x - r * 1.2, tower), (x + r * 1.2, tower), (x, 1.05)], dark)
        else:
            for a in (x - r * 0.8, x, x + r * 0.8):
                yield box((a - 0.07, tower), (a + 0.07, tower + 0.15), light, dark)
        yield box((x - 0.05, 0.05), (x + 0.05, 0.3), 0.05)
    gate = [*arc((0, -0.4), (0.25, 0.25), 0, PI), (-0.25, -0.8), (0.25, -0.8)]
    yield polygon(gate, 0.08, dark)


def anchor(rng: Rng, u: Uniform, main: float, dark: float, light: float) -> Figure:
    w, r = u(0.65, 0.8), u(0.17, 0.24)
    yield circle((0, 0.75), r, None, main, 0.13)
    yield box((-0.1, -0.8), (0.1, 0.6), main, dark)
    yield box((-0.42, 0.33), (0.42, 0.5), main, dark)
    yield stroke(arc((0, -0.15), (w, 0.7), PI + 0.2, 2 * PI - 0.2, 9), main, 0.2)
    yield from pair(polygon([(w * 1.3, -0.38), (w * 0.68, -0.3), (w * 1.02, 0.08)], main, dark))


# The order is that of the outputs of networks which learned them.
DRAWINGS: dict[str, Draw] = {
    draw.__name__: _greyed(draw)
    for draw in (
        cup, bottle, wineglass, vase, teapot, bulb, lamp, bell, lighthouse,
        key, hammer, knife, fork, spoon, pencil, scissors, saw, ladder,
        chair, table, bed, sofa, clock, television, book, umbrella,
        car, truck, bicycle, train, sailboat, aeroplane, balloon, rocket,
        tree, fir, cactus, flower, leaf, apple, banana, mushroom, cone,
        fish, bird, snail, butterfly, shoe, hat, shirt, trousers, spectacles,
        guitar, violin, drum, trumpet, ball, castle, anchor,
    )
} | {"house": house}  # fmt: skip


def instrument(rng: Rng) -> Figure:
    """Draw a musical instrument of any kind."""
    return DRAWINGS[("guitar", "violin", "drum", "trumpet")[rng.integers(4)]](rng)
