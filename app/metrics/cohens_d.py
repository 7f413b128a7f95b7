"""Cohen's d: the difference of mean responses in units of the pooled standard deviation."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import special

from app.errors import InputError
from app.metrics import Scores, smallest
from app.metrics.contrast import Contrast
from app.metrics.moments import Moments, divide, group_moments

CORRECTIONS = ("none", "hedges")


def score(responses: NDArray[Any], contrast: Contrast, *, correction: str = "none") -> Scores:
    """(μT − μN) / s of the target T and the other images N, s² = (SST + SSN) / (nT + nN − 2).

    The pooled variance weighs each image alike (Cohen 1988, *Statistical power analysis for the
    behavioral sciences*, 2nd ed., p. 67), where d' weighs both groups alike.

    Parameters
    ----------
    responses: (images, units), float32 or float64.
    contrast: the groups to compare; with several others, a unit's score is the smallest of its d.
    correction: `none`, or `hedges` for Hedges' g, which is unbiased in small samples; see `hedges`.

    Returns scores in standard deviations (0 = no difference), one statistic a contrast, no
    p-values. A contrast whose two groups are both constant has zero variance and no d, however far
    apart they lie: its statistic is NaN and the unit's score is the smallest of the others, NaN if
    there is none. InputError for another correction and for responses that are not finite.
    """
    if correction not in CORRECTIONS:
        raise InputError(
            f"cohens_d has no correction {correction!r}; there are: {', '.join(CORRECTIONS)}"
        )
    statistic = np.empty((len(contrast.others), responses.shape[1]))
    for units, target, others in group_moments(responses, contrast):
        for row, other in enumerate(others):
            factor = hedges(target.images + other.images - 2) if correction == "hedges" else 1.0
            statistic[row, units] = factor * cohens_d(target, other)
    return Scores(smallest(statistic), statistic)


def cohens_d(target: Moments, other: Moments) -> NDArray[np.float64]:
    """d (units,) of one contrast."""
    variance = (target.squares + other.squares) / (target.images + other.images - 2)
    return divide(target.mean - other.mean, np.sqrt(variance))


def hedges(freedom: int) -> float:
    """The factor below 1 that takes d's bias away, from its degrees of freedom m, 1 or more.

    Γ(m/2) / (√(m/2) Γ((m − 1)/2)), exact for normal responses (Hedges 1981, equation 6e,
    doi:10.3102/10769986006002107); not the usual approximation 1 − 3 / (4m − 1).
    """
    return float(special.poch((freedom - 1) / 2, 0.5) / np.sqrt(freedom / 2))
