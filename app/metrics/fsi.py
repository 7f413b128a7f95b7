"""Face selectivity index, for any target: the normalised difference of mean responses."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.metrics import Scores, smallest
from app.metrics.contrast import Contrast
from app.metrics.moments import Moments, divide, group_moments


def score(responses: NDArray[Any], contrast: Contrast) -> Scores:
    """(μT − μN) / (|μT| + |μN|) of the target T and the other images N.

    Parameters
    ----------
    responses: (images, units), float32 or float64.
    contrast: one other group gives the index of Lado & Dobs, "Selective Is Selective, or Not?";
        with several, a unit's score is the smallest of its indices.

    Returns scores in −1 … 1 (1 = responds to the target alone, 1/3 = twice as strongly), one
    statistic a contrast, no p-values. A unit with the same response to every image has no index;
    nor has a contrast in which both means are 0: its statistic is NaN and the unit's score is the
    smallest of the others, NaN if there is none. InputError for responses that are not finite.
    """
    statistic = np.empty((len(contrast.others), responses.shape[1]))
    for units, target, others in group_moments(responses, contrast):
        constant = np.logical_and.reduce(
            [(group.squares == 0) & (group.mean == target.mean) for group in (target, *others)]
        )
        for row, other in enumerate(others):
            statistic[row, units] = np.where(constant, np.nan, index(target, other))
    return Scores(smallest(statistic), statistic)


def index(target: Moments, other: Moments) -> NDArray[np.float64]:
    """The index (units,) of one contrast."""
    return divide(target.mean - other.mean, np.abs(target.mean) + np.abs(other.mean))
