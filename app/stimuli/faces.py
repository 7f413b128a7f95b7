"""Faces: what stays fixed for a person, what changes from picture to picture, and the drawing."""

from collections.abc import Callable
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from app.stimuli.drawing import (
    Array,
    Figure,
    Point,
    arc,
    blob,
    box,
    circle,
    ellipse,
    polygon,
    stroke,
    symmetric,
)

# Points (..., 2) of the front view and their depth, to where they are when the head has turned.
Turn = Callable[[ArrayLike, float], Array]

HAIR = ("bald", "short", "fringe", "parted", "long", "curly", "bun", "spiky", "bob", "receding")
GLASSES = ("none", "none", "none", "round", "square")
BEARDS = ("none", "none", "none", "full", "goatee", "moustache")


def _within(adult: Point, child: Point | None = None) -> Any:
    """Make a field that is drawn from this range, a child's from its own."""
    return field(metadata={False: adult, True: child or adult})


@dataclass(frozen=True)
class Person:
    """What makes a face this face. Lengths in half-heights of the head; greys from 0 to 1.

    `jaw` is the jaw's width in widths of the head, `chin` the chin's in widths of the jaw. A
    child's face is rounder, its eyes larger, its features lower.
    """

    skin: float
    hair: str
    hair_grey: float
    mole: Point | None
    glasses: str
    beard: str
    freckles: bool
    width: float = _within((0.62, 0.84), (0.8, 0.92))
    jaw: float = _within((0.64, 0.92), (0.74, 0.85))
    chin: float = _within((0.35, 0.65), (0.4, 0.55))
    ears: float = _within((0.1, 0.2))
    hairline: float = _within((0.42, 0.62))
    brow_height: float = _within((0.2, 0.34), (0.2, 0.26))
    brow_width: float = _within((0.04, 0.12), (0.025, 0.05))
    brow_tilt: float = _within((-0.12, 0.18))
    eye_height: float = _within((0.04, 0.2), (-0.12, -0.02))
    eye_spacing: float = _within((0.25, 0.4), (0.32, 0.42))
    eye_size: float = _within((0.11, 0.18), (0.17, 0.22))
    eye_aspect: float = _within((0.4, 0.75), (0.65, 0.9))
    eye_tilt: float = _within((-0.2, 0.2))
    iris: float = _within((0.05, 0.45))
    nose_length: float = _within((0.24, 0.46), (0.16, 0.24))
    nose_width: float = _within((0.08, 0.2), (0.07, 0.12))
    mouth_height: float = _within((-0.62, -0.46), (-0.6, -0.5))
    mouth_width: float = _within((0.2, 0.4), (0.18, 0.28))
    lips: float = _within((0.03, 0.11), (0.04, 0.07))
    lip_grey: float = _within((0.45, 0.75))  # of the skin's


@dataclass(frozen=True)
class Look:
    """What changes from one picture of a person to the next. Angles in radians."""

    yaw: float = _within((-0.6, 0.6))
    pitch: float = _within((-0.3, 0.3))
    smile: float = _within((-0.08, 0.14))
    mouth_open: float = _within((-0.12, 0.1))  # shut below 0
    brow_lift: float = _within((-0.03, 0.06))
    blink: float = _within((0.6, 1.05))
    gaze: float = _within((-0.3, 0.3))


def _draw_ranges(kind: type, rng: np.random.Generator, child: bool) -> dict[str, Any]:
    """Draw the fields that have a range, in their order."""
    return {f.name: rng.uniform(*f.metadata[child]) for f in fields(kind) if f.metadata}


def person(rng: np.random.Generator, child: bool) -> Person:
    """Draw a person."""
    u = rng.uniform
    skin = u(0.42, 0.92)
    mole = (u(-0.4, 0.4), u(-0.5, 0.05)) if rng.random() < 0.3 else None
    hair = str(rng.choice(HAIR[1:9] if child else HAIR))
    # Hair that has the skin's grey would leave the head without an outline.
    hair_grey = skin - u(0.25, 0.5) if rng.random() < 0.75 else min(1, skin + u(0.15, 0.3))
    return Person(
        skin=skin,
        hair=hair,
        hair_grey=max(0.02, hair_grey),
        mole=mole,
        **_draw_ranges(Person, rng, child),
        glasses="none" if child and rng.random() < 0.6 else str(rng.choice(GLASSES)),
        beard="none" if child else str(rng.choice(BEARDS)),
        freckles=bool(rng.random() < 0.12),
    )


def look(rng: np.random.Generator) -> Look:
    """Draw a pose and an expression."""
    return Look(**_draw_ranges(Look, rng, child=False))


