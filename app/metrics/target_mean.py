"""The mean response to the target: a baseline that contrasts it with nothing."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.metrics import Scores
from app.metrics.contrast import Contrast
from app.metrics.moments import Moments, compute_moments, find_constant


def score(responses: NDArray[Any], contrast: Contrast) -> Scores:
    """Compute μT, the mean response to the target T, in the responses' unit.

    No measure of selectivity, as a unit that responds to all images alike may score highest: what a
    metric finds beyond it is owed to its contrast. The statistic of every contrast is the score.
    Undefined, as with the metrics that it stands beside, for a unit with the same response to every
    image compared.
    """
    contrast.check(responses)
    return from_moments(*compute_moments(responses, contrast.images).split())


def from_moments(target: Moments, others: Moments) -> Scores:
    """Take the mean of moments (…, 1, units) and (…, contrasts, units)."""
    mean = np.where(find_constant(target, others), np.nan, target.mean + np.zeros_like(others.mean))
    return Scores(mean[..., 0, :], mean)
