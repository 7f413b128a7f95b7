"""Wilcoxon's rank-sum test (Mann and Whitney's U) of the target against each other group."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import special

from app.metrics import Scores
from app.metrics.contrast import Contrast
from app.metrics.moments import divide
from app.metrics.ranks import Pairs, compare_ranks


def score(responses: NDArray[Any], contrast: Contrast, *, device: str = "cpu") -> Scores:
    """Find the smallest signed z of the target against each other group, with two-sided p-values.

    The normal approximation with corrections for ties and continuity, as computed by
    `scipy.stats.mannwhitneyu(method="asymptotic", use_continuity=True)`:
    ``z = sign(U − μ) (|U − μ| − 1/2) / s``, and 0 where U = μ. Lado & Dobs, "Selective Is
    Selective, or Not?", compare the target with each other domain. Values are only compared, never
    rounded, and counts are integers, the same on every `device`. In a contrast whose images all
    give the same response z is undefined, and p is 1.
    """
    return from_pairs(compare_ranks(responses, contrast, device))


def from_pairs(pairs: Pairs) -> Scores:
    """Compute z and p of counts (…, contrasts, units)."""
    statistic = standardise(pairs)
    p = 2 * special.ndtr(-np.abs(statistic))
    p[np.isnan(statistic)] = 1
    return Scores(statistic, statistic, p)


def standardise(pairs: Pairs) -> NDArray[np.float64]:
    """Compute the signed z (…, contrasts, units) of U."""
    product, total = pairs.size * pairs.others, pairs.size + pairs.others
    distance = (pairs.twice_u - product) / 2
    variance = product / 12 * ((total + 1) - pairs.ties / (total * (total - 1)))
    variance[pairs.all_tied] = 0  # without rounding
    z = divide(np.sign(distance) * (np.abs(distance) - 0.5), np.sqrt(variance))
    return z + 0.0  # no -0.0
