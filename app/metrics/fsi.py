"""Face selectivity index, for any target: the normalised difference of mean responses."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.metrics import Scores
from app.metrics.contrast import Contrast
from app.metrics.moments import Moments, compare_groups, divide, find_constant


def score(responses: NDArray[Any], contrast: Contrast) -> Scores:
    """Compute ``(μT − μN) / (|μT| + |μN|)`` of the target T and the other images N: −1 … 1.

    1: it responds to the target alone; 1/3: twice as strongly. One other group gives the index of
    Lado & Dobs, "Selective Is Selective, or Not?". It is undefined in a contrast in which both
    means are 0, and for a unit with the same response to every image. Made for rates, which have no
    sign: where one mean is negative and one positive it is 1 or −1, and `Scores.signed` says so.
    """
    return compare_groups(responses, contrast, from_moments)


def from_moments(target: Moments, others: Moments) -> Scores:
    """Compute the index of moments (…, 1, units) and (…, contrasts, units)."""
    index = divide(target.mean - others.mean, np.abs(target.mean) + np.abs(others.mean))
    index = np.where(find_constant(target, others), np.nan, index)
    signed = np.sign(target.mean) * np.sign(others.mean) < 0
    return Scores(index, index, signed=np.any(signed, axis=-2))
