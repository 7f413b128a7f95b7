"""Faces: what stays fixed for a person, what changes from picture to picture, and the drawing."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from app.stimuli.drawing import (
    Array,
    Figure,
    arc,
    blob,
    box,
    ellipse,
    polygon,
    stroke,
)

# Points (..., 2) of the front view and their depth, to where they are when the head has turned.
Turn = Callable[[ArrayLike, float], Array]

HAIR = ("bald", "short", "fringe", "parted", "long", "curly", "bun", "spiky", "bob", "receding")
GLASSES = ("none", "none", "none", "round", "square")
BEARDS = ("none", "none", "none", "full", "goatee", "moustache")


@dataclass(frozen=True)
class Person:
    """What makes a face this face. Lengths in half-heights of the head; greys from 0 to 1.

    `jaw` is the jaw's width in widths of the head, `chin` the chin's in widths of the jaw.
    """

    width: float
    jaw: float
    chin: float
    skin: float
    ears: float
    hair: str
    hair_grey: float
    hairline: float
    brow_height: float
    brow_width: float
    brow_tilt: float
    eye_height: float
    eye_spacing: float
    eye_size: float
    eye_aspect: float
    eye_tilt: float
    iris: float
    nose_length: float
    nose_width: float
    mouth_height: float
    mouth_width: float
    lips: float
    lip_grey: float
    glasses: str
    beard: str
    mole: tuple[float, float] | None
    freckles: bool


@dataclass(frozen=True)
class Look:
    """What changes from one picture of a person to the next. Angles in radians."""

    yaw: float
    pitch: float
    smile: float
    mouth_open: float
    brow_lift: float
    blink: float
    gaze: float


def person(rng: np.random.Generator, child: bool) -> Person:
    """Draw a person. A child's face is rounder, its eyes larger, its features lower."""
    u = rng.uniform
    skin = u(0.42, 0.92)
    mole = (u(-0.4, 0.4), u(-0.5, 0.05)) if rng.random() < 0.3 else None
    hair = str(rng.choice(HAIR[1:9] if child else HAIR))
    # Hair that has the skin's grey would leave the head without an outline.
    hair_grey = skin - u(0.25, 0.5) if rng.random() < 0.75 else min(1, skin + u(0.15, 0.3))
    return Person(
        width=u(0.8, 0.92) if child else u(0.62, 0.84),
        jaw=u(0.74, 0.85) if child else u(0.64, 0.92),
        chin=u(0.4, 0.55) if child else u(0.35, 0.65),
        skin=skin,
        ears=u(0.1, 0.2),
        hair=hair,
        hair_grey=max(0.02, hair_grey),
        hairline=u(0.42, 0.62),
        brow_height=u(0.2, 0.26) if child else u(0.2, 0.34),
        brow_width=u(0.025, 0.05) if child else u(0.04, 0.12),
        brow_tilt=u(-0.12, 0.18),
        eye_height=u(-0.12, -0.02) if child else u(0.04, 0.2),
        eye_spacing=u(0.32, 0.42) if child else u(0.25, 0.4),
        eye_size=u(0.17, 0.22) if child else u(0.11, 0.18),
        eye_aspect=u(0.65, 0.9) if child else u(0.4, 0.75),
        eye_tilt=u(-0.2, 0.2),
        iris=u(0.05, 0.45),
        nose_length=u(0.16, 0.24) if child else u(0.24, 0.46),
        nose_width=u(0.07, 0.12) if child else u(0.08, 0.2),
        mouth_height=u(-0.6, -0.5) if child else u(-0.62, -0.46),
        mouth_width=u(0.18, 0.28) if child else u(0.2, 0.4),
        lips=u(0.04, 0.07) if child else u(0.03, 0.11),
        lip_grey=skin * u(0.45, 0.75),
        glasses="none" if child and rng.random() < 0.6 else str(rng.choice(GLASSES)),
        beard="none" if child else str(rng.choice(BEARDS)),
        mole=mole,
        freckles=bool(rng.random() < 0.12),
    )


def look(rng: np.random.Generator) -> Look:
    """Draw a pose and an expression."""
    u = rng.uniform
    return Look(
        yaw=u(-0.6, 0.6),
        pitch=u(-0.3, 0.3),
        smile=u(-0.08, 0.14),
        mouth_open=max(0.0, u(-0.12, 0.1)),
        brow_lift=u(-0.03, 0.06),
        blink=u(0.6, 1.05),
        gaze=u(-0.3, 0.3),
    )