def face(p: Person, v: Look) -> Figure:
    """Draw the person with that look: a figure in about [-1, 1]²."""

    # Pseudo-3D: a point nearer to the viewer (depth) moves further when the head turns.
    def turned(points: ArrayLike, depth: float) -> Array:
        angles = np.array([v.yaw, v.pitch])
        return np.asarray(np.asarray(points, float) * np.cos(angles) + depth * np.sin(angles))

    w, turn = p.width, 0.12 * np.sin(v.yaw)
    yield from _hair_behind(p)
    for side in (-1, 1):
        yield ellipse((side * w * 0.98 - turn, 0), (p.ears * 0.7, p.ears * 1.5), p.skin * 0.8)
    half = [(0, -1), (w * p.jaw * p.chin, -0.93), (w * p.jaw, -0.58),
            (w * (0.4 + 0.6 * p.jaw), -0.2), (w, 0.2), (w * 0.9, 0.62), (w * 0.5, 0.93),
            (0, 1)]  # fmt: skip
    yield blob(symmetric(half), p.skin, p.skin * 0.7)
    yield from _beard(p, turned)
    for side in (-1, 1):
        yield from _eye(p, v, turned, side)
    yield from _nose(p, turned)
    yield from _mouth(p, v, turned)
    if p.freckles:
        y = p.eye_height - p.nose_length
        spots = [
            (s * x, y + dy) for s in (-1, 1) for x, dy in ((0.3, 0.1), (0.42, 0.16), (0.36, 0))
        ]
        yield from (circle(spot, 0.03, p.skin * 0.6) for spot in turned(spots, 0.45))
    if p.mole:
        yield circle(turned(p.mole, 0.45), 0.05, p.skin * 0.35)
    if p.hair != "bald":
        yield from _hair_in_front(p, turn)
    if p.glasses != "none":
        yield from _glasses(p, turned)


def _eye(p: Person, v: Look, turned: Turn, side: int) -> Figure:
    """Draw an eye and its brow."""
    x, y = turned((side * p.eye_spacing, p.eye_height), 0.45)
    rx, ry = p.eye_size * np.cos(v.yaw), p.eye_size * p.eye_aspect * v.blink
    tilt, white = side * p.eye_tilt, min(1.0, 0.9 + 0.1 * p.skin)
    yield ellipse((x, y), (rx * 1.15, ry * 1.25), p.skin * 0.8, angle=tilt)
    yield ellipse((x, y), (rx, ry), white, p.skin * 0.45, angle=tilt)
    yield ellipse((x + v.gaze * rx, y), (min(ry, rx * 0.62), ry * 0.92), p.iris)
    yield circle((x + v.gaze * rx + 0.02, y + 0.03), 0.025, 1.0)
    brow = np.array([(-1.25, -0.06), (0, 0.04), (1.25, -0.04)]) * (p.eye_size, 1)
    brow[:, 1] += brow[:, 0] * side * -p.brow_tilt + p.brow_height + v.brow_lift
    brow += (side * p.eye_spacing, p.eye_height)
    yield stroke(turned(brow, 0.5), min(p.hair_grey, p.skin * 0.7), p.brow_width)


def _nose(p: Person, turned: Turn) -> Figure:
    tip = p.eye_height - p.nose_length
    top, bridge = turned([(0, p.eye_height), (0, tip + 0.1)], 0.5)
    nose = turned([(-p.nose_width, tip + 0.03), (0, tip - 0.03), (p.nose_width, tip + 0.03)], 0.65)
    yield blob([top, *nose[::-1]], p.skin * 0.8)
    yield stroke([top + (0.03, 0), bridge + (0.05, 0)], p.skin * 1.05, 0.05)
    yield stroke(nose, p.skin * 0.45, 0.045)


def _mouth(p: Person, v: Look, turned: Turn) -> Figure:
    m, y, gap = p.mouth_width, p.mouth_height, max(0.0, v.mouth_open)
    corner = y + v.smile
    upper = [(-m, corner), (-m / 2, y + p.lips), (0, y + p.lips * 0.8), (m / 2, y + p.lips),
             (m, corner)]  # fmt: skip
    lower = [(m / 2, y - p.lips - gap), (0, y - p.lips * 1.3 - gap), (-m / 2, y - p.lips - gap)]
    inner = [(-m * 0.85, corner), (0, y - 0.02), (m * 0.85, corner)]
    yield blob(turned(upper + lower, 0.5), p.skin * p.lip_grey)
    if gap > 0.03:
        yield blob(turned([*inner, (0, y - gap)], 0.5), 0.12)
    yield stroke(turned(inner, 0.5), p.skin * 0.3, 0.03)


