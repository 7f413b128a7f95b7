"""Count, mean and centred sum of squares of groups of responses.

FSI, d' and t are functions of these alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from app.metrics.contrast import Contrast, blocks


class Moments(NamedTuple):
    """Of each unit's responses to one group of images; arrays are (units,) float64."""

    images: int
    mean: NDArray[np.float64]
    squares: NDArray[np.float64]  # sum of squared deviations from the mean
    low: NDArray[np.float64]  # smallest response
    high: NDArray[np.float64]  # largest response

    @property
    def variance(self) -> NDArray[np.float64]:
        """The sample variance, divided by n - 1."""
        return self.squares / (self.images - 1)


def moments(values: NDArray[Any]) -> Moments:
    """The moments of `values` (units, images), accumulated in float64 in two passes.

    A constant unit has its value for mean and 0 for squares exactly, without rounding.
    """
    values = values.astype(np.float64, copy=False)
    low, high = values.min(axis=1), values.max(axis=1)
    mean = np.where(low == high, low, values.mean(axis=1))
    squares = np.square(values - mean[:, None]).sum(axis=1)
    return Moments(values.shape[1], mean, squares, low, high)


def group_moments(
    responses: NDArray[Any], contrast: Contrast
) -> Iterator[tuple[slice, Moments, list[Moments]]]:
    """The slice of units, the target's moments and each other group's, block by block."""
    for units, target, others in blocks(responses, contrast):
        yield units, moments(target), [moments(other) for other in others]


def divide(numerator: NDArray[np.float64], denominator: NDArray[np.float64]) -> NDArray[np.float64]:
    """The ratio (units,), NaN where the denominator is 0."""
    undefined = np.full(np.shape(numerator), np.nan)
    return np.divide(numerator, denominator, out=undefined, where=denominator != 0)
