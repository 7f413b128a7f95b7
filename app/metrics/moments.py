"""Count, mean and centred sum of squares of groups of responses.

FSI, d' and t are functions of these alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from app.metrics.blocks import blocks, refuse_not_finite
from app.metrics.compiled import compiled
from app.metrics.contrast import Contrast

TILE = 256  # units that are summed side by side


class Moments(NamedTuple):
    """Of each unit's responses to one group of images; arrays are (units,) float64."""

    images: int
    mean: NDArray[np.float64]
    squares: NDArray[np.float64]  # sum of squared deviations from the mean, 0 if none varies

    @property
    def variance(self) -> NDArray[np.float64]:
        """The sample variance, divided by n - 1."""
        return self.squares / (self.images - 1)


def moments(responses: NDArray[Any], images: Sequence[NDArray[np.int64]]) -> list[Moments]:
    """The moments of each group of images.

    `responses` is (images, units), float32 or float64; `images` the numbers of each group's, at
    least one. Sums are float64, and the squares are those of deviations from the mean, so a large
    mean costs a small variance nothing. A constant unit has its value for mean and 0 for squares
    exactly, without rounding. A unit with a response that is not finite has no finite mean.
    """
    responses = np.ascontiguousarray(responses)
    found = []
    for members in images:
        mean, squares = np.empty((2, responses.shape[1]))
        _moments(responses, members, mean, squares)
        found.append(Moments(len(members), mean, squares))
    return found


def group_moments(
    responses: NDArray[Any], contrast: Contrast
) -> Iterator[tuple[slice, Moments, list[Moments]]]:
    """The slice of units, the target's moments and each other group's, block by block.

    InputError for responses that are not finite.
    """
    images = contrast.images
    for units, block in blocks(responses, contrast):
        target, *others = moments(block, images)
        # Of finite float32 values these sums are finite: one look at each sum will do.
        if not all(np.isfinite(group.mean).all() for group in (target, *others)):
            refuse_not_finite(responses, contrast)
        yield units, target, others


def divide(numerator: NDArray[np.float64], denominator: NDArray[np.float64]) -> NDArray[np.float64]:
    """The ratio (units,), NaN where the denominator is 0."""
    undefined = np.full(np.shape(numerator), np.nan)
    return np.divide(numerator, denominator, out=undefined, where=denominator != 0)


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