def _beard(p: Person, turned: Turn) -> Figure:
    grey, w, y = min(p.hair_grey, p.skin * 0.75), p.width, p.mouth_height
    if p.beard == "full":
        jaw = w * p.jaw
        half = [(0, -1.06), (jaw * p.chin, -1.0), (jaw * 1.02, -0.62), (w * 0.97, -0.1),
                (w * 0.8, -0.2), (w * 0.55, y + 0.14), (0, y + 0.17)]  # fmt: skip
        yield blob(symmetric(half), grey)
    if p.beard == "goatee":
        chin = [(-0.2, y - 0.1), (0, y - 0.13), (0.2, y - 0.1), (0.15, -0.98), (0, -1.08),
                (-0.15, -0.98)]  # fmt: skip
        yield blob(turned(chin, 0.4), grey)
    if p.beard in ("goatee", "moustache"):
        m = p.mouth_width * 1.15
        lip = [(-m, y - 0.02), (-m / 2, y + 0.13), (0, y + 0.17), (m / 2, y + 0.13), (m, y - 0.02),
               (0, y + 0.04)]  # fmt: skip
        yield blob(turned(lip, 0.55), grey)


def _glasses(p: Person, turned: Turn) -> Figure:
    r = p.eye_size * 1.35 + 0.05
    for side in (-1, 1):
        x, y = turned((side * p.eye_spacing, p.eye_height), 0.6)
        if p.glasses == "round":
            yield circle((x, y), r, None, 0.08, 0.05)
        else:
            yield box((x - r, y - r * 0.7), (x + r, y + r * 0.7), None, 0.08, 0.06)
        x, y = turned((side * (p.eye_spacing + r), p.eye_height), 0.6)
        yield stroke([(x, y), (side * p.width * 0.98, y + 0.02)], 0.08, 0.045)
    bridge = [(s * (p.eye_spacing - r), p.eye_height) for s in (-1, 1)]
    yield stroke(turned(bridge, 0.6), 0.08, 0.05)


def _hair_behind(p: Person) -> Figure:
    w, grey = p.width, p.hair_grey
    long = [(-w * 1.15, -0.95), (-w * 1.25, 0.1), (-w * 0.9, 0.95), (0, 1.2)]
    bob = [(-w * 1.2, -0.4), (-w * 1.25, 0.2), (-w * 0.9, 0.95), (0, 1.18)]
    if p.hair in ("long", "bob"):
        yield blob(symmetric(long if p.hair == "long" else bob), grey)
    if p.hair == "curly":
        curls = arc((0, 0.42), (w * 1.08, 0.72), -0.35, np.pi + 0.35, 11)
        yield from (circle(curl, 0.24, grey) for curl in curls)
    if p.hair == "bun":
        yield ellipse((0, 1.18), (0.32, 0.26), grey)


def _hair_in_front(p: Person, turn: float) -> Figure:
    """Draw the cap of hair above the hairline, in the shape of the style."""
    w, grey, line = p.width * 1.05, p.hair_grey, p.hairline
    if p.hair == "spiky":
        spikes = arc((0, 0.2), (w, 0.75), 0.1, np.pi - 0.1, 13)
        spikes[1::2] = arc((0, 0.2), (w * 1.15, 1.05), 0.1, np.pi - 0.1, 13)[1::2]
        yield polygon([*spikes, *symmetric([(-w * 0.7, line), (0, line + 0.08)])], grey)
        return
    parted = [(-w * 0.9, 0.25), (-w * 0.3, line - 0.02), (w * 0.35, line + 0.25), (w * 0.9, 0.3)]
    inner = np.array(parted) if p.hair == "parted" else symmetric({
        "short": [(-w * 0.85, line - 0.1), (-w * 0.4, line + 0.08)],
        "fringe": [(-w * 0.85, 0.3), (-w * 0.4, 0.34), (0, 0.32)],
        "long": [(-w * 0.9, 0.0), (-w * 0.6, line), (0, line + 0.25)],
        "curly": [(-w * 0.85, 0.4), (0, line + 0.1)],
        "bun": [(-w * 0.9, 0.3), (-w * 0.4, line + 0.12)],
        "bob": [(-w * 0.9, -0.1), (-w * 0.75, 0.32), (0, 0.38)],
        "receding": [(-w * 0.9, 0.1), (-w * 0.75, 0.55), (-w * 0.45, 0.85), (0, line + 0.2)],
    }[p.hair])  # fmt: skip
    crown = arc((0, 0.2), (w, 0.9), 0.05, np.pi - 0.05, 9)
    yield blob(np.vstack([crown, inner + (turn, 0)]), grey, grey * 0.6)
