"""Two-sample t-test of the target against each other group."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import special

from app.metrics import Scores, smallest
from app.metrics.contrast import Contrast
from app.metrics.moments import Moments, divide, group_moments


def score(responses: NDArray[Any], contrast: Contrast, *, equal_variance: bool = True) -> Scores:
    """The smallest t of the target against each other group, with two-sided p-values.

    What `scipy.stats.ttest_ind` computes, for many units and contrasts at once.

    Parameters
    ----------
    responses: (images, units), float32 or float64.
    contrast: the groups to compare; Lado & Dobs, "Selective Is Selective, or Not?", compare the
        target with each other domain.
    equal_variance: True for Student's test with a pooled variance, False for Welch's.

    Returns t (positive = target responds more) and p in 0 … 1, one a contrast. A contrast whose
    two groups are both constant has zero variance: its t and p are NaN, also where scipy gives an
    infinite t, and the unit's score is the smallest t of the others, NaN if there is none.
    InputError for responses that are not finite.
    """
    test = student if equal_variance else welch
    statistic = np.empty((len(contrast.others), responses.shape[1]))
    p = np.empty_like(statistic)
    for units, target, others in group_moments(responses, contrast):
        for row, other in enumerate(others):
            t, freedom = test(target, other)
            statistic[row, units] = t
            p[row, units] = 2 * special.stdtr(freedom, -np.abs(t))
    return Scores(smallest(statistic), statistic, p)


def student(
    target: Moments, other: Moments
) -> tuple[NDArray[np.float64], NDArray[np.float64] | float]:
    """t (units,) with a pooled variance, and its degrees of freedom."""
    freedom = float(target.images + other.images - 2)
    variance = (target.squares + other.squares) / freedom
    error = np.sqrt(variance * (1 / target.images + 1 / other.images))
    return divide(target.mean - other.mean, error), freedom


def welch(
    target: Moments, other: Moments
) -> tuple[NDArray[np.float64], NDArray[np.float64] | float]:
    """t (units,) with a variance for each group, and Welch and Satterthwaite's freedom (units,)."""
    first, second = target.variance / target.images, other.variance / other.images
    spread = first**2 / (target.images - 1) + second**2 / (other.images - 1)
    freedom = divide((first + second) ** 2, spread)
    return divide(target.mean - other.mean, np.sqrt(first + second)), freedom
