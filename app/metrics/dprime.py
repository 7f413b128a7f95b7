"""d': the difference of mean responses in units of their standard deviation."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.metrics import Scores
from app.metrics.contrast import Contrast
from app.metrics.moments import Moments, compare_groups, divide


def score(responses: NDArray[Any], contrast: Contrast) -> Scores:
    """Compute (μT − μN) / sqrt((s²T + s²N) / 2) of the target T and the other images N.

    In standard deviations. The variances are sample variances (n − 1), weighted alike whatever the
    numbers of images; one other group gives the d' of Lado & Dobs, "Selective Is Selective, or
    Not?". Undefined where both groups are constant, however far apart they lie.
    """
    return compare_groups(responses, contrast, from_moments)


def from_moments(target: Moments, others: Moments) -> Scores:
    """Compute d' of moments (…, 1, units) and (…, contrasts, units)."""
    deviation = np.sqrt((target.variance + others.variance) / 2)
    statistic = divide(target.mean - others.mean, deviation)
    return Scores(statistic, statistic)
