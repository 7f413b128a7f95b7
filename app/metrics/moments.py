"""Count, mean and centred sum of squares of groups of responses.

FSI, d' and t are functions of these alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from app.metrics.compiled import compiled
from app.metrics.contrast import Contrast

Found = TypeVar("Found")

TILE = 256  # units that are summed side by side
# How far, relative to its size, rounding alone may move a response: float32, float64.
NOISE = {"f": 1e-6, "d": 1e-13}


@dataclass(frozen=True, eq=False)
class Moments:
    """Of each unit's responses to one or more groups of images.

    Arrays are (…, groups, units), `images` is (…, groups, 1). Squares are found when they are
    asked for: a metric of means alone does without.
    """

    images: NDArray[np.int64]
    mean: NDArray[np.float64]
    find_squares: Callable[[], NDArray[np.float64]]

    @cached_property
    def squares(self) -> NDArray[np.float64]:
        """The sum of squared deviations from the mean, 0 if noise alone."""
        return self.find_squares()

    @property
    def variance(self) -> NDArray[np.float64]:
        """The sample variance, divided by n - 1."""
        return self.squares / (self.images - 1)

    def split(self) -> tuple[Moments, Moments]:
        """Take those of the first group, the target, and of the others apart."""
        target, others = slice(1), slice(1, None)
        return self._take(target), self._take(others)

    def _take(self, groups: slice) -> Moments:
        own = np.s_[..., groups, :]
        return Moments(self.images[own], self.mean[own], lambda: self.squares[own])


def compute_moments(responses: NDArray[Any], images: Sequence[NDArray[np.int64]]) -> Moments:
    """Compute the moments (groups, units) of groups of images, each at least one image.

    Sums are float64, and the squares are those of deviations from the mean, so a large mean costs a
    small variance nothing. A constant unit has its value for mean and 0 for squares exactly,
    without rounding; squares are 0, too, where the standard deviation is less than `NOISE` of the
    mean. A unit with a response that is not finite has no finite mean.
    """
    responses = np.ascontiguousarray(responses)
    mean, squares = np.empty((2, len(images), responses.shape[1]))
    for group, members in enumerate(images):
        _moments(responses, members, mean[group], squares[group])
    sizes = np.array([[len(members)] for members in images])
    squares[squares <= sizes * (NOISE.get(responses.dtype.char, 0) * mean) ** 2] = 0
    return Moments(sizes, mean, lambda: squares)


def compare_groups(
    responses: NDArray[Any],
    contrast: Contrast,
    compare: Callable[[Moments, Moments], Found],
) -> Found:
    """Compare the target with each other group by their moments.

    `compare` is given the target's moments (1, units) and the others' (contrasts, units), and finds
    the same of responses and of any multiple of them: float64 ones are doubled or halved, exactly,
    until nothing that is made of their squares can overflow.
    """
    contrast.check(responses)
    if responses.dtype != np.float32:
        _, exponent = np.frexp(np.abs(responses[contrast.included]).max(axis=0))
        responses = responses * np.ldexp(1.0, -np.clip(exponent, -1000, 1000))
    return compare(*compute_moments(responses, contrast.images).split())


def divide(numerator: NDArray[np.float64], denominator: NDArray[np.float64]) -> NDArray[np.float64]:
    """Divide, giving NaN where the denominator is 0."""
    ratio = np.full(np.shape(numerator), np.nan)
    np.divide(numerator, denominator, out=ratio, where=denominator != 0)
    return ratio


def find_constant(target: Moments, others: Moments) -> NDArray[np.bool_]:
    """Find units (…, 1, units) that give the same response to all images of all groups."""
    constant: NDArray[np.bool_] = (others.mean == target.mean).all(axis=-2, keepdims=True)
    if constant.any():  # else means alone tell
        constant &= (target.squares == 0) & (others.squares == 0).all(axis=-2, keepdims=True)
    return constant


@compiled
def _moments(
    responses: NDArray[Any],
    images: NDArray[np.int64],
    mean: NDArray[np.float64],
    squares: NDArray[np.float64],
) -> None:
    """Fill the arrays (units,), a tile of units side by side: the sums of each go image by image.

    A unit that never leaves its first response has that for its mean, without rounding.
    """
    centre = np.empty(TILE)  # the first response, then the mean
    total = np.empty(TILE)
    travel = np.empty(TILE)  # sum of distances from the first response
    for start in range(0, responses.shape[1], TILE):
        width = min(TILE, responses.shape[1] - start)
        centre[:width] = responses[images[0], start : start + width]
        total[:] = 0
        travel[:] = 0
        for image in images:
            row = responses[image, start : start + width]
            for unit in range(width):
                total[unit] += row[unit]
                travel[unit] += abs(row[unit] - centre[unit])
        for unit in range(width):
            if travel[unit] != 0:
                centre[unit] = total[unit] / len(images)
            total[unit] = 0
        for image in images:
            row = responses[image, start : start + width]
            for unit in range(width):
                deviation = row[unit] - centre[unit]
                total[unit] += deviation * deviation
        mean[start : start + width] = centre[:width]
        squares[start : start + width] = total[:width]
