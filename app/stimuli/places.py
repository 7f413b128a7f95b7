"""Houses from the front and corridors in one-point perspective."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from app.stimuli.drawing import Figure, Shape, box, circle, pair, polygon


def house(rng: np.random.Generator) -> Figure:
    """Draw a house: walls, a roof, a door, windows; sometimes a chimney and a visible side wall."""
    u = rng.uniform
    w, top, peak = u(0.6, 0.95), u(-0.1, 0.3), u(0.35, 0.75)
    wall, roof = u(0.4, 0.95), u(0.1, 0.6)
    edge, pane, frame = wall * 0.5, u(0.02, 0.3), min(1.0, wall + 0.2)
    depth, rise = (u(0.25, 0.5), u(0.05, 0.15)) if rng.random() < 0.5 else (0.0, 0.0)
    if rng.random() < 0.6:
        x = u(-0.7, 0.5) * w
        yield box((x, top), (x + 0.16, top + peak * u(0.9, 1.15)), roof * 0.7, 0.1)
    if depth:
        side = [(w, -0.8), (w + depth, -0.8 + rise), (w + depth, top + rise), (w, top)]
        yield polygon(side, wall * 0.7, edge)
    yield box((-w, -0.8), (w, top), wall, edge)
    eave, over = top - 0.02, 0.1
    style = rng.choice(("gable", "hip", "flat"), p=(0.45, 0.4, 0.15))
    if style == "gable":
        apex = (0, top + peak)
        if depth:
            back = (depth, top + peak + rise)
            slope = [apex, back, (w + depth + over, eave + rise), (w + over, eave)]
            yield polygon(slope, roof * 0.8, 0.1)
        yield polygon([(-w, eave), (w, eave), apex], wall * 0.92, edge)
        yield from pair(polygon([(w + over, eave - 0.05), apex, (0, top + peak - 0.14),
                                 (w - 0.02, eave - 0.05)], roof))  # fmt: skip
    else:
        inset, height = (0.35, peak * 0.8) if style == "hip" else (0.0, 0.14)
        ridge = [(w - inset, eave + height), (-w + inset, eave + height)]
        if depth:
            slope = [(w + over, eave), (w + depth + over, eave + rise),
                     (w + depth - inset, eave + height + rise / 2), ridge[0]]  # fmt: skip
            yield polygon(slope, roof * 0.7, 0.1)
        yield polygon([(-w - over, eave), (w + over, eave), *ridge], roof, 0.1)
    columns, rows = rng.integers(2, 4), 2 if top > 0.05 else 1
    door, cell = rng.integers(columns), 2 * w / columns
    tall = (top + 0.8) / rows
    for row, column in np.ndindex(rows, columns):
        x, y = -w + cell * (column + 0.5), -0.8 + tall * (row + 0.55)
        if (row, column) == (0, door):
            high = (x + 0.12, -0.8 + min(0.5, tall * 0.85))
            yield box((x - 0.12, -0.8), high, u(0.05, 0.4), frame, 0.05)
            yield circle((x + 0.07, -0.58), 0.025, 0.95)
        else:
            a, b = cell * 0.26, tall * 0.27
            yield box((x - a, y - b), (x + a, y + b), pane, frame, 0.05)
            yield polygon([(x, y - b), (x, y + b)], None, frame, 0.03)
            yield polygon([(x - a, y), (x + a, y)], None, frame, 0.03)


def corridor(rng: np.random.Generator) -> Figure:
    """Draw a corridor: floor, ceiling and walls meet far away; doors, tiles and lamps recede."""
    u = rng.uniform
    w, h = u(0.75, 1.0), u(0.75, 1.0)
    vx, vy, far = u(-0.35, 0.35), u(-0.15, 0.25), u(0.16, 0.34)
    wall, floor, ceiling = u(0.4, 0.85), u(0.15, 0.6), u(0.6, 1.0)

    def shape(corners: ArrayLike, *paint: Any) -> Shape:
        """Project corners (x, y of the cross-section; depth, 0 = near end to 1 = far end)."""
        x, y, depth = np.transpose(corners)
        shrink = 1 / (1 + depth * (1 / far - 1))
        points = np.stack([vx + (x * w - vx) * shrink, vy + (y * h - vy) * shrink], axis=1)
        return polygon(points, *paint)

    edge = wall * 0.6
    yield shape([(-1, -1, 0), (1, -1, 0), (1, -1, 1), (-1, -1, 1)], floor)
    yield shape([(-1, 1, 0), (1, 1, 0), (1, 1, 1), (-1, 1, 1)], ceiling)
    yield shape([(-1, -1, 0), (-1, 1, 0), (-1, 1, 1), (-1, -1, 1)], wall, edge)
    yield shape([(1, -1, 0), (1, 1, 0), (1, 1, 1), (1, -1, 1)], wall * u(0.7, 0.95), edge)
    yield shape([(-1, -1, 1), (1, -1, 1), (1, 1, 1), (-1, 1, 1)], u(0.3, 1.0), wall * 0.5)
    yield shape([(-0.4, -1, 1), (0.4, -1, 1), (0.4, 0.4, 1), (-0.4, 0.4, 1)], u(0.0, 0.6))
    tiles = int(rng.integers(3, 8))
    for k in range(1, tiles):
        yield shape([(-1, -1, k / tiles), (1, -1, k / tiles)], None, floor * 0.6)
        yield shape([(2 * k / tiles - 1, -1, 0), (2 * k / tiles - 1, -1, 1)], None, floor * 0.6)
    doors, start, door = int(rng.integers(2, 4)), u(0.02, 0.1), u(0.1, 0.5)
    for k in range(doors):
        near = start + k / doors * 0.9
        deep = near + 0.4 / doors
        for x in (-1, 1):
            if rng.random() < 0.8:
                corners = [(x, -1, near), (x, 0.4, near), (x, 0.4, deep), (x, -1, deep)]
                yield shape(corners, door, wall * 0.5, 0.02)
        lamp = [(-0.3, 1, near), (0.3, 1, near), (0.3, 1, deep), (-0.3, 1, deep)]
        yield shape(lamp, 1.0, ceiling * 0.7, 0.02)
