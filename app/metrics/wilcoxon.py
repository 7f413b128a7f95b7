"""Wilcoxon's rank-sum test (Mann and Whitney's U) of the target against each other group."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import special

from app.metrics import Scores, smallest
from app.metrics.contrast import Contrast
from app.metrics.ranks import group_pairs


def score(responses: NDArray[Any], contrast: Contrast, *, device: str = "cpu") -> Scores:
    """The smallest signed z of the target against each other group, with two-sided p-values.

    The normal approximation with corrections for ties and continuity, as computed by
    `scipy.stats.mannwhitneyu(method="asymptotic", use_continuity=True)`:
    z = sign(U − μ) (|U − μ| − 1/2) / s, and 0 where U = μ.

    Parameters
    ----------
    responses: (images, units), float32 or float64. Values are only compared, never rounded.
    contrast: the groups to compare; Lado & Dobs, "Selective Is Selective, or Not?", compare the
        target with each other domain.
    device: where to count, `cpu` or a torch device; the counts are integers, the same everywhere.

    Returns z (positive = target responds more) and p in 0 … 1, one a contrast. In a contrast whose
    images all give the same response z is undefined: its statistic is NaN, its p is 1, and the
    unit's score is the smallest z of the others, NaN if there is none. InputError for responses
    that are not finite.
    """
    statistic = np.empty((len(contrast.others), responses.shape[1]))
    size, *others = (len(members) for members in contrast.images)
    for units, twice_u, ties in group_pairs(responses, contrast, device):
        for row, other in enumerate(others):
            statistic[row, units] = standardise(twice_u[row], ties[row], size, other)
    p = 2 * special.ndtr(-np.abs(statistic))
    p[np.isnan(statistic)] = 1
    return Scores(smallest(statistic), statistic, p)


def standardise(
    twice_u: NDArray[np.int64], ties: NDArray[np.int64], size: int, other_size: int
) -> NDArray[np.float64]:
    """The signed z (units,) of U between groups of `size` and `other_size` images."""
    total = size + other_size
    distance = (twice_u - size * other_size) / 2
    variance = size * other_size / 12 * ((total + 1) - ties / (total * (total - 1)))
    z = np.full(len(twice_u), np.nan)
    np.divide(
        np.sign(distance) * (np.abs(distance) - 0.5),
        np.sqrt(variance),
        out=z,
        where=ties < total**3 - total,  # not all tied
    )
    return z + 0.0  # no -0.0
