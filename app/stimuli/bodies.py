"""Headless bodies and single limbs, posed by the angles of their joints."""

import numpy as np

from app.stimuli.drawing import Array, Figure, Point, blob, circle, ellipse, lathe, stroke, tapered


def _pose(start: Point, angles: list[float], lengths: list[float]) -> Array:
    """Joints and middles of bones (5, 2); angles are from straight down, positive to the right."""
    bones = np.stack([np.sin(angles), -np.cos(angles)], axis=1) * np.array(lengths)[:, None]
    joints = np.vstack([[start], start + np.cumsum(bones, axis=0)])
    # With the middles in between, limbs bend at the joints only.
    return np.insert(joints, (1, 2), (joints[1:] + joints[:-1]) / 2, axis=0)


def body(rng: np.random.Generator) -> Figure:
    """Draw a dressed figure without a head, as fLoc shows them."""
    u = rng.uniform
    skin, shirt, trousers = u(0.4, 0.9), u(0.1, 0.95), u(0.05, 0.8)
    build, shoulder, hip = u(0.9, 1.3), u(0.3, 0.4), u(0.2, 0.28)
    skirt, sleeves, shorts = rng.random() < 0.25, rng.random() < 0.5, rng.random() < 0.3
    for side in (-1, 1):
        thigh = side * u(0.0, 0.35) + u(-0.08, 0.08)
        leg = _pose((side * hip * 0.55, -0.05), [thigh, thigh - side * u(0, 0.4)], [0.48, 0.5])
        widths = np.array([0.17, 0.15, 0.11, 0.1, 0.06]) * build
        yield tapered(leg, widths, skin if skirt or shorts else trousers, skin * 0.5)
        if shorts:
            yield tapered(leg[:3], widths[:3] * 1.15, trousers, trousers * 0.5)
        yield ellipse(leg[-1] + (side * 0.05, -0.03), (0.14, 0.07), u(0.02, 0.3))
    if skirt:
        yield lathe([(hip * u(1.3, 2.0), -0.55), (hip * 1.05, 0.1)], trousers, trousers * 0.6)
    else:
        yield lathe([(hip, -0.2), (hip * 1.1, 0.1)], trousers, smooth=True)
    yield lathe([(0.09, 0.72), (0.08, 1.0)], skin * 0.92)
    waist = hip * u(0.8, 1.05)
    torso = [(0, -0.02), (hip, 0.0), (waist, 0.3), (shoulder, 0.62), (shoulder * 0.9, 0.78),
             (0.1, 0.86), (0, 0.84)]  # fmt: skip
    yield lathe(torso, shirt, shirt * 0.5, smooth=True)
    if rng.random() < 0.4:
        for y in np.arange(0.1, 0.7, u(0.12, 0.25)):
            yield stroke([(-waist * 0.9, y), (waist * 0.9, y)], shirt * 0.6, 0.06)
    for side in (-1, 1):
        upper = side * (u(0.1, 0.9) if rng.random() < 0.8 else u(1.5, 2.6))
        lower = upper - side * u(-0.3, 1.6)
        arm = _pose((side * shoulder * 0.9, 0.7), [upper, lower], [0.4, 0.38])
        widths = np.array([0.12, 0.1, 0.085, 0.08, 0.055]) * build
        yield tapered(arm, widths, shirt if sleeves else skin, skin * 0.5)
        if not sleeves:
            yield tapered(arm[:2], widths[:2] * 1.25, shirt, shirt * 0.5)
        yield circle(arm[-1], 0.085, skin)


def limb(rng: np.random.Generator) -> Figure:
    """Draw an arm with its hand, or a leg with its foot."""
    return _arm(rng) if rng.random() < 0.5 else _leg(rng)


def _arm(rng: np.random.Generator) -> Figure:
    u = rng.uniform
    skin, build, bend = u(0.35, 0.95), u(0.85, 1.2), u(-0.5, 0.5)
    edge = skin * 0.5
    arm = np.array([(bend * 0.5, -1.05), (bend * 0.12, -0.6), (0, -0.2), (0, 0.1)])
    yield tapered(arm, np.array([0.3, 0.28, 0.2, 0.16]) * build, skin, edge)
    spread, curl = u(0.04, 0.22), u(0.35, 1.0)
    pointing = rng.random() < 0.25
    for k, length in enumerate((0.38, 0.45, 0.42, 0.32)):
        reach = length * (curl if not pointing or k else 1.0) * (0.45 if pointing and k else 1.0)
        x, angle = (k - 1.5) * 0.125 * build, (k - 1.5) * spread
        tip = (x + np.sin(angle) * reach, 0.45 + np.cos(angle) * reach)
        yield tapered([(x, 0.4), tip], [0.075 * build, 0.06 * build], skin, edge)
    thumb = u(0.2, 1.1)
    tip = (-0.2 * build - np.sin(thumb) * 0.32, 0.2 + np.cos(thumb) * 0.32)
    yield tapered([(-0.15 * build, 0.12), tip], [0.1 * build, 0.07], skin, edge)
    palm = np.array([(-0.17, 0.02), (-0.26, 0.25), (-0.24, 0.48), (0, 0.52), (0.24, 0.46),
                     (0.24, 0.2), (0.16, 0.02)])  # fmt: skip
    yield blob(palm * (build, 1), skin)
    if rng.random() < 0.5:
        yield tapered(arm[:3], np.array([0.36, 0.33, 0.26]) * build, u(0.05, 0.9), 0.1)


def _leg(rng: np.random.Generator) -> Figure:
    u = rng.uniform
    skin, build, knee = u(0.35, 0.95), u(0.85, 1.2), u(0.0, 0.9)
    edge = skin * 0.5
    leg = _pose((0, 1.0), [knee * 0.5, -knee * 0.5], [0.9, 0.9])
    shod = rng.random() < 0.4
    foot = leg[-1] + np.array([(-0.17, 0.08), (-0.2, -0.14), (0.1, -0.17), (0.5, -0.17),
                               (0.55, -0.06), (0.25, 0.06), (0.12, 0.16)])  # fmt: skip
    yield tapered(leg, np.array([0.32, 0.28, 0.21, 0.2, 0.12]) * build, skin, edge)
    yield blob(foot, u(0.02, 0.4) if shod else skin, edge)
    toes = [leg[-1] + (0.5 - 0.07 * k, -0.1 + 0.02 * k) for k in range(0 if shod else 3)]
    yield from (ellipse(toe, (0.05, 0.045), skin, edge, 0.02) for toe in toes)
    if rng.random() < 0.4:
        yield tapered(leg[:3], np.array([0.38, 0.36, 0.3]) * build, u(0.05, 0.9), 0.1)
