"""Cohen's d: the difference of mean responses in units of the pooled standard deviation."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import special

from app.errors import InputError
from app.metrics import Scores
from app.metrics.contrast import Contrast
from app.metrics.moments import Moments, compare_groups, divide

CORRECTIONS = ("none", "hedges")


def score(responses: NDArray[Any], contrast: Contrast, *, correction: str = "none") -> Scores:
    """Compute (μT − μN) / s of the target T and other images N, s² = (SST + SSN) / (nT + nN − 2).

    In standard deviations. The pooled variance weighs each image alike (Cohen 1988, *Statistical
    power analysis for the behavioral sciences*, 2nd ed., p. 67), where d' weighs both groups alike.
    Undefined where both groups are constant, however far apart they lie.

    `correction` is `none`, or `hedges` for Hedges' g, which is unbiased in small samples; see
    `correct_as_hedges`.
    """
    if correction not in CORRECTIONS:
        raise InputError(
            f"cohens_d has no correction {correction!r}; there are: {', '.join(CORRECTIONS)}"
        )
    return compare_groups(responses, contrast, partial(from_moments, correction=correction))


def from_moments(target: Moments, others: Moments, *, correction: str = "none") -> Scores:
    """Compute d of moments (…, 1, units) and (…, contrasts, units)."""
    freedom = target.images + others.images - 2
    variance = (target.squares + others.squares) / freedom
    statistic = divide(target.mean - others.mean, np.sqrt(variance))
    if correction == "hedges":
        statistic *= correct_as_hedges(freedom)
    return Scores(statistic, statistic)


def correct_as_hedges(freedom: Any) -> Any:
    """Compute the factor below 1 that takes d's bias away, from its degrees of freedom m ≥ 1.

    Γ(m/2) / (√(m/2) Γ((m − 1)/2)), exact for normal responses (Hedges 1981, equation 6e,
    doi:10.3102/10769986006002107); not the usual approximation 1 − 3 / (4m − 1).
    """
    return special.poch((freedom - 1) / 2, 0.5) / np.sqrt(freedom / 2)
