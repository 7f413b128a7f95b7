"""d': the difference of mean responses in units of their standard deviation."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.metrics import Scores, smallest
from app.metrics.contrast import Contrast
from app.metrics.moments import Moments, divide, group_moments


def score(responses: NDArray[Any], contrast: Contrast) -> Scores:
    """(μT − μN) / sqrt((s²T + s²N) / 2) of the target T and the other images N.

    The variances are sample variances (n − 1), weighted alike whatever the numbers of images.

    Parameters
    ----------
    responses: (images, units), float32 or float64.
    contrast: one other group gives the d' of Lado & Dobs, "Selective Is Selective, or Not?"; with
        several, a unit's score is the smallest of its d'.

    Returns scores in standard deviations (0 = no difference), one statistic a contrast, no
    p-values. A contrast whose two groups are both constant has zero variance and no d', however
    far apart they lie: its statistic is NaN and the unit's score is the smallest of the others,
    NaN if there is none. InputError for responses that are not finite.
    """
    statistic = np.empty((len(contrast.others), responses.shape[1]))
    for units, target, others in group_moments(responses, contrast):
        for row, other in enumerate(others):
            statistic[row, units] = dprime(target, other)
    return Scores(smallest(statistic), statistic)


def dprime(target: Moments, other: Moments) -> NDArray[np.float64]:
    """d' (units,) of one contrast."""
    return divide(target.mean - other.mean, np.sqrt((target.variance + other.variance) / 2))