def face(p: Person, v: Look) -> Figure:
    """Draw the person with that look: a figure in about [-1, 1]²."""

    # Pseudo-3D: a point nearer to the viewer (depth) moves further when the head turns.
    def turned(points: ArrayLike, depth: float) -> Array:
        xy = np.asarray(points, float)
        x = xy[..., 0] * np.cos(v.yaw) + depth * np.sin(v.yaw)
        y = xy[..., 1] * np.cos(v.pitch) + depth * np.sin(v.pitch)
        return np.stack([x, y], axis=-1)

    shade, dark = p.skin * 0.8, p.skin * 0.45
    w, turn = p.width, 0.12 * np.sin(v.yaw)
    figure = _hair_behind(p)
    for side in (-1, 1):
        figure.append(ellipse(side * w * 0.98 - turn, 0.0, p.ears * 0.7, p.ears * 1.5, shade))
    half = [
        (0, -1), (w * p.jaw * p.chin, -0.93), (w * p.jaw, -0.58), (w * (0.4 + 0.6 * p.jaw), -0.2),
        (w, 0.2), (w * 0.9, 0.62), (w * 0.5, 0.93), (0, 1),
    ]  # fmt: skip
    outline = np.array(half + [(-x, y) for x, y in half[-2:0:-1]])
    figure.append(blob(outline, p.skin, p.skin * 0.7, 0.03))
    figure += _beard(p, v, turned, w)

    for side in (-1, 1):
        x, y = turned((side * p.eye_spacing, p.eye_height), 0.45)
        rx, ry = p.eye_size * np.cos(v.yaw), p.eye_size * p.eye_aspect * v.blink
        tilt = side * p.eye_tilt
        figure += [
            ellipse(x, y, rx * 1.15, ry * 1.25, shade, angle=tilt),
            ellipse(x, y, rx, ry, min(1.0, 0.9 + 0.1 * p.skin), dark, 0.03, angle=tilt),
            ellipse(x + v.gaze * rx, y, min(ry, rx * 0.62), ry * 0.92, p.iris),
            ellipse(x + v.gaze * rx + 0.02, y + 0.03, 0.025, 0.025, 1.0),
        ]
        brow = np.array([(-1.25, -0.06), (0, 0.04), (1.25, -0.04)]) * (p.eye_size, 1)
        brow[:, 1] += brow[:, 0] * side * -p.brow_tilt + p.brow_height + v.brow_lift
        brow += (side * p.eye_spacing, p.eye_height)
        brow_grey = min(p.hair_grey, p.skin * 0.7)
        figure.append(stroke(turned(brow, 0.5), brow_grey, p.brow_width))

    tip = p.eye_height - p.nose_length
    bridge = turned([(0.0, p.eye_height), (0.0, tip + 0.1)], 0.5)
    nose = turned([(-p.nose_width, tip + 0.03), (0, tip - 0.03), (p.nose_width, tip + 0.03)], 0.65)
    figure += [
        blob(np.vstack([bridge[:1], nose[::-1]]), shade),
        stroke(np.vstack([bridge[:1] + [0.03, 0], bridge[1:] + [0.05, 0]]), p.skin * 1.05, 0.05),
        stroke(nose, dark, 0.045),
    ]
    figure += _mouth(p, v, turned)
    if p.freckles:
        spots = turned([(s * x, tip + dy) for s in (-1, 1)
                        for x, dy in ((0.3, 0.1), (0.42, 0.16), (0.36, 0.0))], 0.45)  # fmt: skip
        figure += [ellipse(x, y, 0.03, 0.03, p.skin * 0.6) for x, y in spots]
    if p.mole:
        x, y = turned(p.mole, 0.45)
        figure.append(ellipse(x, y, 0.05, 0.05, p.skin * 0.35))
    figure += _hair_in_front(p, turn)
    if p.glasses != "none":
        figure += _glasses(p, turned)
    return figure


def _mouth(p: Person, v: Look, turned: Turn) -> Figure:
    m, y, gap = p.mouth_width, p.mouth_height, v.mouth_open
    corner = y + v.smile
    upper = turned([(-m, corner), (-m / 2, y + p.lips), (0, y + p.lips * 0.8),
                    (m / 2, y + p.lips), (m, corner)], 0.5)  # fmt: skip
    lower = turned([(m / 2, y - p.lips - gap), (0, y - p.lips * 1.3 - gap),
                    (-m / 2, y - p.lips - gap)], 0.5)  # fmt: skip
    inner = turned([(-m * 0.85, corner), (0, y - 0.02), (m * 0.85, corner)], 0.5)
    figure = [blob(np.vstack([upper, lower]), p.lip_grey)]
    if gap > 0.03:
        below = turned([(0, y - gap)], 0.5)
        figure.append(blob(np.vstack([inner, below]), 0.12))
    return [*figure, stroke(inner, p.skin * 0.3, 0.03)]


def _beard(p: Person, v: Look, turned: Turn, w: float) -> Figure:
    grey, y = min(p.hair_grey, p.skin * 0.75), p.mouth_height
    figure: Figure = []
    if p.beard == "full":
        jaw = w * p.jaw
        half = [(0, -1.06), (jaw * p.chin, -1.0), (jaw * 1.02, -0.62), (w * 0.97, -0.1),
                (w * 0.8, -0.2), (w * 0.55, y + 0.14), (0, y + 0.17)]  # fmt: skip
        figure.append(blob(half + [(-x, h) for x, h in half[-2:0:-1]], grey))
    if p.beard == "goatee":
        figure.append(blob(turned([(-0.2, y - 0.1), (0, y - 0.13), (0.2, y - 0.1), (0.15, -0.98),
                                   (0, -1.08), (-0.15, -0.98)], 0.4), grey))  # fmt: skip
    if p.beard in ("goatee", "moustache"):
        m = p.mouth_width * 1.15
        figure.append(blob(turned([(-m, y - 0.02), (-m / 2, y + 0.13), (0, y + 0.17),
                                   (m / 2, y + 0.13), (m, y - 0.02), (0, y + 0.04)], 0.55),
                           grey))  # fmt: skip
    return figure


def _glasses(p: Person, turned: Turn) -> Figure:
    r = p.eye_size * 1.35 + 0.05
    figure: Figure = []
    for side in (-1, 1):
        x, y = turned((side * p.eye_spacing, p.eye_height), 0.6)
        if p.glasses == "round":
            figure.append(ellipse(x, y, r, r, None, 0.08, 0.05))
        else:
            figure.append(box(x - r, y - r * 0.7, x + r, y + r * 0.7, None, 0.08, 0.06))
        edge = turned((side * (p.eye_spacing + r), p.eye_height), 0.6)
        figure.append(stroke([tuple(edge), (side * p.width * 0.98, edge[1] + 0.02)], 0.08, 0.045))
    bridge = turned([(s * (p.eye_spacing - r), p.eye_height) for s in (-1, 1)], 0.6)
    return [*figure, stroke(bridge, 0.08, 0.05)]


def _hair_behind(p: Person) -> Figure:
    w, grey = p.width, p.hair_grey
    if p.hair == "long":
        return [blob([(-w * 1.15, -0.95), (-w * 1.25, 0.1), (-w * 0.9, 0.95), (0, 1.2),
                      (w * 0.9, 0.95), (w * 1.25, 0.1), (w * 1.15, -0.95)], grey)]  # fmt: skip
    if p.hair == "bob":
        return [blob([(-w * 1.2, -0.4), (-w * 1.25, 0.2), (-w * 0.9, 0.95), (0, 1.18),
                      (w * 0.9, 0.95), (w * 1.25, 0.2), (w * 1.2, -0.4)], grey)]  # fmt: skip
    if p.hair == "curly":
        ring = arc(0, 0.42, w * 1.08, 0.72, -0.35, np.pi + 0.35, 11)
        return [ellipse(x, y, 0.24, 0.24, grey) for x, y in ring]
    if p.hair == "bun":
        return [ellipse(0, 1.18, 0.32, 0.26, grey)]
    return []


def _hair_in_front(p: Person, turn: float) -> Figure:
    """Draw the cap of hair above the hairline, in the shape of the style."""
    w, grey, line = p.width * 1.05, p.hair_grey, p.hairline
    crown = arc(0, 0.2, w, 0.9, 0.05, np.pi - 0.05, 9)
    if p.hair == "bald":
        return []
    if p.hair == "spiky":
        base = arc(0, 0.2, w, 0.75, 0.1, np.pi - 0.1, 13)
        base[1::2] = arc(0, 0.2, w * 1.15, 1.05, 0.1, np.pi - 0.1, 13)[1::2]
        return [polygon(np.vstack([base, [(-w * 0.7, line), (0, line + 0.08), (w * 0.7, line)]]),
                        grey)]  # fmt: skip
    inner = {
        "short": [(-w * 0.85, line - 0.1), (-w * 0.4, line + 0.08), (w * 0.4, line + 0.08),
                  (w * 0.85, line - 0.1)],
        "fringe": [(-w * 0.85, 0.3), (-w * 0.4, 0.34), (0, 0.32), (w * 0.4, 0.34),
                   (w * 0.85, 0.3)],
        "parted": [(-w * 0.9, 0.25), (-w * 0.3, line - 0.02), (w * 0.35, line + 0.25),
                   (w * 0.9, 0.3)],
        "long": [(-w * 0.9, 0.0), (-w * 0.6, line), (0, line + 0.25), (w * 0.6, line),
                 (w * 0.9, 0.0)],
        "curly": [(-w * 0.85, 0.4), (0, line + 0.1), (w * 0.85, 0.4)],
        "bun": [(-w * 0.9, 0.3), (-w * 0.4, line + 0.12), (w * 0.4, line + 0.12), (w * 0.9, 0.3)],
        "bob": [(-w * 0.9, -0.1), (-w * 0.75, 0.32), (0, 0.38), (w * 0.75, 0.32),
                (w * 0.9, -0.1)],
        "receding": [(-w * 0.9, 0.1), (-w * 0.75, 0.55), (-w * 0.45, 0.85), (0, line + 0.2),
                     (w * 0.45, 0.85), (w * 0.75, 0.55), (w * 0.9, 0.1)],
    }[p.hair]  # fmt: skip
    points = np.vstack([crown, inner])
    points[len(crown) :, 0] += turn
    return [blob(points, grey, grey * 0.6, 0.03)]
